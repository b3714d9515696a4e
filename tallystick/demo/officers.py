"""The demonstration's officers: one key each, in memory, made anew for every demonstration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from crypto.keys import SigningKey, generate_signing_key
from policies.codec import Document, envelope_of
from policies.enrolment import RequestedOfficer
from policies.ids import AgencyId, Hash256, Line, PersonId
from policies.registry import Registry
from policies.signing import SignedDocument, sign_statement
from policies.statements import SigningStatement
from policies.vocabulary import AgencyKind, Decision, OfficerRole

KINDS: Mapping[str, AgencyKind] = {
    "northmoor-police": AgencyKind.POLICE,
    "southvale-police": AgencyKind.POLICE,
    "northmoor-care": AgencyKind.SOCIAL_CARE,
    "vale-nhs": AgencyKind.NHS,
    "haven-charity": AgencyKind.CHARITY,
}
NAMES: Mapping[str, str] = {
    "northmoor-police": "Northmoor Police",
    "southvale-police": "Southvale Police",
    "northmoor-care": "Northmoor Adult Social Care",
    "vale-nhs": "Vale NHS Trust",
    "haven-charity": "Haven Domestic Abuse Service",
}
_ROLES = {
    "siro": (OfficerRole.SIRO,),
    "guardian": (OfficerRole.CALDICOTT_GUARDIAN,),
    "approver": (OfficerRole.APPROVER, OfficerRole.SUPERVISOR),
    "privacy": (OfficerRole.PRIVACY_OFFICER,),
    "caseworker": (OfficerRole.MARAC_COORDINATOR, OfficerRole.INVESTIGATOR),
}


@dataclass(frozen=True, slots=True)
class DemoOfficer:
    """An officer with the key that signs."""

    person: PersonId
    organisation: AgencyId
    roles: tuple[OfficerRole, ...]
    key: SigningKey


def appoint(agency: str) -> dict[str, DemoOfficer]:
    """The officers of an agency by their post, such as `siro` or `caseworker`."""
    return {
        post: DemoOfficer(PersonId(f"{agency}.{post}"), AgencyId(agency), roles, generate_signing_key())
        for post, roles in _ROLES.items()
    }


def requested(officers: Mapping[str, DemoOfficer]) -> tuple[RequestedOfficer, ...]:
    """The officers as an enrolment request lists them."""
    return tuple(
        RequestedOfficer(officer.person, officer.roles, officer.key.verify_key, Line(f"Demonstration {post}"))
        for post, officer in officers.items()
    )


def sign_by_all(
    document: Document,
    page: str,
    officers: Mapping[str, Mapping[str, DemoOfficer]],
    now: datetime,
    *,
    guardians: bool,
    registry: Registry,
) -> SignedDocument:
    """The document signed by each agency's SIRO and, for a policy, the guardians of health and care."""
    bundle = SignedDocument(envelope_of(document))
    for agency, posts in officers.items():
        signers = [(posts["siro"], OfficerRole.SIRO)]
        listed = registry.agency(agency)
        if guardians and listed and listed.kind in {AgencyKind.NHS, AgencyKind.SOCIAL_CARE}:
            signers.append((posts["guardian"], OfficerRole.CALDICOTT_GUARDIAN))
        for officer, role in signers:
            statement = SigningStatement(
                document_hash=bundle.digest,
                page_hash=Hash256(page),
                organisation=officer.organisation,
                role=role,
                decision=Decision.APPROVE,
                signed_at=now.replace(microsecond=0),
            )
            bundle = bundle.with_statement(sign_statement(statement, officer.key))
    return bundle

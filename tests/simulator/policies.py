"""A small federation with real keys: agencies, officers, root keys, and documents that they have signed.

Keys come from fixed seeds, so that everything signed here is the same on every run.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from crypto.envelope import Envelope, sign_envelope
from crypto.keys import SealingPublicKey, Signer, SigningKey
from policies.agreement import (
    Bands,
    Encoding,
    ExactToken,
    Hardening,
    HardeningKind,
    LinkageAgreement,
    Matching,
    MatchingMode,
    Participant,
    Projection,
    SubjectType,
)
from policies.authoring import placeholders
from policies.clauses import (
    LINK_AGENCY,
    LINK_EXISTS,
    LINK_RECORD,
    Approvals,
    Clause,
    Conditions,
    Emergency,
    Obligations,
    Safeguards,
)
from policies.codec import Document, FrozenJson, payload_type, write
from policies.ids import (
    AgencyId,
    Email,
    FederationId,
    FieldName,
    Hash256,
    HttpsUrl,
    Line,
    LinkageId,
    Marker,
    Name,
    PersonId,
    PolicyId,
    Prose,
    RecordType,
    SpiffeUri,
    UnitDecimal,
)
from policies.parties import Dpia, DpoAdvice, Governance, LawfulBasis, Party
from policies.registry import Agency, Officer, Registry
from policies.root import Root, RootKey
from policies.sharing import SharingPolicy
from policies.vocabulary import (
    AgencyKind,
    Article6,
    Article9,
    Capacity,
    Consent,
    Controller,
    Effect,
    OfficerRole,
    Part3Basis,
    Purpose,
    Regime,
    Strength,
)

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
FEDERATION = FederationId("testshire")
LINKAGE = LinkageId("vulnerable-adults")
POLICE, CARE, NHS, REFUGE = (AgencyId(name) for name in ("police", "care", "nhs", "refuge"))

_KINDS = {
    POLICE: AgencyKind.POLICE,
    CARE: AgencyKind.SOCIAL_CARE,
    NHS: AgencyKind.NHS,
    REFUGE: AgencyKind.CHARITY,
}


def key_of(label: str) -> SigningKey:
    """The signing key that belongs to a label."""
    return SigningKey(hashlib.sha256(label.encode()).digest())


def sealing_key_of(label: str) -> SealingPublicKey:
    """An X25519 sealing key that belongs to a label."""
    return SealingPublicKey("x25519", hashlib.sha256(b"seal " + label.encode()).digest())


def signed(document: Document, signers: Sequence[Signer]) -> Envelope:
    """The document in an envelope signed by each."""
    return sign_envelope(payload_type(type(document)), write(document), signers)


def agency(name: AgencyId) -> Agency:
    """An agency of the test federation."""
    return Agency(
        id=name,
        kind=_KINDS.get(name, AgencyKind.OTHER),
        name=Line(f"Testshire {name}"),
        node_verify_key=key_of(f"node {name}").verify_key,
        sealing_key=sealing_key_of(name),
        spiffe=SpiffeUri(f"spiffe://{FEDERATION}/agency/{name}"),
        contact=Email(f"ig@{name}.example"),
    )


def officer(
    person: str, organisation: AgencyId, *roles: OfficerRole, not_after: datetime | None = None
) -> Officer:
    """An officer whose key belongs to the person's name."""
    return Officer(
        person=PersonId(person),
        organisation=organisation,
        roles=roles,
        verify_key=key_of(person).verify_key,
        not_after=not_after,
    )


def default_officers() -> tuple[Officer, ...]:
    """For each agency: a SIRO, a Caldicott Guardian, a privacy officer, an approver and an investigator."""
    found = []
    for name in (POLICE, CARE, NHS, REFUGE):
        found += [
            officer(f"{name}.siro", name, OfficerRole.SIRO),
            officer(f"{name}.guardian", name, OfficerRole.CALDICOTT_GUARDIAN),
            officer(f"{name}.privacy", name, OfficerRole.PRIVACY_OFFICER),
            officer(f"{name}.approver", name, OfficerRole.APPROVER),
            officer(f"{name}.investigator", name, OfficerRole.INVESTIGATOR),
        ]
    return tuple(found)


@dataclass
class FederationSimulator:
    """Makes and signs roots, registries and other documents."""

    officers: tuple[Officer, ...] = field(default_factory=default_officers)
    root_holders: tuple[tuple[str, AgencyId], ...] = (
        ("root.ada", POLICE),
        ("root.bob", CARE),
        ("root.cyd", NHS),
    )

    def root(self, version: int = 1, threshold: int = 2, days: int = 365) -> Root:
        """A root with the simulator's key holders."""
        return Root(
            federation=FEDERATION,
            version=version,
            expires=NOW + timedelta(days=days),
            threshold=threshold,
            minimum_organisations=min(2, threshold),
            keys=tuple(
                RootKey(PersonId(person), organisation, key_of(person).verify_key)
                for person, organisation in self.root_holders
            ),
        )

    def registry(self, version: int = 1, minimum_version: int = 1, days: int = 30) -> Registry:
        """A registry of four agencies."""
        return Registry(
            federation=FEDERATION,
            version=version,
            minimum_version=minimum_version,
            expires=NOW + timedelta(days=days),
            broker_verify_key=key_of("broker").verify_key,
            broker_spiffe=SpiffeUri(f"spiffe://{FEDERATION}/broker"),
            agencies=tuple(agency(name) for name in (POLICE, CARE, NHS, REFUGE)),
            officers=self.officers,
        )

    def root_signed(self, document: Document, holders: Iterable[str] = ("root.ada", "root.bob")) -> Envelope:
        """A document signed with root keys."""
        return signed(document, [key_of(holder) for holder in holders])


def sample_agreement(participants: Sequence[AgencyId] = (POLICE, CARE, NHS)) -> LinkageAgreement:
    """A person linkage."""
    return LinkageAgreement(
        federation=FEDERATION,
        id=LINKAGE,
        version=1,
        title=Line("Vulnerable adults in Testshire"),
        purpose=Prose("To see repeated low-level harm across agencies early."),
        subject_type=SubjectType.PERSON,
        participants=tuple(Participant(name, 10_000) for name in participants),
        encoding=Encoding(
            projections=(
                Projection(
                    Name("person"),
                    FrozenJson(
                        b'{"clkConfig":{"l":1024},"features":[{"identifier":"given_names"}],"version":3}'
                    ),
                    Hardening(HardeningKind.SPARSE_DIFFUSION, 5),
                ),
            ),
            exact_tokens=(
                ExactToken(Name("nhs-dob"), (FieldName("nhs_number"), FieldName("date_of_birth"))),
            ),
            minimum_fields=5,
        ),
        matching=Matching(
            MatchingMode.ONE_TO_ONE,
            {Name("person"): Bands(UnitDecimal("0.60"), UnitDecimal("0.68"), UnitDecimal("0.78"))},
        ),
        epoch_days=90,
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=300),
        exceptions=(),
        privacy_report_hash=Hash256("ab" * 32),
    )


def party(name: AgencyId, *capacities: Capacity, withheld: bool = False) -> Party:
    """A party: the police under Part 3, the others under the UK GDPR."""
    police = name == POLICE
    return Party(
        agency=name,
        name=Line(f"Testshire {name}"),
        capacities=capacities,
        controller=Controller.INDEPENDENT,
        regime=Regime.PART3 if police else Regime.UK_GDPR,
        ico_number=Line("ZA000001"),
        health_or_care_data=name in (CARE, NHS),
        name_withheld=withheld,
        lawful_basis=LawfulBasis(
            gateways=(Line("Crime and Disorder Act 1998 s.115"),),
            confidentiality=Prose(
                "Disclosure is in the overriding public interest where a person is at risk."
            ),
            necessity=Prose("No single agency sees the pattern; less data would not show it."),
            article6=None if police else Article6.PUBLIC_TASK,
            article9=None if police else Article9.SUBSTANTIAL_PUBLIC_INTEREST,
            schedule1_paragraph=None if police else Line("paragraph 18"),
            part3=Part3Basis.NECESSARY_FOR_TASK if police else None,
            schedule8_paragraph=Line("paragraph 4") if police else None,
        ),
    )


def sample_clauses() -> tuple[Clause, ...]:
    """One clause of each tier and two that withhold."""
    purposes = (Purpose.DOMESTIC_ABUSE_RISK,)
    both = (CARE, NHS)
    everyone = (OfficerRole.INVESTIGATOR, OfficerRole.MARAC_COORDINATOR)
    return (
        Clause(1, Effect.RELEASE, Prose("That a link exists, and with whom."), 0, (LINK_RECORD,),
               (LINK_EXISTS, LINK_AGENCY), both, (POLICE,), everyone, purposes,
               Conditions(minimum_strength=Strength.PROBABLE), push=True),
        Clause(2, Effect.RELEASE, Prose("The risk band, where consent was not refused."), 1,
               (RecordType("risk_assessment"),), (FieldName("risk_band"), FieldName("last_contact_month")),
               both, (POLICE,), everyone, purposes, Conditions(consent=(Consent.GIVEN, Consent.NOT_RECORDED)),
               push=True),
        Clause(3, Effect.RELEASE, Prose("A summary of recent incidents, with one approval."), 2,
               (RecordType("incident"),), (FieldName("summary"), FieldName("risk_band")), both, (POLICE,),
               everyone, purposes, Conditions(minimum_strength=Strength.STRONG, max_record_age_days=730),
               Approvals(1, 0)),
        Clause(4, Effect.RELEASE, Prose("The full incident, with four eyes."), 3, (RecordType("incident"),),
               (FieldName("summary"), FieldName("notes")), (CARE,), (POLICE,), (OfficerRole.INVESTIGATOR,),
               purposes, Conditions(minimum_strength=Strength.STRONG), Approvals(2, 1)),
        Clause(5, Effect.WITHHOLD, Prose("Nothing that is legally privileged."), 0, (), (),
               conditions=Conditions(markers=(Marker("legally_privileged"),))),
        Clause(6, Effect.WITHHOLD, Prose("No notes older than ten years."), 0, (), (FieldName("notes"),),
               conditions=Conditions(older_than_days=3650)),
    )  # fmt: skip


def sample_policy(**changes: object) -> SharingPolicy:
    """A policy that lets the police learn from care and the NHS."""
    values: dict[str, object] = {
        "federation": FEDERATION,
        "id": PolicyId("marac-testshire"),
        "version": 1,
        "title": Line("Domestic abuse risk sharing"),
        "summary": Prose("Lets the police see early that care and the NHS know a person at risk."),
        "status_url": HttpsUrl("https://status.example/policies/marac-testshire"),
        "not_before": NOW - timedelta(days=1),
        "not_after": NOW + timedelta(days=300),
        "review_by": NOW + timedelta(days=180),
        "linkages": (LINKAGE,),
        "parties": (
            party(POLICE, Capacity.RECIPIENT),
            party(CARE, Capacity.PROVIDER),
            party(NHS, Capacity.PROVIDER, withheld=True),
        ),
        "governance": Governance(
            special_category_data=True,
            criminal_offence_data=True,
            dpo_advice=tuple(
                DpoAdvice(name, Prose("Proceed; review after six months."), date(2026, 2, 1))
                for name in (POLICE, CARE, NHS)
            ),
            rights_contact=Email("rights@testshire.example"),
            transparency=Prose("Described in each agency's privacy notice."),
            dpia=Dpia(Line("DPIA-2026-001"), Hash256("cd" * 32), date(2026, 1, 15)),
        ),
        "purposes": (Purpose.DOMESTIC_ABUSE_RISK,),
        "clauses": sample_clauses(),
        "obligations": Obligations(
            90,
            (),
            True,
            Line("OFFICIAL-SENSITIVE"),
            Prose("Do not contact the subject at home or by letter."),
        ),
        "safeguards": Safeguards(20, 200, True, 5),
        "emergency": Emergency(
            (OfficerRole.INVESTIGATOR,), 3, 24, (OfficerRole.PRIVACY_OFFICER,), (Line("threat to life"),)
        ),
    }
    return SharingPolicy(**(values | changes))  # type: ignore[arg-type] # the test names real fields


def template_values(text: str) -> dict[str, str]:
    """Sample values for every placeholder of a template."""
    fixed = {
        "federation": str(FEDERATION),
        "policy_id": "sample-policy",
        "status_url": "https://status.example/sample-policy",
        "not_before": "2026-03-01T00:00:00Z",
        "not_after": "2027-02-28T00:00:00Z",
        "review_by": "2026-09-01T00:00:00Z",
        "linkage": str(LINKAGE),
        "dpia_reference": "DPIA-2026-001",
        "dpia_hash": "cd" * 32,
        "dpia_completed": "2026-01-15",
        "rights_contact": "rights@testshire.example",
    }
    endings = {
        "name": "Testshire {}",
        "ico": "ZA000001",
        "dpo_advice": "Proceed, and review after six months.",
        "dpo_date": "2026-02-01",
    }
    values = {}
    for name in placeholders(text):
        agency_name, _, ending = name.partition("_")
        values[name] = fixed.get(name) or endings.get(ending, agency_name).format(agency_name)
    return values


def sampled(percent: int) -> SharingPolicy:
    """The sample policy with another share of automatic releases for supervisors to look at."""
    policy = sample_policy()
    return replace(policy, safeguards=replace(policy.safeguards, review_sample_percent=percent))

"""The decision form of the ICO Data Sharing Code of Practice, Annex B, filled in from the policy and the
request.
"""

from dataclasses import dataclass

from policies.ids import AgencyId, FieldName, Hash256, Line, PersonId, Prose, RecordType
from policies.parties import Party
from policies.sharing import SharingPolicy
from policies.vocabulary import (
    Article6,
    Article9,
    Controller,
    OfficerRole,
    Part3Basis,
    Purpose,
    Regime,
)

SECURITY = Prose("Signed by the provider's node and sealed to the recipient's; nobody between can read it.")


@dataclass(frozen=True, slots=True, repr=False)
class AnnexB:
    """The form's lines, in its order. Dates, decision and reasons stand beside it."""

    requester_organisation: AgencyId
    requester: PersonId
    requester_position: OfficerRole
    record_types: tuple[RecordType, ...]
    fields: tuple[FieldName, ...]
    controller_relationship: Controller
    agreement: Line
    purpose: Purpose
    regime: Regime
    legal_powers: tuple[Line, ...]
    confidentiality: Prose
    necessity: Prose
    case_reference: Line
    special_category_data: bool
    criminal_offence_data: bool
    dpo_views: tuple[Prose, ...]
    retention_days: int
    security: Prose
    individuals_rights: Prose
    lawful_basis: Article6 | None = None
    special_category_condition: Article9 | None = None
    criminal_offence_condition: Line | None = None
    schedule1_paragraph: Line | None = None
    part3_basis: Part3Basis | None = None
    schedule8_paragraph: Line | None = None
    dpia_reference: Line | None = None
    dpia_hash: Hash256 | None = None

    def __repr__(self) -> str:
        return "<AnnexB: contents withheld>"


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks."""

    organisation: AgencyId
    person: PersonId
    role: OfficerRole


def fill_annex_b(
    policy: SharingPolicy,
    provider: Party,
    requester: Requester,
    purpose: Purpose,
    asked: tuple[tuple[RecordType, FieldName], ...],
    necessity: Prose,
    case_reference: Line,
) -> AnnexB:
    """The form for one request under `policy`, with the lawful basis of the *provider*."""
    basis, governance = provider.lawful_basis, policy.governance
    return AnnexB(
        requester_organisation=requester.organisation,
        requester=requester.person,
        requester_position=requester.role,
        record_types=tuple(dict.fromkeys(record_type for record_type, _ in asked)),
        fields=tuple(dict.fromkeys(field for _, field in asked)),
        controller_relationship=provider.controller,
        agreement=Line(f"{policy.id} version {policy.version}"),
        purpose=purpose,
        regime=provider.regime,
        legal_powers=basis.gateways,
        confidentiality=basis.confidentiality,
        necessity=necessity,
        case_reference=case_reference,
        special_category_data=governance.special_category_data,
        criminal_offence_data=governance.criminal_offence_data,
        dpo_views=tuple(advice.advice for advice in governance.dpo_advice),
        retention_days=policy.obligations.retention_days,
        security=SECURITY,
        individuals_rights=governance.transparency,
        lawful_basis=basis.article6,
        special_category_condition=basis.article9,
        criminal_offence_condition=basis.article10,
        schedule1_paragraph=basis.schedule1_paragraph,
        part3_basis=basis.part3,
        schedule8_paragraph=basis.schedule8_paragraph,
        dpia_reference=governance.dpia.reference if governance.dpia else None,
        dpia_hash=governance.dpia.hash if governance.dpia else None,
    )

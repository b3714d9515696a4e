"""One of each disclosure document, about nobody."""

from datetime import timedelta

from policies.annexb import Requester, fill_annex_b
from policies.codec import Document, document_hash
from policies.disclosure import (
    Approval,
    BreakGlass,
    DisclosureDecision,
    DisclosureReceipt,
    DisclosureRefusal,
    DisclosureRelease,
    DisclosureRequest,
    ErasureReason,
    ErasureReceipt,
    FieldOutcome,
    IdentityEvidence,
    LinkRecall,
    Outcome,
    RecallReason,
    RecordAsk,
    RefusalCode,
    ReleasedRecord,
    Urgency,
)
from policies.ids import (
    DocumentId,
    FieldName,
    FieldValue,
    Hash256,
    HexBytes,
    Line,
    LinkTokenText,
    PersonId,
    Prose,
    RecordType,
)
from policies.vocabulary import Decision, OfficerRole, Purpose
from tests.simulator.policies import CARE, FEDERATION, LINKAGE, NOW, POLICE, sample_policy

POLICY = sample_policy()
POLICY_HASH = Hash256(document_hash(POLICY))
TOKEN = LinkTokenText("a" * 26)
REQUEST = DisclosureRequest(
    federation=FEDERATION,
    id=DocumentId("request-0001"),
    linkage=LINKAGE,
    policy=POLICY.id,
    policy_hash=POLICY_HASH,
    link_token=TOKEN,
    requester=POLICE,
    officer=PersonId("police.investigator"),
    role=OfficerRole.INVESTIGATOR,
    purpose=Purpose.DOMESTIC_ABUSE_RISK,
    tier=3,
    asks=(RecordAsk(RecordType("incident"), (FieldName("summary"), FieldName("notes"))),),
    necessity=Prose("Three calls to the same house in a month."),
    case_reference=Line("CASE-2026-77"),
    urgency=Urgency.URGENT,
    created=NOW - timedelta(minutes=5),
    expires=NOW + timedelta(days=1),
    identity_evidence=(IdentityEvidence(FieldName("date_of_birth"), HexBytes("ab" * 32)),),
    provider=CARE,
    break_glass=BreakGlass(
        Line("threat to life"), Prose("She is not answering."), NOW - timedelta(minutes=6)
    ),
)
REQUEST_HASH = Hash256(document_hash(REQUEST))
APPROVAL = Approval(
    request_hash=REQUEST_HASH,
    request=REQUEST.id,
    requester=REQUEST.requester,
    tier=REQUEST.tier,
    organisation=CARE,
    role=OfficerRole.APPROVER,
    decision=Decision.APPROVE,
    reason=Prose("Needed."),
    decided_at=NOW,
)


def disclosure_documents() -> list[Document]:
    """A request and everything that may follow it."""
    party = POLICY.party(CARE)
    assert party is not None
    decision = DisclosureDecision(
        id=DocumentId("decision-0001"),
        request_hash=REQUEST_HASH,
        policy=POLICY.id,
        policy_hash=POLICY_HASH,
        provider=CARE,
        recipient=POLICE,
        annex_b=fill_annex_b(
            POLICY,
            party,
            Requester(POLICE, REQUEST.officer, REQUEST.role),
            REQUEST.purpose,
            tuple((ask.record_type, field) for ask in REQUEST.asks for field in ask.fields),
            REQUEST.necessity,
            REQUEST.case_reference,
        ),
        outcomes=(
            FieldOutcome(
                0,
                RecordType("incident"),
                FieldName("summary"),
                Outcome.RELEASED,
                (3,),
                Line("released under clause 3"),
            ),
        ),
        decided_by=(PersonId("care.approver"),),
        approval_hashes=(Hash256(document_hash(APPROVAL)),),
        reasons=Prose("The policy allows it and an officer approved."),
        requested_at=REQUEST.created,
        decided_at=NOW,
    )
    release = DisclosureRelease(
        id=DocumentId("release-0001"),
        decision_hash=Hash256(document_hash(decision)),
        policy=POLICY.id,
        policy_hash=POLICY_HASH,
        link_token=TOKEN,
        provider=CARE,
        recipient=POLICE,
        released_at=NOW,
        purge_after=NOW + timedelta(days=90),
        handling_marking=POLICY.obligations.handling_marking,
        victim_contact_warning=POLICY.obligations.victim_contact_warning,
        onward_sharing=(),
        records=(
            ReleasedRecord(
                DocumentId("record-00aa"),
                RecordType("incident"),
                {FieldName("summary"): FieldValue("Shouting heard.\nNo arrest.")},
            ),
        ),
        request_hash=REQUEST_HASH,
    )
    release_hash = Hash256(document_hash(release))
    return [
        REQUEST,
        APPROVAL,
        decision,
        release,
        DisclosureRefusal(
            DocumentId("refusal-0001"),
            REQUEST_HASH,
            RefusalCode.NOT_AVAILABLE,
            Prose("Nothing to share."),
            NOW,
        ),
        DisclosureReceipt(DocumentId("receipt-0001"), release_hash, POLICE, NOW, NOW + timedelta(days=90)),
        LinkRecall(
            DocumentId("recall-00001"), LINKAGE, TOKEN, CARE, RecallReason.FALSE_LINK, (release_hash,), NOW
        ),
        ErasureReceipt(DocumentId("erasure-0001"), release_hash, POLICE, ErasureReason.RECALLED, NOW),
    ]

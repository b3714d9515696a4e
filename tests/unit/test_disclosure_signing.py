"""A node has an officer sign the request or the order that they meant, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agency_node.disclosure.asking import agreed_request, asking_lines
from agency_node.disclosure.ordering import agreed_order
from agency_node.disclosure.orders import Act, OfficerOrder
from agency_node.disclosure.page import Acting, signed
from agency_node.rpc.ports import EmergencyClaim, OrderDraft, PreparedDocument, RequestDraft
from crypto.envelope import Envelope
from policies.codec import Document, payload_type, write
from policies.disclosure import Approval, BreakGlass, DisclosureRequest, RecordAsk, Urgency
from policies.ids import (
    AgencyId,
    DocumentId,
    FederationId,
    FieldName,
    Line,
    LinkTokenText,
    PersonId,
    Prose,
    RecordType,
)
from policies.vocabulary import OfficerRole, Purpose
from protos.wire.terminal import TerminalError
from tests.simulator.disclosures import APPROVAL, REQUEST
from tests.simulator.policies import CARE, FEDERATION, NOW, POLICE, key_of

POLICE_OFFICER = Acting(FEDERATION, POLICE)
CLAIM = BreakGlass(Line("threat to life"), Prose("She is not answering."), REQUEST.created)
ASKED = replace(REQUEST, break_glass=CLAIM, expires=REQUEST.created + timedelta(days=2))
DRAFT = RequestDraft(
    link_token=str(ASKED.link_token),
    purpose="domestic_abuse_risk",
    tier=3,
    necessity=str(ASKED.necessity),
    case_reference=str(ASKED.case_reference),
    urgency="urgent",
    record_types=("incident",),
    fields=("summary", "notes"),
    officer="police.investigator",
    role="investigator",
    break_glass=EmergencyClaim("threat to life", "She is not answering."),
)
_FIELDS = (FieldName("summary"), FieldName("notes"))
OTHER_REQUESTS = {
    "for another federation": {"federation": FederationId("elsewhere")},
    "for another agency": {"requester": CARE},
    "of another officer": {"officer": PersonId("police.approver")},
    "in another role": {"role": OfficerRole.SIRO},
    "about somebody else": {"link_token": LinkTokenText("b" * 26)},
    "for another purpose": {"purpose": Purpose.MISSING_PERSON},
    "at another tier": {"tier": 2},
    "with another necessity": {"necessity": Prose("No reason.")},
    "under another case": {"case_reference": Line("CASE-1")},
    "with another urgency": {"urgency": Urgency.ROUTINE},
    "open for longer": {"expires": ASKED.created + timedelta(days=20)},
    "for another record type": {"asks": (RecordAsk(RecordType("tenancy"), _FIELDS),)},
    "for another field": {"asks": (RecordAsk(RecordType("incident"), (FieldName("address"),)),)},
    "with an emergency of another kind": {"break_glass": replace(CLAIM, reason_code=Line("fire"))},
    "with another explanation": {"break_glass": replace(CLAIM, explanation=Prose("None."))},
    "with an emergency at another time": {
        "break_glass": replace(CLAIM, authenticated_at=CLAIM.authenticated_at + timedelta(hours=9))
    },
    "without the emergency": {"break_glass": None},
}


def prepared(document: Document, kind: type[Document] | None = None) -> PreparedDocument:
    return PreparedDocument(write(document), payload_type(kind or type(document)))


def test_the_request_that_the_officer_means_is_signed() -> None:
    request = agreed_request(prepared(ASKED), DRAFT, POLICE_OFFICER)
    assert request == ASKED
    envelope = Envelope.from_bytes(signed(request, key_of("police.investigator")))
    assert (envelope.payload_type, envelope.payload) == (payload_type(DisclosureRequest), write(ASKED))


@pytest.mark.parametrize("case", OTHER_REQUESTS)
def test_no_other_request_is_signed(case: str) -> None:
    other = replace(ASKED, **OTHER_REQUESTS[case])  # type: ignore[arg-type] # the table names real fields
    with pytest.raises(TerminalError, match="nothing was signed"):
        agreed_request(prepared(other), DRAFT, POLICE_OFFICER)


def test_an_emergency_that_nobody_claimed_is_not_signed() -> None:
    with pytest.raises(TerminalError, match="nothing was signed"):
        agreed_request(prepared(ASKED), replace(DRAFT, break_glass=None), POLICE_OFFICER)


def test_a_safe_address_is_never_asked_for() -> None:
    asks = (RecordAsk(RecordType("incident"), (FieldName("safe_address"),)),)
    open_draft = replace(DRAFT, record_types=(), fields=())
    assert agreed_request(prepared(ASKED), open_draft, POLICE_OFFICER) == ASKED
    with pytest.raises(TerminalError, match="nothing was signed"):
        agreed_request(prepared(replace(ASKED, asks=asks)), open_draft, POLICE_OFFICER)


def test_a_request_is_shown_with_what_the_node_found() -> None:
    page = "\n".join(asking_lines(ASKED))
    for line in (
        "  Which way:  to care", f"  Policy:     {ASKED.policy}",
        "  Asked for:  incident: summary, notes", "  Tier:       3, full record",
        "    | Three calls to the same house in a month.",
        "  Break-glass: threat to life\n    | She is not answering.",
    ):  # fmt: skip
        assert line in page


ORDER = OfficerOrder(
    DocumentId("order-00001"),
    POLICE,
    PersonId("police.privacy"),
    OfficerRole.PRIVACY_OFFICER,
    Act.RECALL_RELEASE,
    Line("request-0001"),
    Prose("It was somebody else."),
    NOW,
    Line("false_link"),
)
GIVEN = OrderDraft(
    "recall-release",
    "request-0001",
    "false_link",
    "It was somebody else.",
    "police.privacy",
    "privacy_officer",
)
OTHER_ORDERS = {
    "at another agency": {"organisation": AgencyId("care")},
    "of another officer": {"officer": PersonId("police.siro")},
    "in another role": {"role": OfficerRole.SIRO},
    "another act": {"act": Act.ERASE_SUBJECT},
    "about something else": {"target": Line("request-0002")},
    "for another reason": {"reason": Prose("It is wrong.")},
    "with another particular": {"about": Line("record_wrong")},
    "without the particular": {"about": None},
}


def test_the_order_that_the_officer_gives_is_signed() -> None:
    assert agreed_order(prepared(ORDER), GIVEN, POLICE_OFFICER) == ORDER


@pytest.mark.parametrize("case", OTHER_ORDERS)
def test_no_other_order_is_signed(case: str) -> None:
    other = replace(ORDER, **OTHER_ORDERS[case])  # type: ignore[arg-type] # the table names real fields
    with pytest.raises(TerminalError, match="nothing was signed"):
        agreed_order(prepared(other), GIVEN, POLICE_OFFICER)


def test_no_document_of_another_kind_is_signed() -> None:
    for found in (prepared(APPROVAL), prepared(ORDER, Approval), prepared(ASKED, Approval)):
        with pytest.raises(TerminalError, match="nothing was signed"):
            agreed_order(found, GIVEN, POLICE_OFFICER)
        with pytest.raises(TerminalError, match="nothing was signed"):
            agreed_request(found, DRAFT, POLICE_OFFICER)

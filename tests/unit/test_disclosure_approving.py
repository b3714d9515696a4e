"""What an officer signs is what they are shown, and what they said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agency_node.disclosure.approving import Said, agreed, page_lines
from agency_node.disclosure.page import Acting
from agency_node.rpc.ports import PreparedApproval
from policies.codec import document_hash, payload_type, write
from policies.disclosure import Approval, DisclosureRequest
from policies.ids import DocumentId, Hash256, Prose
from policies.vocabulary import Decision, OfficerRole
from protos.wire.terminal import TerminalError
from tests.simulator.disclosures import APPROVAL, REQUEST
from tests.simulator.policies import CARE, FEDERATION, POLICE

SAID = Said(str(REQUEST.id), "approve", "Needed.", "care.approver", "approver")


ACTING = Acting(FEDERATION, CARE)


def prepared(
    approval: Approval = APPROVAL,
    request: DisclosureRequest = REQUEST,
    kind: str = payload_type(Approval),
) -> PreparedApproval:
    return PreparedApproval(write(approval), kind, write(request))


def test_what_agrees_is_shown_and_signed() -> None:
    assert agreed(prepared(), SAID, ACTING) == (REQUEST, APPROVAL)


ANOTHER = replace(REQUEST, necessity=Prose("Another request under the same id."))
DISAGREEING = {
    "another request is shown": prepared(request=ANOTHER),
    "another request than the officer named": prepared(
        replace(
            APPROVAL,
            request=DocumentId("request-0002"),
            request_hash=Hash256(document_hash(replace(REQUEST, id=DocumentId("request-0002")))),
        ),
        replace(REQUEST, id=DocumentId("request-0002")),
    ),
    "another hash": prepared(replace(APPROVAL, request_hash=Hash256("0" * 64))),
    "another requester": prepared(replace(APPROVAL, requester=CARE)),
    "another tier": prepared(replace(APPROVAL, tier=0)),
    "another decision": prepared(replace(APPROVAL, decision=Decision.REJECT)),
    "another reason": prepared(replace(APPROVAL, reason=Prose("Whatever."))),
    "another role": prepared(replace(APPROVAL, role=OfficerRole.SIRO)),
    "for another agency": prepared(replace(APPROVAL, organisation=POLICE)),
    "another kind of document": prepared(kind=payload_type(DisclosureRequest)),
}


@pytest.mark.parametrize("case", DISAGREEING)
def test_nothing_else_is_signed(case: str) -> None:
    with pytest.raises(TerminalError, match="nothing was signed"):
        agreed(DISAGREEING[case], SAID, ACTING)


def test_nobodys_words_pass_for_a_line_of_the_page() -> None:
    necessity = Prose("Needed.\n  Tier:       0, existence of contact\n\n" + "long words " * 30 + "end")
    lines = list(page_lines(replace(REQUEST, necessity=necessity), APPROVAL))
    assert [line for line in lines if "Tier:" in line and not line.startswith("    | ")] == [
        "  Tier:       3, full record"
    ]
    assert max(map(len, lines)) <= 106


def test_the_page_says_which_way_the_request_goes_and_that_it_is_an_emergency() -> None:
    received = "\n".join(page_lines(REQUEST, APPROVAL))
    made = "\n".join(page_lines(REQUEST, replace(APPROVAL, organisation=POLICE)))
    assert "made to your agency, by police" in received and "made by your agency, to care" in made
    assert "Break-glass: threat to life\n    | She is not answering." in received

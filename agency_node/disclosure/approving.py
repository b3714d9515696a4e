"""What an officer is shown before they approve, reject or review, and that nothing else is signed.

The document must be what the officer said, about the request that they named and see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agency_node.disclosure.asking import request_lines
from agency_node.disclosure.page import Acting, prepared_as, quoted, require_agreed, words
from agency_node.rpc.ports import PreparedApproval
from policies.codec import document_hash, parse
from policies.disclosure import Approval, DisclosureRequest


@dataclass(frozen=True, slots=True)
class Said:
    """What an officer wants to sign: `decision` is "approve" or "reject"."""

    request_id: str
    decision: str
    reason: str
    officer: str
    role: str


def agreed(prepared: PreparedApproval, said: Said, acting: Acting) -> tuple[DisclosureRequest, Approval]:
    """The request to show and the document to sign, if they say the same, and what the officer said.

    Raises:
        TerminalError: they do not: nothing must be signed. DocumentError: one cannot be read.
    """
    approval = prepared_as(Approval, prepared)
    request = parse(DisclosureRequest, prepared.request)
    require_agreed(
        (request.id, request.federation) == (said.request_id, acting.federation)
        and approval.is_about(request, document_hash(request))
        and (approval.decision.value, str(approval.reason), approval.role.value)
        == (said.decision, said.reason, said.role)
        and approval.organisation == acting.agency
    )
    return request, approval


def page_lines(request: DisclosureRequest, approval: Approval) -> Iterator[str]:
    """What is signed, for the officer to read: who asks whom for what and why, and what the officer says."""
    made = request.requester == approval.organisation
    provider = request.provider or "an agency that is not named"
    way = f"made by your agency, to {provider}" if made else f"made to your agency, by {request.requester}"
    yield f"{approval.decision.value.upper()} this request for disclosure?"
    yield from request_lines(request, way)
    who = f"{words(approval.role)} of {approval.organisation}"
    yield f"You sign, as {who}: {approval.decision.value}, because"
    yield from quoted(approval.reason)

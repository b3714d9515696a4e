"""What an officer is shown before they approve, reject or review, and that nothing else is signed.

The node prepares the document and hands over the request that it is about. Both are read on the officer's
side of the socket: the document must be what the officer said, about the request that they named and see.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from agency_node.rpc.ports import PreparedApproval
from policies.codec import document_hash, parse, payload_type
from policies.disclosure import Approval, DisclosureRequest
from policies.vocabulary import TIER_NAMES
from protos.wire.terminal import TerminalError

_QUOTED, _WIDTH = "    | ", 100


@dataclass(frozen=True, slots=True)
class Said:
    """What an officer wants to sign: `decision` is "approve" or "reject"."""

    request_id: str
    decision: str
    reason: str
    officer: str
    role: str


def agreed(prepared: PreparedApproval, said: Said) -> tuple[DisclosureRequest, Approval]:
    """The request to show and the document to sign, if they say the same, and what the officer said.

    Raises:
        TerminalError: they do not: nothing must be signed.
    """
    request = parse(DisclosureRequest, prepared.request)
    approval = parse(Approval, prepared.payload)
    agrees = (
        prepared.payload_type == payload_type(Approval)
        and request.id == said.request_id
        and approval.is_about(request, document_hash(request))
        and (approval.decision.value, str(approval.reason), approval.role.value)
        == (said.decision, said.reason, said.role)
    )
    if not agrees:
        raise TerminalError(
            "the node would have you sign something else than what you asked for and are shown;"
            " nothing was signed. Tell whoever looks after the node"
        )
    return request, approval


def page_lines(request: DisclosureRequest, approval: Approval) -> Iterator[str]:
    """What is signed, for the officer to read: who asks whom for what and why, and what the officer says."""
    made = request.requester == approval.organisation
    provider = request.provider or "an agency that is not named"
    yield f"{approval.decision.value.upper()} this request for disclosure?"
    for title, value in (
        ("Request", request.id),
        ("Which way", f"made by your agency, to {provider}" if made
                      else f"made to your agency, by {request.requester}"),
        ("Asked by", f"{request.officer}, {_words(request.role)}, of {request.requester}"),
        ("Purpose", _words(request.purpose)),
        ("Tier", f"{request.tier}, {TIER_NAMES[request.tier]}"),
        ("Case", request.case_reference),
        ("Open until", f"{request.expires:%d %B %Y %H:%M} UTC"),
    ):  # fmt: skip
        yield f"  {title + ':':<12}{value}"
    for ask in request.asks:
        yield f"  {'Asked for:':<12}{_words(ask.record_type)}: {', '.join(map(_words, ask.fields))}"
    yield "  Why it is necessary, in their own words:"
    yield from _quoted(request.necessity)
    if request.break_glass is not None:
        yield f"  Break-glass: {request.break_glass.reason_code}"
        yield from _quoted(request.break_glass.explanation)
    who = f"{_words(approval.role)} of {approval.organisation}"
    yield f"You sign, as {who}: {approval.decision.value}, because"
    yield from _quoted(approval.reason)


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _quoted(prose: str) -> Iterator[str]:
    """Somebody's own words, so that no line of them can pass for one of the page."""
    for line in prose.split("\n"):
        for part in textwrap.wrap(line, _WIDTH) or [""]:
            yield _QUOTED + part

"""What an officer is shown before they ask, and that the request is what they wanted to ask."""

from __future__ import annotations

from collections.abc import Iterator

from agency_node.disclosure.asks import LIFETIMES
from agency_node.disclosure.page import Acting, prepared_as, quoted, require_agreed, words
from agency_node.rpc.ports import PreparedDocument, RequestDraft
from policies.clauses import PROTECTED_FIELDS
from policies.disclosure import DisclosureRequest, Urgency
from policies.vocabulary import TIER_NAMES


def agreed_request(prepared: PreparedDocument, draft: RequestDraft, acting: Acting) -> DisclosureRequest:
    """The request to show and sign, if it asks what the officer wants to ask, and nothing beyond.

    Whom it asks, and for which fields where the officer named none, the node finds from the link and its
    policy: that is for the officer to read.

    Raises:
        TerminalError: it is another one: nothing must be signed. DocumentError: it cannot be read.
    """
    request = prepared_as(DisclosureRequest, prepared)
    require_agreed(
        (request.federation, request.requester) == (acting.federation, acting.agency)
        and _words_of(request) == _words_of_draft(draft)
        and request.expires - request.created == LIFETIMES[request.urgency]
        and _is_claimed(request, draft)
        and _is_within(request, draft)
    )
    return request


def _words_of(request: DisclosureRequest) -> tuple[str | int, ...]:
    return (
        str(request.link_token), str(request.officer), request.role.value, request.purpose.value,
        request.tier, request.urgency.value, str(request.necessity), str(request.case_reference),
    )  # fmt: skip


def _words_of_draft(draft: RequestDraft) -> tuple[str | int, ...]:
    return (
        draft.link_token, draft.officer, draft.role, draft.purpose,
        draft.tier, draft.urgency or Urgency.ROUTINE.value, draft.necessity, draft.case_reference,
    )  # fmt: skip


def _is_claimed(request: DisclosureRequest, draft: RequestDraft) -> bool:
    """Whether both claim the same emergency as of the request's making, or neither does."""
    claim, said = request.break_glass, draft.break_glass
    if claim is None or said is None:
        return claim is None and said is None
    return (str(claim.reason_code), str(claim.explanation), claim.authenticated_at) == (
        said.reason_code,
        said.explanation,
        request.created,
    )


def _is_within(request: DisclosureRequest, draft: RequestDraft) -> bool:
    """Whether nothing is asked for that the officer left out, or that can never be asked for."""
    types = {str(ask.record_type) for ask in request.asks}
    fields = {name for ask in request.asks for name in ask.fields}
    return (
        (not draft.record_types or types <= set(draft.record_types))
        and (not draft.fields or {str(name) for name in fields} <= set(draft.fields))
        and not fields & PROTECTED_FIELDS
    )


def asking_lines(request: DisclosureRequest) -> Iterator[str]:
    """What is signed, for the officer to read."""
    yield "ASK for this disclosure?"
    yield from request_lines(request, f"to {request.provider or 'an agency that is not named'}")


def request_lines(request: DisclosureRequest, way: str) -> Iterator[str]:
    """A request on a page: who asks whom for what and why; `way` says from and to whom it goes."""
    for title, value in (
        ("Request", request.id),
        ("Which way", way),
        ("Asked by", f"{request.officer}, {words(request.role)}, of {request.requester}"),
        ("Purpose", words(request.purpose)),
        ("Tier", f"{request.tier}, {TIER_NAMES[request.tier]}"),
        ("Case", request.case_reference),
        ("Policy", request.policy),
        ("Open until", f"{request.expires:%d %B %Y %H:%M} UTC"),
    ):
        yield f"  {title + ':':<12}{value}"
    for ask in request.asks:
        yield f"  {'Asked for:':<12}{words(ask.record_type)}: {', '.join(map(words, ask.fields))}"
    yield "  Why it is necessary, in the officer's own words:"
    yield from quoted(request.necessity)
    if request.break_glass is not None:
        yield f"  Break-glass: {request.break_glass.reason_code}"
        yield from quoted(request.break_glass.explanation)

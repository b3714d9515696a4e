"""The queue of the privacy officers: uses of break-glass that wait for their review."""

from __future__ import annotations

from agency_node.disclosure.context import DisclosureContext
from agency_node.rpc.ports import EmergencySummary
from policies.codec import open_document
from policies.disclosure import DisclosureRequest

#: Uses of break-glass by one officer that may wait for their review at a time.
UNREVIEWED_AT_MOST = 3


async def list_emergencies(context: DisclosureContext) -> tuple[EmergencySummary, ...]:
    """Uses that nobody of this agency has reviewed, the most urgent first, with the officer's own words."""
    now = context.now()
    found = []
    async with context.store.transaction() as tx:
        for use in await tx.emergencies.unreviewed():
            code = explanation = case_reference = ""
            stored = await tx.requests.get(use.direction, use.request_id)
            if stored is not None and stored.wrapped is not None:
                contents = context.vault.open_request(stored.direction, stored.request_id, stored.wrapped)
                request = open_document(DisclosureRequest, contents.envelope)
                case_reference = str(request.case_reference)
                if request.break_glass is not None:
                    code = str(request.break_glass.reason_code)
                    explanation = str(request.break_glass.explanation)
            found.append(
                EmergencySummary(
                    str(use.request_id),
                    use.direction.value,
                    str(use.officer),
                    str(use.peer),
                    code,
                    explanation,
                    case_reference,
                    use.used,
                    use.review_due,
                    use.review_due < now,
                )
            )
    return tuple(found)

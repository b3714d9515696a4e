"""One picture of a subject: what this agency holds and what it was released, oldest first."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.messages import DisclosureAnswer
from agency_node.disclosure.model import ReleaseSide, ReleaseState, StoredRelease
from agency_node.disclosure.records import CONSENT, OCCURRED, OCCURRED_MONTH, Holding
from agency_node.rpc.ports import PictureItem, Provenance
from agency_node.subjects import SubjectId
from policies.agreement import SubjectType
from policies.codec import open_document
from policies.disclosure import FieldOutcome, Outcome
from policies.ids import FieldValue
from protos.wire.errors import ErrorCode, RefusedError

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?")


async def picture_of(context: DisclosureContext, subject: SubjectId) -> tuple[PictureItem, ...]:
    """Own records and everything released about the subject and not purged, with what was withheld.

    What was withheld stands with the first record of its type. A record without a date comes first.

    Raises:
        RefusedError: INVALID_ARGUMENT for a subject that this agency does not hold.
    """
    holding = await _held(context, subject)
    if holding is None:
        raise RefusedError(ErrorCode.INVALID_ARGUMENT, "this agency holds no subject with this number")
    items = list(_own(context, holding))
    async with context.store.transaction() as tx:
        mac = context.vault.subject_mac(subject)
        releases = await tx.releases.of_subject(ReleaseSide.RECEIVED, mac)
    for release in releases:
        if release.state is ReleaseState.OPEN and release.wrapped is not None:
            items += _received(context, release, release.wrapped)
    return tuple(sorted(items, key=lambda item: (item.occurred, item.agency_id, item.record_type)))


async def _held(context: DisclosureContext, subject: SubjectId) -> Holding | None:
    for kind in SubjectType:
        holding = await context.reader.holding(subject, kind)
        if holding is not None:
            return holding
    return None


def _own(context: DisclosureContext, holding: Holding) -> Iterator[PictureItem]:
    for record in holding.records:
        fields = {
            name: FieldValue.cleaned(value)
            for name, value in record.fields.items()
            if value and name != CONSENT
        }
        occurred = record.occurred.isoformat() if record.occurred else ""
        yield PictureItem(str(context.me), record.record_type, occurred, fields)


def _received(context: DisclosureContext, release: StoredRelease, wrapped: bytes) -> Iterator[PictureItem]:
    kept = context.vault.open_release(release.release_hash, wrapped)
    answer = open_document(DisclosureAnswer, kept.answer)
    if answer.release is None:
        return
    withheld = _withheld(answer.outcomes)
    for record in answer.release.records:
        fields = {str(name): str(value) for name, value in record.fields.items()}
        occurred = take_date(fields, OCCURRED)
        occurred = occurred or take_date(fields, OCCURRED_MONTH)
        yield PictureItem(
            str(release.peer),
            str(record.record_type),
            occurred,
            fields,
            tuple(withheld.pop(record.record_type, ())),
            str(release.request_id or ""),
            Provenance(str(record.id), release.release_hash, release.policy_hash),
            str(answer.release.handling_marking),
            str(answer.release.victim_contact_warning),
        )


def take_date(fields: dict[str, str], name: str) -> str:
    """Takes a date out of the fields; what is none stays there, for it could say anything."""
    return fields.pop(name) if _DATE.fullmatch(fields.get(name, "")) else ""


def _withheld(outcomes: tuple[FieldOutcome, ...]) -> dict[str, list[str]]:
    """By record type: `field: withheld by clause n`."""
    found: dict[str, list[str]] = {}
    for item in outcomes:
        if item.outcome in (Outcome.WITHHELD, Outcome.NEEDS_APPROVAL):
            found.setdefault(item.record_type, []).append(f"{item.field}: {item.reason}")
    return found

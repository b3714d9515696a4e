"""Who saw what about a subject, when, and under which clauses: for a subject access request."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from agency_node.disclosure.context import DisclosureContext
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction
from crypto.canonical import JsonValue

_SHOWN = frozenset(
    {
        AuditAction.DISCLOSURE_RELEASED,
        AuditAction.DISCLOSURE_RECEIVED,
        AuditAction.DISCLOSURE_REFUSED,
        AuditAction.DISCLOSURE_REQUESTED,
        AuditAction.BREAK_GLASS_INVOKED,
        AuditAction.PURGED,
    }
)


@dataclass(frozen=True, slots=True)
class SubjectEntry:
    """One audit entry about a subject, opened. Personal data: the particulars are not shown."""

    seq: int
    time: datetime
    action: AuditAction
    #: The officer, or the agency whose node did it.
    actor: str
    policy_hash: str
    particulars: dict[str, JsonValue] = field(repr=False)


async def subject_report(context: DisclosureContext, subject: SubjectId) -> tuple[SubjectEntry, ...]:
    """Every request, release, refusal, use of break-glass and purge about a subject, oldest first.

    Empty where there is none, or where the entries' details were erased.
    """
    async with context.store.transaction() as tx:
        entries = await context.log.about(tx, subject)
    return tuple(
        SubjectEntry(
            item.entry.leaf.seq,
            item.entry.leaf.time,
            item.entry.leaf.action,
            item.details.actor,
            item.entry.leaf.policy or "",
            _plain(item.details.body),
        )
        for item in entries
        if item.details is not None and item.entry.leaf.action in _SHOWN
    )


def _plain(body: object) -> dict[str, JsonValue]:
    if not isinstance(body, dict):
        raise TypeError("the body of audit details is an object")
    return dict(body)

"""How requests, releases and pictures read at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agency_node.rpc.ports import EmergencySummary, PictureItem, RequestDetail, RequestSummary, SubjectEntry
from crypto.canonical import JsonValue
from policies.codec import parse, to_json
from policies.disclosure import DisclosureRelease
from policies.vocabulary import TIER_NAMES

_STATES = {
    "sent": "waiting for the answer",
    "waiting": "waiting for approval",
    "released": "released",
    "refused": "refused",
    "expired": "not answered in time",
    "undeliverable": "could not be delivered",
    "recalled": "taken back",
    "purged": "purged, its time is up",
    "withdrawn": "withdrawn",
}


def summary_line(item: RequestSummary) -> str:
    """One line of a list."""
    way = "to" if item.direction == "made" else "from"
    approvals = f", {item.approvals} of {item.approvals_needed} approvals" if item.approvals_needed else ""
    return (
        f"{item.request_id}  {item.created:%d %b %Y %H:%M}  {way} {item.peer:<20} "
        f"{TIER_NAMES[item.tier]}: {_STATES.get(item.state, item.state)}{approvals}  {item.case_reference}"
    )


def detail_lines(detail: RequestDetail) -> Iterator[str]:
    """A request with its outcome."""
    item = detail.summary
    yield summary_line(item)
    yield f"purpose: {item.purpose.replace('_', ' ')}; open until {item.expires:%d %B %Y %H:%M} UTC"
    if detail.refusal:
        yield f"refused: {detail.refusal.partition(': ')[2]}"
    if detail.release:
        yield from _release_lines(parse(DisclosureRelease, detail.release))
    held_back = [entry for entry in detail.outcomes if entry.outcome != "release"]
    if held_back:
        yield "not released:"
    for entry in held_back:
        yield f"  {entry.record_type}, {entry.field}: {entry.reason}"


def detail_json(detail: RequestDetail) -> dict[str, JsonValue]:
    """The same for programs."""
    outcomes: list[JsonValue] = [
        {
            "record_type": entry.record_type,
            "field": entry.field,
            "outcome": entry.outcome,
            "clauses": list(entry.clauses),
            "reason": entry.reason,
        }
        for entry in detail.outcomes
    ]
    release = to_json(parse(DisclosureRelease, detail.release)) if detail.release else None
    return {
        "request": detail.summary.request_id,
        "agency": detail.summary.peer,
        "state": detail.summary.state,
        "refusal": detail.refusal or None,
        "outcomes": outcomes,
        "release": release,
    }


def emergency_lines(item: EmergencySummary) -> Iterator[str]:
    """A use of break-glass that waits for its review."""
    whose = f"to {item.peer}" if item.direction == "made" else f"from {item.peer}"
    late = "  OVERDUE: the officer is refused until it is reviewed" if item.overdue else ""
    yield f"{item.request_id}  {item.officer} {whose}, {item.case_reference}: {item.reason_code}"
    yield f"  {item.explanation}"
    yield f"  used {item.used:%d %b %Y %H:%M}; review due {item.review_due:%d %b %Y %H:%M} UTC{late}"


def emergency_json(item: EmergencySummary) -> dict[str, JsonValue]:
    """The same for programs."""
    return {
        "request": item.request_id,
        "direction": item.direction,
        "officer": item.officer,
        "agency": item.peer,
        "reason_code": item.reason_code,
        "explanation": item.explanation,
        "case_reference": item.case_reference,
        "used": item.used.isoformat(),
        "review_due": item.review_due.isoformat(),
        "overdue": item.overdue,
    }


def entry_lines(item: SubjectEntry, *, for_subject: bool) -> Iterator[str]:
    """One entry about a subject. For the subject: what was done by which agency, and no officer's name."""
    body = item.particulars
    agency = body.get("requester") or body.get("provider") or ""
    what = item.action.value.replace("-", " ")
    who = "" if for_subject else f"  {item.actor}"
    yield f"{item.seq:>7}  {item.time:%d %b %Y %H:%M}  {what}{who}  {agency}".rstrip()
    shown = body.get("fields")
    if isinstance(shown, dict):
        for record_type, names in shown.items():
            if isinstance(names, list):
                yield f"           {record_type}: {', '.join(str(name) for name in names)}"
    clauses = body.get("clauses")
    if isinstance(clauses, list) and clauses:
        yield f"           under clauses {', '.join(str(number) for number in clauses)}"
    if for_subject:
        return
    for name in ("purpose", "case_reference", "necessity", "code", "why", "reason"):
        if body.get(name):
            yield f"           {name.replace('_', ' ')}: {body[name]}"
    for line in item.exemptions:
        yield f"           [before the subject is told: {line}]"


def picture_lines(items: Sequence[PictureItem]) -> Iterator[str]:
    """A timeline, the oldest first."""
    for item in items:
        kind = item.record_type.replace("_", " ")
        source = f"{item.agency_id}, {kind}" + (" (received)" if item.request_id else "")
        yield f"{item.occurred or 'no date':<10}  {source}"
        for name, value in item.fields.items():
            yield f"            {name.replace('_', ' ')}: {value}"
        for line in item.withheld:
            yield f"            [{line}]"
    yield f"{len(items)} records"


def _release_lines(release: DisclosureRelease) -> Iterator[str]:
    yield f"{release.handling_marking}. {release.victim_contact_warning}"
    yield f"released {release.released_at:%d %B %Y}; purged here on {release.purge_after:%d %B %Y}"
    for record in release.records:
        yield f"{record.record_type.replace('_', ' ')}:"
        for name, value in record.fields.items():
            yield f"  {name.replace('_', ' ')}: {value}"

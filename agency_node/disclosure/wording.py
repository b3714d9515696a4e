"""How requests, releases and pictures read at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agency_node.disclosure.page import quoted, titled, words
from agency_node.rpc.ports import (
    ConflictSummary,
    EmergencySummary,
    PictureItem,
    RequestDetail,
    RequestSummary,
    SubjectEntry,
    SupervisionSummary,
)
from crypto.audit import AuditAction
from crypto.canonical import JsonValue
from policies.codec import parse, to_json
from policies.disclosure import DisclosureDecision, DisclosureRelease
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


_SEEN = {
    "see-picture": "all that is held and was received",
    "see-request": "a request and what came of it",
    "see-report": "who saw what",
}


def summary_lines(item: RequestSummary) -> Iterator[str]:
    """A request in a list."""
    way = "to" if item.direction == "made" else "from"
    approvals = f", {item.approvals} of {item.approvals_needed} approvals" if item.approvals_needed else ""
    yield (
        f"{item.request_id}  {item.created:%d %b %Y %H:%M}  {way} {item.peer:<20} "
        f"{TIER_NAMES[item.tier]}: {_STATES.get(item.state, item.state)}{approvals}  {item.case_reference}"
    )


def summary_json(item: RequestSummary) -> dict[str, JsonValue]:
    """The same for programs."""
    return {
        "request": item.request_id,
        "direction": item.direction,
        "agency": item.peer,
        "state": item.state,
        "tier": item.tier,
        "purpose": item.purpose,
        "case_reference": item.case_reference,
        "approvals": item.approvals,
        "approvals_needed": item.approvals_needed,
    }


def detail_lines(detail: RequestDetail) -> Iterator[str]:
    """A request with its outcome."""
    item = detail.summary
    yield from summary_lines(item)
    yield f"purpose: {item.purpose.replace('_', ' ')}; open until {item.expires:%d %B %Y %H:%M} UTC"
    if detail.refusal:
        yield from titled("refused", detail.refusal.partition(": ")[2])
    if detail.release:
        yield from _release_lines(parse(DisclosureRelease, detail.release))
    held_back = [entry for entry in detail.outcomes if entry.outcome != "release"]
    if held_back:
        yield "not released:"
    for entry in held_back:
        yield from titled(f"{entry.record_type}, {entry.field}", entry.reason, "  ")


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


def form_lines(decision: DisclosureDecision) -> Iterator[str]:
    """The record of a decision in the order of the ICO Data Sharing Code's Annex B form."""
    form = decision.annex_b
    yield "DISCLOSURE DECISION"
    for title, value in (
        ("Requested by", f"{form.requester}, {form.requester_position}, of {form.requester_organisation}"),
        ("Data requested", f"{', '.join(form.fields)} of {', '.join(form.record_types)}"),
        ("Controller relationship", form.controller_relationship),
        ("Agreement", f"{form.agreement}, hash {decision.policy_hash}"),
        ("Purpose", form.purpose),
        ("Case", form.case_reference),
        ("Why it is necessary", form.necessity),
        ("Regime", form.regime),
        ("Lawful basis", form.lawful_basis or form.part3_basis),
        ("Special-category data", "yes" if form.special_category_data else "no"),
        ("Criminal-offence data", "yes" if form.criminal_offence_data else "no"),
        ("Conditions", _listed(form.special_category_condition, form.criminal_offence_condition,
                               form.schedule1_paragraph, form.schedule8_paragraph)),
        ("Legal powers", "; ".join(form.legal_powers)),
        ("Confidentiality", form.confidentiality),
        ("Impact assessment", _listed(form.dpia_reference, form.dpia_hash)),
        ("Views of the DPOs", " / ".join(form.dpo_views)),
        ("Retention", f"{form.retention_days} days"),
        ("Security", form.security),
        ("Individuals' rights", form.individuals_rights),
        ("Requested", f"{decision.requested_at:%d %B %Y %H:%M} UTC"),
        ("Decided", f"{decision.decided_at:%d %B %Y %H:%M} UTC"),
        ("Decision", f"refused ({decision.refusal})" if decision.refusal else "released"),
        ("Reasons", decision.reasons),
        ("Decided by", ", ".join(decision.decided_by) or "the policy, without an approver"),
    ):  # fmt: skip
        said = value or "not stated"
        if "\n" in said:
            yield f"{title}:"
            yield from quoted(said)
        else:
            yield f"{title + ':':<24}{said}"
    for item in decision.outcomes:
        yield f"  record {item.record}, {item.record_type}.{item.field}: {item.reason}"


def _listed(*values: object) -> str:
    return "; ".join(str(value) for value in values if value)


def emergency_lines(item: EmergencySummary) -> Iterator[str]:
    """A use of break-glass that waits for its review."""
    whose = f"to {item.peer}" if item.direction == "made" else f"from {item.peer}"
    late = "  OVERDUE: the officer is refused until it is reviewed" if item.overdue else ""
    yield f"{item.request_id}  {item.officer} {whose}, {item.case_reference}: {item.reason_code}"
    yield from quoted(item.explanation)
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


def supervision_lines(item: SupervisionSummary) -> Iterator[str]:
    """What waits for a supervisor."""
    kind, whose = item.kind.replace("-", " "), item.officer or item.peer
    yield f"{item.item_id}  {item.raised:%d %b %Y %H:%M}  {kind}: {whose}  {item.request_id}".rstrip()


def supervision_json(item: SupervisionSummary) -> dict[str, JsonValue]:
    """The same for programs."""
    return {
        "item": item.item_id,
        "kind": item.kind,
        "request": item.request_id,
        "officer": item.officer,
        "agency": item.peer,
        "policy": item.policy_hash,
        "raised": item.raised.isoformat(),
    }


def conflict_lines(item: ConflictSummary) -> Iterator[str]:
    """Who may not ask about whom."""
    yield f"{item.officer}  {item.subject_id or 'anybody'}  {item.declared:%d %b %Y}"
    yield from quoted(item.reason)


def conflict_json(item: ConflictSummary) -> dict[str, JsonValue]:
    """The same for programs."""
    return {
        "officer": item.officer,
        "subject": item.subject_id or None,
        "reason": item.reason,
        "declared": item.declared.isoformat(),
    }


def entry_lines(item: SubjectEntry, *, for_subject: bool) -> Iterator[str]:
    """One entry about a subject. For the subject: what was done by which agency, and no officer's name."""
    body = item.particulars
    agency = body.get("requester") or body.get("provider") or ""
    what = item.action.value.replace("-", " ")
    who = "" if for_subject else f"  {item.actor}"
    yield f"{item.seq:>7}  {item.time:%d %b %Y %H:%M}  {what}{who}  {agency}".rstrip()
    seen = _SEEN.get(str(body.get("act")))
    if item.action is AuditAction.CONSULTED and seen is not None:
        outcome = "saw" if body.get("outcome") == "shown" else "was refused"
        yield f"           {outcome}: {seen}" + ("" if for_subject else f", as {words(body.get('role'))}")
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
            yield from titled(words(name), str(body[name]), "           ")
    for line in item.exemptions:
        yield f"           [before the subject is told: {line}]"


def entry_json(item: SubjectEntry) -> dict[str, JsonValue]:
    """The same for programs."""
    return {
        "entry": item.seq,
        "time": item.time.isoformat(),
        "action": item.action.value,
        "actor": item.actor,
        "policy": item.policy_hash or None,
        "particulars": dict(item.particulars),
        "exemptions": list(item.exemptions),
    }


def picture_notices(items: Iterable[PictureItem]) -> Iterator[str]:
    """What the releases in a picture say of their handling and of contact, each once: to be read first."""
    told = {
        (item.handling_marking, item.victim_contact_warning): None for item in items if item.handling_marking
    }
    for marking, warning in told:
        yield from _notice(marking, warning)


def _notice(marking: str, warning: str) -> Iterator[str]:
    yield from titled("Handling", marking)
    yield from titled("Before any contact", warning)


def picture_lines(item: PictureItem) -> Iterator[str]:
    """One record of a timeline."""
    received = " (received)" if item.provenance is not None else ""
    yield f"{item.occurred or 'no date':<10}  {item.agency_id}, {words(item.record_type)}{received}"
    for name, value in item.fields.items():
        yield from titled(words(name), value, "            ")
    for line in item.withheld:
        yield from titled("withheld", f"[{line}]", "            ")


def picture_json(item: PictureItem) -> dict[str, JsonValue]:
    """The same for programs. Whoever copies a received record keeps its number, and so its provenance."""
    source = item.provenance
    provenance: JsonValue = None
    if source is not None:
        provenance = {
            "agency": item.agency_id,
            "record": source.record_id,
            "release": source.release_hash,
            "policy": source.policy_hash,
        }
    return {
        "agency": item.agency_id,
        "record_type": item.record_type,
        "occurred": item.occurred,
        "fields": dict(item.fields),
        "withheld": list(item.withheld),
        "request": item.request_id,
        "provenance": provenance,
        "handling_marking": item.handling_marking or None,
        "victim_contact_warning": item.victim_contact_warning or None,
    }


def _release_lines(release: DisclosureRelease) -> Iterator[str]:
    yield from _notice(release.handling_marking, release.victim_contact_warning)
    yield f"released {release.released_at:%d %B %Y}; purged here on {release.purge_after:%d %B %Y}"
    for record in release.records:
        yield f"{record.record_type.replace('_', ' ')}:"
        for name, value in record.fields.items():
            yield from titled(words(name), value, "  ")

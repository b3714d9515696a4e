"""Against misuse by those who may ask: conflicts of interest, alarms, and a sample for supervisors.

An alarm stops nothing: it is put on record and waits in a queue until somebody else has looked at it. Only
counts are compared, so nothing here reads what was asked. The queue names no subject. What the log says of an
alarm, and of who signed it off, belongs to the subject of the request it is about, and is erased with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.held import held_policy
from agency_node.disclosure.model import Direction, StoredConflict, StoredRequest, SupervisionItem
from agency_node.disclosure.order_service import Effect
from agency_node.disclosure.orders import OVERSIGHT, OfficerOrder
from agency_node.rpc.ports import ConflictSummary, SupervisionSummary
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction, reference
from crypto.canonical import JsonInput
from policies.agreement import SubjectType
from policies.clauses import USUAL_ALARMS, Alarms
from policies.ids import AgencyId, PersonId
from policies.registry import Registry
from protos.wire.errors import ErrorCode, RefusedError

_log = structlog.get_logger("supervision")

SAMPLE = "sample"
CONFLICT = "conflict-of-interest"
IDENTITY = "identity"
PROBING = "probing"
UNJUSTIFIED = "break-glass-unjustified"
MANY_REQUESTS = "many-requests"
MANY_OFFICERS = "many-officers"
OUT_OF_CASE = "out-of-case"
_HISTORY = timedelta(days=28)
_WEEK = timedelta(days=7)
_HOUR = timedelta(hours=1)
_EVERYBODY = ""


@dataclass(frozen=True, slots=True)
class Occasion:
    """The request on whose occasion something is raised; for a push the release's hash, and nobody."""

    request_id: str
    officer: str
    peer: AgencyId
    policy_hash: str
    now: datetime


class Supervision:
    """Keeps the list of conflicts and the supervisors' queue."""

    def __init__(self, context: DisclosureContext) -> None:
        self._context = context

    # -- conflicts of interest

    async def barred(self, tx: NodeTransaction, officer: PersonId) -> bool:
        """Whether an officer may not ask about anybody."""
        return bool(await tx.conflicts.held(officer, (_EVERYBODY,)))

    async def conflicted(self, tx: NodeTransaction, officer: PersonId, subject: SubjectId) -> bool:
        """Whether an officer may not ask about a subject."""
        mac = self._context.vault.subject_mac(subject)
        return bool(await tx.conflicts.held(officer, (_EVERYBODY, mac)))

    async def require_known(self, order: OfficerOrder, registry: Registry) -> None:
        """Refuses to list a conflict that would protect nobody: its names must be those of somebody.

        Raises:
            RefusedError: INVALID_ARGUMENT for an officer of no agency's, or a subject that is not held here.
        """
        officer, subject, _ = self._conflict_of(order)
        if not any(item.person == officer for item in registry.officers):
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT,
                "the registry lists no officer of this id, at any agency: nobody would be kept from asking",
            )
        if subject and not await self._is_held(SubjectId(subject)):
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT,
                "this agency's source holds no person and no place of this number: nobody would be protected",
            )

    async def _is_held(self, subject: SubjectId) -> bool:
        for kind in SubjectType:
            if await self._context.reader.holding(subject, kind) is not None:
                return True
        return False

    async def declare(self, tx: NodeTransaction, order: OfficerOrder, now: datetime) -> Effect:
        """Puts a conflict on the list; anybody may declare their own, overseers may declare others'."""
        officer, subject, mac = self._conflict_of(order)
        own = str(order.officer) == officer
        if not own and order.role not in OVERSIGHT:
            raise RefusedError(ErrorCode.NOT_ALLOWED, "only an overseer declares another officer's conflict")
        wrapped = self._context.vault.wrap_conflict(officer, mac, subject, str(order.reason))
        await tx.conflicts.put(StoredConflict(officer, mac, now, wrapped))
        return Effect("The conflict of interest is on the list.", SubjectId(subject) if subject else None)

    async def lift(self, tx: NodeTransaction, order: OfficerOrder, _now: datetime) -> Effect:
        """Takes a conflict off the list; nobody lifts their own."""
        officer, subject, mac = self._conflict_of(order)
        if str(order.officer) == officer:
            raise RefusedError(ErrorCode.NOT_ALLOWED, "nobody lifts a conflict of interest of their own")
        if not await tx.conflicts.remove(officer, mac):
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "no such conflict of interest is on the list")
        return Effect("The conflict of interest is off the list.", SubjectId(subject) if subject else None)

    def _conflict_of(self, order: OfficerOrder) -> tuple[str, str, str]:
        try:
            officer = str(PersonId(order.target))
        except ValueError as error:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"not a person id: {error}") from None
        subject = str(order.about or "")
        mac = self._context.vault.subject_mac(SubjectId(subject)) if subject else _EVERYBODY
        return officer, subject, mac

    async def conflicts(self, tx: NodeTransaction) -> AsyncIterator[ConflictSummary]:
        """The list."""
        for item in await tx.conflicts.listed():
            subject, reason = self._context.vault.open_conflict(item.officer, item.subject_mac, item.wrapped)
            yield ConflictSummary(item.officer, subject, reason, item.declared)

    # -- alarms

    async def watch(self, tx: NodeTransaction, stored: StoredRequest, now: datetime) -> None:
        """Looks for what the request's policy calls unusual, after the request was kept.

        Requests under other policies count too: an officer does not become less conspicuous by asking under
        several.
        """
        policy = await held_policy(tx, stored.policy_hash)
        alarms = USUAL_ALARMS if policy is None else policy.safeguards.alarms
        officer, direction, count = stored.officer, stored.direction, tx.requests
        occasion = Occasion(stored.request_id, officer, stored.peer, stored.policy_hash, now)
        if await self._many_requests(tx, stored, alarms, now):
            await self.alarm(tx, MANY_REQUESTS, occasion, officer)
        mac = stored.subject_mac
        if mac and await count.officers_about(direction, mac, now - _WEEK) >= alarms.officers_per_subject:
            await self.alarm(tx, MANY_OFFICERS, occasion, mac)
        case = stored.case_mac
        if case:
            subjects = await count.subjects_of_case(direction, officer, case, now - _HISTORY)
            if subjects >= alarms.subjects_per_case:
                await self.alarm(tx, OUT_OF_CASE, occasion, case)

    async def _many_requests(
        self, tx: NodeTransaction, stored: StoredRequest, alarms: Alarms, now: datetime
    ) -> bool:
        officer, direction, asked = stored.officer, stored.direction, tx.requests.asked_between
        soon = now + timedelta(seconds=1)
        if await asked(direction, officer, soon - _HOUR, soon) > alarms.requests_per_hour:
            return True
        day = now.replace(hour=0, minute=0, second=0)
        today = await asked(direction, officer, day, day + timedelta(days=1))
        usual = await asked(direction, officer, day - _HISTORY, day) / _HISTORY.days
        return today > max(alarms.requests_per_day, alarms.times_usual * usual)

    async def alarm(
        self,
        tx: NodeTransaction,
        kind: str,
        occasion: Occasion,
        about: str,
        evidence: Mapping[str, JsonInput] | None = None,
    ) -> None:
        """Raises an alarm, once a day for the same thing, on record (with evidence) and in the queue."""
        item_id = self._context.vault.item_id(kind, about, occasion.now.date().isoformat())
        if not await self._add(tx, kind, item_id, occasion):
            return
        _log.warning("alarm", kind=kind, peer=str(occasion.peer))
        await self._context.log.append(
            tx,
            AuditAction.MISUSE_SUSPECTED,
            actor=str(self._context.me),
            subject=await self._subject(tx, occasion),
            policy=occasion.policy_hash or None,
            ref=reference(occasion.request_id) if occasion.request_id else None,
            body={
                "alarm": kind,
                "officer": str(occasion.officer),
                "request": str(occasion.request_id),
                **(evidence or {}),
            },
        )

    # -- the sample, and signing off

    async def sample(self, tx: NodeTransaction, occasion: Occasion, percent: int) -> None:
        """Puts an automatic release into the queue if it is drawn."""
        if self._context.vault.sampled(occasion.request_id, percent):
            item_id = self._context.vault.item_id(SAMPLE, occasion.request_id)
            await self._add(tx, SAMPLE, item_id, occasion)

    async def sign_off(self, tx: NodeTransaction, order: OfficerOrder, now: datetime) -> Effect:
        """A supervisor has looked at an item; never the officer whose doing it is."""
        item = await tx.supervision.get(str(order.target))
        if item is None or item.signed_off is not None:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "no such item waits to be signed off")
        if item.officer == str(order.officer):
            raise RefusedError(ErrorCode.NOT_ALLOWED, "nobody signs off a request of their own")
        await tx.supervision.sign_off(item.item_id, now)
        if item.kind == UNJUSTIFIED:
            await tx.emergencies.clear(item.request_id, now)
        outcome = f"Signed off: {item.kind.replace('-', ' ')}."
        return Effect(outcome, await self._subject(tx, item), item.policy_hash or None)

    async def queue(self, tx: NodeTransaction) -> tuple[SupervisionSummary, ...]:
        """What waits to be signed off, oldest first."""
        return tuple(
            SupervisionSummary(
                item.item_id,
                item.kind,
                item.request_id,
                item.officer,
                str(item.peer),
                item.policy_hash,
                item.raised,
            )
            for item in await tx.supervision.waiting()
        )

    async def _subject(self, tx: NodeTransaction, item: Occasion | SupervisionItem) -> SubjectId | None:
        """Whom the request of an item is about; None without one, and once its subject was erased."""
        for direction in Direction:
            stored = await tx.requests.get(direction, item.request_id)
            if stored is None or (stored.officer, stored.peer) != (item.officer, item.peer):
                continue  # under the same id, but made the other way
            if stored.wrapped is not None:
                return self._context.vault.open_request(direction, item.request_id, stored.wrapped).subject
        return None

    async def _add(self, tx: NodeTransaction, kind: str, item_id: str, occasion: Occasion) -> bool:
        return await tx.supervision.add(
            SupervisionItem(
                item_id,
                kind,
                occasion.request_id,
                occasion.officer,
                occasion.peer,
                occasion.policy_hash,
                occasion.now,
            )
        )

"""Disclosure requests, the approvals of them, and uses of break-glass."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.disclosure.model import Direction, EmergencyUse, RequestState, StoredRequest
from agency_node.store.schema_disclosure import APPROVALS, BREAK_GLASS, REQUESTS
from policies.ids import AgencyId, DocumentId, PersonId
from policies.vocabulary import Purpose


class RequestRepository:
    """Requests by direction and id."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, request: StoredRequest) -> None:
        """Keeps a new request."""
        values = {item.name: getattr(request, item.name) for item in fields(request)}
        values |= {"created": _seconds(request.created), "expires": _seconds(request.expires)}
        await self._session.execute(sa.insert(REQUESTS).values({k: _plain(v) for k, v in values.items()}))

    async def get(self, direction: Direction, request_id: str) -> StoredRequest | None:
        """One request."""
        return await self._one(REQUESTS.c.direction == direction.value, REQUESTS.c.request_id == request_id)

    async def named(self, request_id: str) -> tuple[StoredRequest, ...]:
        """Every request with an id, made or received."""
        rows = await self._session.execute(sa.select(REQUESTS).where(REQUESTS.c.request_id == request_id))
        return tuple(_request(row) for row in rows)

    async def by_hash(self, direction: Direction, request_hash: str) -> StoredRequest | None:
        """The request with a document hash."""
        return await self._one(
            REQUESTS.c.direction == direction.value, REQUESTS.c.request_hash == request_hash
        )

    async def by_message(self, message_id: str) -> StoredRequest | None:
        """The request that was sent in a message."""
        return await self._one(REQUESTS.c.message_id == message_id)

    async def listed(self, direction: Direction | None = None) -> tuple[StoredRequest, ...]:
        """All requests of one direction or both, newest first."""
        query = sa.select(REQUESTS).order_by(REQUESTS.c.created.desc(), REQUESTS.c.request_id)
        if direction is not None:
            query = query.where(REQUESTS.c.direction == direction.value)
        return tuple(_request(row) for row in await self._session.execute(query))

    async def in_state(self, direction: Direction, state: RequestState) -> tuple[StoredRequest, ...]:
        """Requests of one direction in a state, oldest first."""
        query = (
            sa.select(REQUESTS)
            .where(REQUESTS.c.direction == direction.value, REQUESTS.c.state == state.value)
            .order_by(REQUESTS.c.created, REQUESTS.c.request_id)
        )
        return tuple(_request(row) for row in await self._session.execute(query))

    async def of_subject(self, subject_mac: str) -> tuple[StoredRequest, ...]:
        """Requests about one subject, oldest first."""
        query = (
            sa.select(REQUESTS)
            .where(REQUESTS.c.subject_mac == subject_mac)
            .order_by(REQUESTS.c.created, REQUESTS.c.request_id)
        )
        return tuple(_request(row) for row in await self._session.execute(query))

    async def count_since(
        self,
        policy_hash: str,
        since: datetime,
        peer: AgencyId,
        *,
        officer: str | None = None,
        purpose: str | None = None,
    ) -> int:
        """Requests of one agency received under a policy since a moment: of an officer, or for a purpose."""
        query = (
            sa.select(sa.func.count())
            .select_from(REQUESTS)
            .where(
                REQUESTS.c.direction == Direction.RECEIVED.value,
                REQUESTS.c.policy_hash == policy_hash,
                REQUESTS.c.peer == str(peer),
                REQUESTS.c.created >= _seconds(since),
            )
        )
        if officer is not None:
            query = query.where(REQUESTS.c.officer == officer)
        if purpose is not None:
            query = query.where(REQUESTS.c.purpose == purpose)
        return int(await self._session.scalar(query) or 0)

    async def asked_between(self, direction: Direction, officer: str, start: datetime, end: datetime) -> int:
        """How many requests of one officer were kept from `start` until before `end`."""
        value = await self._session.scalar(
            sa.select(sa.func.count())
            .select_from(REQUESTS)
            .where(
                REQUESTS.c.direction == direction.value,
                REQUESTS.c.officer == str(officer),
                REQUESTS.c.created >= _seconds(start),
                REQUESTS.c.created < _seconds(end),
            )
        )
        return int(value or 0)

    async def officers_about(self, direction: Direction, subject_mac: str, since: datetime) -> int:
        """How many officers asked about one subject since a moment."""
        value = await self._session.scalar(
            sa.select(sa.func.count(sa.distinct(REQUESTS.c.officer))).where(
                REQUESTS.c.direction == direction.value,
                REQUESTS.c.subject_mac == subject_mac,
                REQUESTS.c.created >= _seconds(since),
            )
        )
        return int(value or 0)

    async def subjects_of_case(
        self, direction: Direction, officer: str, case_mac: str, since: datetime
    ) -> int:
        """About how many subjects one officer asked under one case reference since a moment."""
        value = await self._session.scalar(
            sa.select(sa.func.count(sa.distinct(REQUESTS.c.subject_mac))).where(
                REQUESTS.c.direction == direction.value,
                REQUESTS.c.officer == str(officer),
                REQUESTS.c.case_mac == case_mac,
                REQUESTS.c.created >= _seconds(since),
            )
        )
        return int(value or 0)

    async def forget_subject(self, subject_mac: str) -> int:
        """Destroys what requests say of a subject, and that they were about it; returns how many."""
        found = await self.of_subject(subject_mac)
        hashes = [item.request_hash for item in found]
        await self._session.execute(sa.delete(APPROVALS).where(APPROVALS.c.request_hash.in_(hashes)))
        await self._session.execute(
            sa.update(REQUESTS)
            .where(REQUESTS.c.subject_mac == subject_mac)
            .values(subject_mac=None, case_mac=None, wrapped=None, outcome=None)
        )
        return len(found)

    async def settle(
        self, direction: Direction, request_id: str, state: RequestState, outcome: bytes | None = None
    ) -> None:
        """Moves a request to another state; an `outcome` replaces what was held."""
        values: dict[str, object] = {"state": state.value}
        if outcome is not None:
            values["outcome"] = outcome
        await self._update(direction, request_id, values)

    async def forget_outcome(self, direction: Direction, request_id: str) -> None:
        """Destroys how a request was answered; that it was stays on record."""
        await self._update(direction, request_id, {"outcome": None})

    async def set_approvals(self, direction: Direction, request_id: str, approvals: int, needed: int) -> None:
        """Notes how many approvals count, and how many are needed in all."""
        await self._update(direction, request_id, {"approvals": approvals, "approvals_needed": needed})

    async def set_message(self, request_id: str, message_id: str) -> None:
        """Notes the message in which a request was sent."""
        await self._update(Direction.MADE, request_id, {"message_id": message_id})

    async def _update(self, direction: Direction, request_id: str, values: dict[str, object]) -> None:
        await self._session.execute(
            sa.update(REQUESTS)
            .where(REQUESTS.c.direction == direction.value, REQUESTS.c.request_id == request_id)
            .values(values)
        )

    async def _one(self, *conditions: sa.ColumnElement[bool]) -> StoredRequest | None:
        row = (await self._session.execute(sa.select(REQUESTS).where(*conditions))).one_or_none()
        return None if row is None else _request(row)


class ApprovalRepository:
    """Signed approvals, encrypted, in the order in which they came."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, request_hash: str, wrapped: bytes) -> None:
        """Keeps one more approval of a request."""
        position = await self._session.scalar(
            sa.select(sa.func.count()).select_from(APPROVALS).where(APPROVALS.c.request_hash == request_hash)
        )
        await self._session.execute(
            sa.insert(APPROVALS).values(
                request_hash=request_hash, position=int(position or 0), wrapped=wrapped
            )
        )

    async def of(self, request_hash: str) -> tuple[bytes, ...]:
        """The approvals of a request."""
        return tuple(
            await self._session.scalars(
                sa.select(APPROVALS.c.wrapped)
                .where(APPROVALS.c.request_hash == request_hash)
                .order_by(APPROVALS.c.position)
            )
        )


class EmergencyRepository:
    """Uses of break-glass and their reviews, by the direction and id of their requests."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, use: EmergencyUse) -> None:
        """Keeps a use that must be reviewed."""
        values = {item.name: _plain(getattr(use, item.name)) for item in fields(use)}
        await self._session.execute(sa.insert(BREAK_GLASS).values(values))

    async def get(self, direction: Direction, request_id: str) -> EmergencyUse | None:
        """The use in one request."""
        query = sa.select(BREAK_GLASS).where(*_use_of(direction, request_id))
        row = (await self._session.execute(query)).one_or_none()
        return None if row is None else _use(row)

    async def unreviewed(self) -> tuple[EmergencyUse, ...]:
        """Uses that nobody has reviewed, the most urgent first."""
        rows = await self._session.execute(
            sa.select(BREAK_GLASS)
            .where(BREAK_GLASS.c.reviewed.is_(None))
            .order_by(BREAK_GLASS.c.review_due, BREAK_GLASS.c.request_id, BREAK_GLASS.c.direction)
        )
        return tuple(_use(row) for row in rows)

    async def suspends(self, officer: PersonId, now: datetime) -> bool:
        """Whether a use of an officer is overdue for review, or was found unjustified and not cleared."""
        overdue = BREAK_GLASS.c.reviewed.is_(None) & (BREAK_GLASS.c.review_due < _seconds(now))
        wrong = BREAK_GLASS.c.unjustified.is_not(None) & BREAK_GLASS.c.cleared.is_(None)
        found = await self._session.scalar(
            sa.select(BREAK_GLASS.c.request_id)
            .where(BREAK_GLASS.c.officer == officer, overdue | wrong)
            .limit(1)
        )
        return found is not None

    async def waiting_of(self, officer: PersonId, but: str) -> int:
        """How many uses of an officer nobody has reviewed, other than that in the request `but`."""
        found = await self._session.scalar(
            sa.select(sa.func.count())
            .select_from(BREAK_GLASS)
            .where(
                BREAK_GLASS.c.officer == officer,
                BREAK_GLASS.c.reviewed.is_(None),
                BREAK_GLASS.c.request_id != str(but),
            )
        )
        return int(found or 0)

    async def review(
        self, direction: Direction, request_id: str, now: datetime, *, justified: bool = True
    ) -> None:
        """Notes what the review of a use found."""
        moment = _seconds(now)
        await self._session.execute(
            sa.update(BREAK_GLASS)
            .where(*_use_of(direction, request_id))
            .values(reviewed=moment, unjustified=None if justified else moment)
        )

    async def clear(self, request_id: str, now: datetime) -> None:
        """An overseer has dealt with a use that was not justified."""
        await self._session.execute(
            sa.update(BREAK_GLASS)
            .where(BREAK_GLASS.c.request_id == request_id, BREAK_GLASS.c.unjustified.is_not(None))
            .values(cleared=_seconds(now))
        )


def _use_of(direction: Direction, request_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return BREAK_GLASS.c.direction == direction.value, BREAK_GLASS.c.request_id == request_id


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _plain(value: object) -> object:
    """A value as the drivers take it: of the id types and enumerations only the text."""
    if isinstance(value, datetime):
        return _seconds(value)
    return str(value) if isinstance(value, str) else value


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment_of(seconds: int | None) -> datetime | None:
    return None if seconds is None else _moment(seconds)


def _request(row: sa.Row[Any]) -> StoredRequest:
    return StoredRequest(
        direction=Direction(row.direction),
        request_id=DocumentId(row.request_id),
        request_hash=row.request_hash,
        peer=AgencyId(row.peer),
        state=RequestState(row.state),
        officer=PersonId(row.officer),
        purpose=Purpose(row.purpose),
        tier=row.tier,
        policy_hash=row.policy_hash,
        subject_mac=row.subject_mac,
        link_mac=row.link_mac,
        created=_moment(row.created),
        expires=_moment(row.expires),
        approvals=row.approvals,
        approvals_needed=row.approvals_needed,
        message_id=row.message_id,
        wrapped=row.wrapped,
        outcome=row.outcome,
        case_mac=row.case_mac,
    )


def _use(row: sa.Row[Any]) -> EmergencyUse:
    return EmergencyUse(
        request_id=DocumentId(row.request_id),
        direction=Direction(row.direction),
        officer=PersonId(row.officer),
        peer=AgencyId(row.peer),
        policy_hash=row.policy_hash,
        used=_moment(row.used),
        review_due=_moment(row.review_due),
        reviewed=_moment_of(row.reviewed),
        unjustified=_moment_of(row.unjustified),
        cleared=_moment_of(row.cleared),
    )

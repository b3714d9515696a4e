"""What waits for a supervisor, who may not ask about whom, and what was pushed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.disclosure.model import Push, StoredConflict, SupervisionItem
from agency_node.store.schema_disclosure import CONFLICTS, PUSHES, SUPERVISION
from policies.ids import AgencyId
from protos.wire.databases import chunks


class SupervisionRepository:
    """Items by id; each is raised once."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, item: SupervisionItem) -> bool:
        """Raises an item; False if it was raised before."""
        if await self.get(item.item_id) is not None:
            return False
        await self._session.execute(
            sa.insert(SUPERVISION).values(
                item_id=item.item_id,
                kind=item.kind,
                request_id=str(item.request_id),
                officer=str(item.officer),
                peer=str(item.peer),
                policy_hash=str(item.policy_hash),
                raised=int(item.raised.timestamp()),
            )
        )
        return True

    async def get(self, item_id: str) -> SupervisionItem | None:
        """One item."""
        row = (
            await self._session.execute(sa.select(SUPERVISION).where(SUPERVISION.c.item_id == item_id))
        ).one_or_none()
        return None if row is None else _item(row)

    async def waiting(self) -> tuple[SupervisionItem, ...]:
        """Items that nobody has signed off, oldest first."""
        rows = await self._session.execute(
            sa.select(SUPERVISION)
            .where(SUPERVISION.c.signed_off.is_(None))
            .order_by(SUPERVISION.c.raised, SUPERVISION.c.item_id)
        )
        return tuple(_item(row) for row in rows)

    async def sign_off(self, item_id: str, now: datetime) -> None:
        """Notes that a supervisor has looked at an item."""
        await self._session.execute(
            sa.update(SUPERVISION)
            .where(SUPERVISION.c.item_id == item_id)
            .values(signed_off=int(now.timestamp()))
        )


class ConflictRepository:
    """Conflicts of interest by officer and subject, with every declaration of each."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(self, conflict: StoredConflict) -> None:
        """Keeps a declaration, beside what others declared of the same conflict."""
        last = await self._session.scalar(
            sa.select(sa.func.max(CONFLICTS.c.position)).where(
                CONFLICTS.c.officer == str(conflict.officer), CONFLICTS.c.subject_mac == conflict.subject_mac
            )
        )
        await self._session.execute(
            sa.insert(CONFLICTS).values(
                officer=str(conflict.officer),
                subject_mac=conflict.subject_mac,
                position=0 if last is None else last + 1,
                declared=int(conflict.declared.timestamp()),
                wrapped=conflict.wrapped,
            )
        )

    async def remove(self, officer: str, subject_mac: str) -> bool:
        """Forgets a conflict with all its declarations; whether there was one."""
        held = await self.held(officer, (subject_mac,))
        await self._session.execute(
            sa.delete(CONFLICTS).where(
                CONFLICTS.c.officer == str(officer), CONFLICTS.c.subject_mac == subject_mac
            )
        )
        return bool(held)

    async def forget_subject(self, subject_mac: str) -> None:
        """Forgets every conflict about a subject."""
        await self._session.execute(sa.delete(CONFLICTS).where(CONFLICTS.c.subject_mac == subject_mac))

    async def held(self, officer: str, subject_macs: tuple[str, ...]) -> frozenset[str]:
        """Which of these subjects (an empty hash: everybody) an officer may not ask about."""
        return frozenset(
            await self._session.scalars(
                sa.select(CONFLICTS.c.subject_mac).where(
                    CONFLICTS.c.officer == str(officer), CONFLICTS.c.subject_mac.in_(subject_macs)
                )
            )
        )

    async def listed(self) -> tuple[StoredConflict, ...]:
        """Every declaration, by officer."""
        rows = await self._session.execute(
            sa.select(CONFLICTS).order_by(
                CONFLICTS.c.officer, CONFLICTS.c.declared, CONFLICTS.c.subject_mac, CONFLICTS.c.position
            )
        )
        return tuple(
            StoredConflict(row.officer, row.subject_mac, _moment(row.declared), row.wrapped) for row in rows
        )


class PushRepository:
    """Links over which something may be pushed, by token."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, tokens: Collection[bytes]) -> None:
        """Links were told or have changed: they are looked at next."""
        for chunk in chunks(sorted(tokens)):
            which = PUSHES.c.token.in_(chunk)
            held = set(await self._session.scalars(sa.select(PUSHES.c.token).where(which)))
            if held:
                again = sa.update(PUSHES).where(which).values(checked=None, no_offer_before=None)
                await self._session.execute(again)
            new = [{"token": token, "checked": None, "digest": ""} for token in chunk if token not in held]
            if new:
                await self._session.execute(sa.insert(PUSHES), new)

    async def get(self, token: bytes) -> Push | None:
        """What is known of one link."""
        row = (await self._session.execute(sa.select(PUSHES).where(PUSHES.c.token == token))).one_or_none()
        return None if row is None else _push(row)

    async def due(self, before: datetime, limit: int) -> tuple[Push, ...]:
        """Links not looked at since `before`, new ones first."""
        rows = await self._session.execute(
            sa.select(PUSHES)
            .where(PUSHES.c.checked.is_(None) | (PUSHES.c.checked <= int(before.timestamp())))
            .order_by(PUSHES.c.checked.is_not(None), PUSHES.c.checked, PUSHES.c.token)
            .limit(limit)
        )
        return tuple(_push(row) for row in rows)

    async def look_again(self) -> None:
        """Links over which nothing has been pushed are looked at next."""
        await self._session.execute(sa.update(PUSHES).where(PUSHES.c.digest == "").values(checked=None))

    async def looked_at(self, token: bytes, now: datetime, digest: str) -> None:
        """Notes when a link was looked at, and what has been pushed over it."""
        await self._change(token, checked=int(now.timestamp()), digest=digest)

    async def of_offer(self, offer_hash: str) -> Push | None:
        """The link over which this was the last offer, while that waits for evidence."""
        query = sa.select(PUSHES).where(PUSHES.c.offer_hash == offer_hash)
        row = (await self._session.execute(query)).one_or_none()
        return None if row is None else _push(row)

    async def offered(self, token: bytes, offer_hash: str, until: datetime) -> None:
        """An offer was made, which takes the place of an earlier one; no other is made before `until`."""
        await self._change(token, offer_hash=offer_hash, no_offer_before=int(until.timestamp()))

    async def answered(self, token: bytes, digest: str, no_offer_before: datetime | None = None) -> None:
        """Evidence has come: what has been pushed now, and when the next offer may be made."""
        moment = None if no_offer_before is None else int(no_offer_before.timestamp())
        await self._change(token, digest=digest, offer_hash=None, no_offer_before=moment)

    async def forget(self, token: bytes) -> None:
        """What was pushed over a link last did not arrive: it is looked at next, as if nothing had been."""
        await self._change(token, checked=None, digest="")

    async def _change(self, token: bytes, **values: str | int | None) -> None:
        await self._session.execute(sa.update(PUSHES).where(PUSHES.c.token == token).values(**values))

    async def remove(self, tokens: Collection[bytes]) -> None:
        """The links are gone."""
        for chunk in chunks(sorted(tokens)):
            await self._session.execute(sa.delete(PUSHES).where(PUSHES.c.token.in_(chunk)))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _item(row: sa.Row[Any]) -> SupervisionItem:
    return SupervisionItem(
        row.item_id,
        row.kind,
        row.request_id,
        row.officer,
        AgencyId(row.peer),
        row.policy_hash,
        _moment(row.raised),
        None if row.signed_off is None else _moment(row.signed_off),
    )


def _push(row: sa.Row[Any]) -> Push:
    return Push(
        row.token,
        None if row.checked is None else _moment(row.checked),
        row.digest,
        row.offer_hash,
        None if row.no_offer_before is None else _moment(row.no_offer_before),
    )

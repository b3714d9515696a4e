"""What was released to or by this agency, and when it must be gone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.disclosure.model import ReleaseSide, ReleaseState, StoredRelease
from agency_node.store.schema_disclosure import RECALLS, RECEIVED_RECORDS, RELEASES
from policies.disclosure import ErasureReason
from policies.ids import AgencyId, DocumentId

_AT_ONCE = 500


class ReleaseRepository:
    """Releases by side and document hash."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, release: StoredRelease) -> None:
        """Keeps a release."""
        await self._session.execute(
            sa.insert(RELEASES).values(
                direction=release.side.value,
                release_hash=str(release.release_hash),
                request_id=None if release.request_id is None else str(release.request_id),
                peer=str(release.peer),
                state=release.state.value,
                policy_hash=str(release.policy_hash),
                subject_mac=release.subject_mac,
                link_mac=release.link_mac,
                released=int(release.released.timestamp()),
                purge_after=int(release.purge_after.timestamp()),
                wrapped=release.wrapped,
            )
        )

    async def get(self, side: ReleaseSide, release_hash: str) -> StoredRelease | None:
        """One release."""
        row = (
            await self._session.execute(_select(side).where(RELEASES.c.release_hash == release_hash))
        ).one_or_none()
        return None if row is None else _release(row)

    async def of_request(self, side: ReleaseSide, request_id: str) -> StoredRelease | None:
        """The release that answers a request: the last one, where it was corrected."""
        found = await self.all_of_request(side, request_id)
        kept = [item for item in found if not item.state.closed]
        last = kept or list(found)
        return last[-1] if last else None

    async def all_of_request(self, side: ReleaseSide, request_id: str) -> tuple[StoredRelease, ...]:
        """Every release in answer to one request, oldest first: more than one where it was corrected."""
        return await self._all(_select(side).where(RELEASES.c.request_id == request_id))

    async def forget_subject(self, subject_mac: str) -> None:
        """Destroys what is kept of releases about a subject; that they were made stays on record."""
        await self._session.execute(
            sa.update(RELEASES)
            .where(RELEASES.c.subject_mac == subject_mac)
            .values(subject_mac="", wrapped=None)
        )

    async def of_subject(self, side: ReleaseSide, subject_mac: str) -> tuple[StoredRelease, ...]:
        """Releases about one subject, oldest first."""
        return await self._all(_select(side).where(RELEASES.c.subject_mac == subject_mac))

    async def of_link(self, side: ReleaseSide, link_mac: str) -> tuple[StoredRelease, ...]:
        """Releases under one link token, oldest first."""
        return await self._all(_select(side).where(RELEASES.c.link_mac == link_mac))

    async def set_state(self, side: ReleaseSide, release_hash: str, state: ReleaseState) -> None:
        """Notes what has become of a release."""
        await self._session.execute(
            sa.update(RELEASES)
            .where(RELEASES.c.direction == side.value, RELEASES.c.release_hash == release_hash)
            .values(state=state.value)
        )

    async def note_received(self, record_macs: Sequence[str]) -> None:
        """Remembers records that came from another agency."""
        known = await self.received(record_macs)
        fresh = [{"record_mac": item} for item in dict.fromkeys(record_macs) if item not in known]
        if fresh:
            await self._session.execute(sa.insert(RECEIVED_RECORDS), fresh)

    async def received(self, record_macs: Sequence[str]) -> frozenset[str]:
        """Those of the records that came from another agency."""
        found: set[str] = set()
        for start in range(0, len(record_macs), _AT_ONCE):
            some = record_macs[start : start + _AT_ONCE]
            query = sa.select(RECEIVED_RECORDS.c.record_mac).where(RECEIVED_RECORDS.c.record_mac.in_(some))
            found |= set(await self._session.scalars(query))
        return frozenset(found)

    async def note_recalls(
        self, peer: AgencyId, release_hashes: Sequence[str], reason: ErasureReason, now: datetime
    ) -> None:
        """Remembers what its provider has taken back, whether or not it has come yet."""
        for release_hash in dict.fromkeys(release_hashes):
            if await self.recalled(peer, release_hash) is None:
                await self._session.execute(
                    sa.insert(RECALLS).values(
                        peer=str(peer),
                        release_hash=str(release_hash),
                        reason=reason.value,
                        recalled=int(now.timestamp()),
                    )
                )

    async def recalled(self, peer: AgencyId, release_hash: str) -> ErasureReason | None:
        """Why a provider has taken a release back, if it has."""
        found = await self._session.scalar(
            sa.select(RECALLS.c.reason).where(
                RECALLS.c.peer == str(peer), RECALLS.c.release_hash == str(release_hash)
            )
        )
        return None if found is None else ErasureReason(found)

    async def forget_recalls_before(self, moment: datetime) -> None:
        """Forgets recalls of releases that the relay cannot deliver any more."""
        await self._session.execute(sa.delete(RECALLS).where(RECALLS.c.recalled < int(moment.timestamp())))

    async def _all(self, query: sa.Select[Any]) -> tuple[StoredRelease, ...]:
        rows = await self._session.execute(query.order_by(RELEASES.c.released, RELEASES.c.release_hash))
        return tuple(_release(row) for row in rows)


class RetentionRepository:
    """The clock of what was received: what is due, and its destruction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def due(self, now: datetime, limit: int = 200) -> tuple[StoredRelease, ...]:
        """Releases received whose time is up, the longest overdue first."""
        rows = await self._session.execute(
            _select(ReleaseSide.RECEIVED)
            .where(
                RELEASES.c.state == ReleaseState.OPEN.value, RELEASES.c.purge_after <= int(now.timestamp())
            )
            .order_by(RELEASES.c.purge_after)
            .limit(limit)
        )
        return tuple(_release(row) for row in rows)

    async def purge(self, release_hash: str) -> None:
        """Destroys the content of a received release; that it was there stays on record."""
        await self._session.execute(
            sa.update(RELEASES)
            .where(
                RELEASES.c.direction == ReleaseSide.RECEIVED.value, RELEASES.c.release_hash == release_hash
            )
            .values(state=ReleaseState.ERASED.value, wrapped=None)
        )


def _select(side: ReleaseSide) -> sa.Select[Any]:
    return sa.select(RELEASES).where(RELEASES.c.direction == side.value)


def _release(row: sa.Row[Any]) -> StoredRelease:
    return StoredRelease(
        side=ReleaseSide(row.direction),
        release_hash=row.release_hash,
        request_id=None if row.request_id is None else DocumentId(row.request_id),
        peer=AgencyId(row.peer),
        state=ReleaseState(row.state),
        policy_hash=row.policy_hash,
        subject_mac=row.subject_mac,
        link_mac=row.link_mac,
        released=datetime.fromtimestamp(row.released, UTC),
        purge_after=datetime.fromtimestamp(row.purge_after, UTC),
        wrapped=row.wrapped,
    )

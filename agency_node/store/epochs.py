"""Key agreements by linkage and epoch, their secrets wrapped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.model import EpochKey, KeyState
from agency_node.store.schema import EPOCH_MARKS, EPOCHS
from policies.ids import LinkageId


class EpochRepository:
    """One key agreement for each linkage and epoch."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, linkage_id: LinkageId, epoch: int) -> EpochKey | None:
        """One epoch's key agreement."""
        row = (await self._session.execute(_select(linkage_id).where(EPOCHS.c.epoch == epoch))).one_or_none()
        return None if row is None else _entry(row)

    async def newest(self, linkage_id: LinkageId) -> EpochKey | None:
        """The newest epoch of a linkage that this node knows."""
        query = _select(linkage_id).order_by(EPOCHS.c.epoch.desc()).limit(1)
        row = (await self._session.execute(query)).one_or_none()
        return None if row is None else _entry(row)

    async def highest(self, linkage_id: LinkageId) -> int:
        """The highest epoch that was ever begun here, even if its key is gone; 0 before the first."""
        mark = sa.select(EPOCH_MARKS.c.epoch).where(EPOCH_MARKS.c.linkage_id == linkage_id)
        return int(await self._session.scalar(mark) or 0)

    async def put(self, entry: EpochKey) -> None:
        """Keeps the key agreement's newest state, and that its epoch has begun."""
        await self._mark(entry.linkage_id, entry.epoch)
        await self._session.execute(
            sa.delete(EPOCHS).where(EPOCHS.c.linkage_id == entry.linkage_id, EPOCHS.c.epoch == entry.epoch)
        )
        await self._session.execute(
            sa.insert(EPOCHS).values(
                linkage_id=str(entry.linkage_id),
                epoch=entry.epoch,
                state=entry.state.value,
                agreement_hash=entry.agreement_hash,
                wrapped=entry.wrapped,
                updated=int(entry.updated.timestamp()),
            )
        )

    async def _mark(self, linkage_id: LinkageId, epoch: int) -> None:
        if epoch > await self.highest(linkage_id):
            await self._session.execute(sa.delete(EPOCH_MARKS).where(EPOCH_MARKS.c.linkage_id == linkage_id))
            await self._session.execute(
                sa.insert(EPOCH_MARKS).values(linkage_id=str(linkage_id), epoch=epoch)
            )

    async def forget_before(self, linkage_id: LinkageId, epoch: int) -> None:
        """Deletes the keys of epochs before `epoch`: their encodings exist no more."""
        await self._session.execute(
            sa.delete(EPOCHS).where(EPOCHS.c.linkage_id == linkage_id, EPOCHS.c.epoch < epoch)
        )


def _select(linkage_id: LinkageId) -> sa.Select[Any]:
    return sa.select(EPOCHS).where(EPOCHS.c.linkage_id == linkage_id)


def _entry(row: sa.Row[Any]) -> EpochKey:
    return EpochKey(
        LinkageId(row.linkage_id),
        row.epoch,
        KeyState(row.state),
        row.agreement_hash,
        row.wrapped,
        datetime.fromtimestamp(row.updated, UTC),
    )

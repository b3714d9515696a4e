"""How the logs of other agencies have fared with this node as their witness."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.model import PeerLog
from agency_node.store.schema_disclosure import PEER_LOGS
from policies.ids import AgencyId


class PeerLogRepository:
    """One entry for each agency whose log was looked for."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, peer: AgencyId) -> PeerLog | None:
        """One agency's."""
        query = sa.select(PEER_LOGS).where(PEER_LOGS.c.peer == peer)
        row = (await self._session.execute(query)).one_or_none()
        if row is None:
            return None
        return PeerLog(AgencyId(row.peer), datetime.fromtimestamp(row.valid, UTC), row.refused)

    async def put(self, log: PeerLog) -> None:
        """Keeps an agency's newest state."""
        await self._session.execute(sa.delete(PEER_LOGS).where(PEER_LOGS.c.peer == log.peer))
        await self._session.execute(
            sa.insert(PEER_LOGS).values(
                peer=str(log.peer), valid=int(log.valid.timestamp()), refused=log.refused
            )
        )

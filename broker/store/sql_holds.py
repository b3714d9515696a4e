"""Holds and match rates in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Row, select

from broker.store.model import Hold, HoldKind, MatchRate
from broker.store.sql_support import SqlRole, moment, seconds
from broker.store.tables import holds, rates


class SqlHolds(SqlRole):
    """`HoldStore`."""

    async def get(self, hold_id: str) -> Hold | None:
        """See `HoldStore.get`."""
        row = (await self._c.execute(select(holds).where(holds.c.hold_id == hold_id))).one_or_none()
        return None if row is None else _hold(row)

    async def put(self, hold: Hold) -> None:
        """See `HoldStore.put`."""
        await self._upsert(
            holds,
            [
                {
                    "hold_id": hold.hold_id,
                    "kind": hold.kind.value,
                    "linkage": hold.linkage,
                    "agency": hold.agency,
                    "subject": hold.subject,
                    "created": seconds(hold.created),
                    "reason": hold.reason,
                    "figures": json.dumps(dict(hold.figures), sort_keys=True),
                    "released": None if hold.released is None else seconds(hold.released),
                }
            ],
        )

    async def listed(self, linkage: str | None = None) -> tuple[Hold, ...]:
        """See `HoldStore.listed`."""
        query = select(holds).order_by(holds.c.created, holds.c.hold_id)
        if linkage is not None:
            query = query.where(holds.c.linkage == linkage)
        return tuple(_hold(row) for row in await self._c.execute(query))

    async def rates(self, linkage: str) -> tuple[MatchRate, ...]:
        """See `HoldStore.rates`."""
        query = select(rates).where(rates.c.linkage == linkage).order_by(rates.c.first, rates.c.second)
        return tuple(MatchRate(*row) for row in await self._c.execute(query))

    async def put_rates(self, items: Iterable[MatchRate]) -> None:
        """See `HoldStore.put_rates`."""
        await self._upsert(
            rates,
            [
                {
                    "linkage": item.linkage,
                    "first": item.first,
                    "second": item.second,
                    "links": item.links,
                    "first_subjects": item.first_subjects,
                    "second_subjects": item.second_subjects,
                }
                for item in items
            ],
        )


def _hold(row: Row[tuple[object, ...]]) -> Hold:
    return Hold(
        hold_id=row.hold_id,
        kind=HoldKind(row.kind),
        linkage=row.linkage,
        agency=row.agency,
        subject=row.subject,
        created=moment(row.created),
        reason=row.reason,
        figures=json.loads(row.figures),
        released=None if row.released is None else moment(row.released),
    )

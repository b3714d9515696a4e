"""Matched pairs, link tokens and the recipients' event logs in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime

from sqlalchemy import Column, Row, Select, bindparam, delete, insert, select

from broker.store.model import MatchedPair, NewEvent, Subject, TokenRecord
from broker.store.sql_support import SqlRole, moment, seconds
from broker.store.tables import cursors, events, pairs, tokens
from protos.wire.databases import chunks
from protos.wire.linkage import Link, LinkEvent, LinkEventKind, Strength

Columns = tuple[object, ...]
_End = tuple[Column[str], Column[bytes]]
_REMOVAL = delete(pairs).where(
    pairs.c.linkage == bindparam("of_linkage"),
    pairs.c.first_agency == bindparam("one_agency"),
    pairs.c.first_handle == bindparam("one_handle"),
    pairs.c.second_agency == bindparam("other_agency"),
    pairs.c.second_handle == bindparam("other_handle"),
)


class SqlLinks(SqlRole):
    """`LinkStore`."""

    async def pairs(self, linkage: str) -> tuple[MatchedPair, ...]:
        """See `LinkStore.pairs`."""
        return _ordered(await self._c.execute(select(pairs).where(pairs.c.linkage == linkage)))

    async def pairs_of(self, linkage: str, subjects: Collection[Subject]) -> tuple[MatchedPair, ...]:
        """See `LinkStore.pairs_of`."""
        ends = ((pairs.c.first_agency, pairs.c.first_handle), (pairs.c.second_agency, pairs.c.second_handle))
        return _ordered(
            await self._ending_in(select(pairs).where(pairs.c.linkage == linkage), ends, subjects)
        )

    async def has_pairs(self, linkage: str, agency: str) -> bool:
        """See `LinkStore.has_pairs`."""
        for side in (pairs.c.first_agency, pairs.c.second_agency):
            any_pair = select(side).where(pairs.c.linkage == linkage, side == agency).limit(1)
            if await self._c.scalar(any_pair) is not None:
                return True
        return False

    async def linkages(self) -> tuple[str, ...]:
        """See `LinkStore.linkages`."""
        names = set(await self._c.scalars(select(pairs.c.linkage).distinct()))
        return tuple(sorted(names | set(await self._c.scalars(select(tokens.c.linkage).distinct()))))

    async def remove_pairs(self, linkage: str, removed: Iterable[MatchedPair]) -> None:
        """See `LinkStore.remove_pairs`."""
        these = [
            {
                "of_linkage": linkage,
                "one_agency": pair.first.agency,
                "one_handle": pair.first.handle,
                "other_agency": pair.second.agency,
                "other_handle": pair.second.handle,
            }
            for pair in removed
        ]
        if these:
            await self._c.execute(_REMOVAL, these)

    async def put_pairs(self, linkage: str, added: Iterable[MatchedPair]) -> None:
        """See `LinkStore.put_pairs`."""
        records = [
            {
                "linkage": linkage,
                "first_agency": pair.first.agency,
                "first_handle": pair.first.handle,
                "second_agency": pair.second.agency,
                "second_handle": pair.second.handle,
                "strength": pair.strength.value,
            }
            for pair in added
        ]
        await self._upsert(pairs, records)

    async def tokens(self, linkage: str) -> tuple[TokenRecord, ...]:
        """See `LinkStore.tokens`."""
        rows = await self._c.execute(
            select(tokens)
            .where(tokens.c.linkage == linkage, tokens.c.passing.is_(False))
            .order_by(tokens.c.token)
        )
        return tuple(_token(row) for row in rows)

    async def tokens_of(self, linkage: str, subjects: Collection[Subject]) -> tuple[TokenRecord, ...]:
        """See `LinkStore.tokens_of`."""
        standing = select(tokens).where(tokens.c.linkage == linkage, tokens.c.passing.is_(False))
        ends = ((tokens.c.recipient, tokens.c.handle), (tokens.c.counterpart, tokens.c.counterpart_handle))
        found = await self._ending_in(standing, ends, subjects)
        return tuple(sorted((_token(row) for row in found), key=lambda item: item.token))

    async def token(self, token: bytes) -> TokenRecord | None:
        """See `LinkStore.token`."""
        row = (await self._c.execute(select(tokens).where(tokens.c.token == token))).one_or_none()
        return None if row is None else _token(row)

    async def put_tokens(self, added: Iterable[TokenRecord]) -> None:
        """See `LinkStore.put_tokens`."""
        records = [
            {
                "token": token.token,
                "linkage": token.linkage,
                "policy_hash": token.policy_hash,
                "recipient": token.recipient.agency,
                "handle": token.recipient.handle,
                "counterpart": token.counterpart.agency,
                "counterpart_handle": token.counterpart.handle,
                "epoch": token.epoch,
                "strength": token.strength.value,
                "expires": seconds(token.expires),
                "told_until": seconds(token.told_until),
                "named": token.named,
                "passing": token.passing,
            }
            for token in added
        ]
        await self._upsert(tokens, records)

    async def delete_tokens(self, gone: Iterable[bytes]) -> None:
        """See `LinkStore.delete_tokens`."""
        for part in chunks(gone):
            await self._c.execute(delete(tokens).where(tokens.c.token.in_(part)))

    async def tell(self, linkage: str, told: Sequence[NewEvent]) -> None:
        """See `LinkStore.tell`."""
        recalled = [event.link.token for event in told if event.kind is LinkEventKind.RECALLED]
        for part in chunks(recalled):
            await self._c.execute(delete(events).where(events.c.token.in_(part)))
        rows = await self._c.execute(
            select(cursors.c.recipient, cursors.c.cursor).where(cursors.c.linkage == linkage)
        )
        last = {row.recipient: row.cursor for row in rows}
        records = []
        for event in told:
            last[event.recipient] = last.get(event.recipient, 0) + 1
            records.append(
                {
                    "linkage": linkage,
                    "recipient": event.recipient,
                    "cursor": last[event.recipient],
                    "kind": event.kind.value,
                    "token": event.link.token,
                    "handle": event.link.handle,
                    "epoch": event.link.epoch,
                    "strength": event.link.strength.value,
                    "counterpart": event.link.counterpart,
                    "policy_hash": event.link.policy_hash,
                    "expires": seconds(event.link.expires),
                }
            )
        if records:
            await self._c.execute(insert(events), records)
        await self._upsert(
            cursors,
            [
                {"linkage": linkage, "recipient": recipient, "cursor": last[recipient]}
                for recipient in sorted({event.recipient for event in told})
            ],
        )

    async def events(self, linkage: str, recipient: str, after: int, limit: int) -> tuple[LinkEvent, ...]:
        """See `LinkStore.events`."""
        rows = await self._c.execute(
            select(events)
            .where(events.c.linkage == linkage, events.c.recipient == recipient, events.c.cursor > after)
            .order_by(events.c.cursor)
            .limit(limit)
        )
        return tuple(
            LinkEvent(
                row.cursor,
                LinkEventKind(row.kind),
                Link(
                    token=row.token,
                    handle=row.handle,
                    linkage_id=row.linkage,
                    epoch=row.epoch,
                    strength=Strength(row.strength),
                    counterpart=row.counterpart,
                    policy_hash=row.policy_hash,
                    expires=moment(row.expires),
                ),
            )
            for row in rows
        )

    async def purge(self, now: datetime) -> None:
        """See `LinkStore.purge`."""
        await self._c.execute(
            delete(tokens).where(tokens.c.passing.is_(True), tokens.c.expires <= seconds(now))
        )
        await self._c.execute(delete(events).where(events.c.expires <= seconds(now)))

    async def _ending_in(
        self, query: Select[Columns], ends: Sequence[_End], subjects: Iterable[Subject]
    ) -> set[Row[Columns]]:
        """The rows of a query with one of two ends, each an agency and a handle, among the subjects."""
        found: set[Row[Columns]] = set()
        for agency, part in _by_agency(subjects):
            for name, handle in ends:
                found.update(await self._c.execute(query.where(name == agency, handle.in_(part))))
        return found


def _by_agency(subjects: Iterable[Subject]) -> Iterator[tuple[str, list[bytes]]]:
    """Agencies with handles of theirs, few enough for one statement."""
    handles: dict[str, list[bytes]] = {}
    for subject in subjects:
        handles.setdefault(subject.agency, []).append(subject.handle)
    for agency, known in handles.items():
        for part in chunks(known):
            yield agency, part


def _ordered(rows: Iterable[Row[Columns]]) -> tuple[MatchedPair, ...]:
    found = [
        MatchedPair(
            Subject(row.first_agency, row.first_handle),
            Subject(row.second_agency, row.second_handle),
            Strength(row.strength),
        )
        for row in rows
    ]
    # Databases differ in the order of text; Python's is the same everywhere.
    return tuple(sorted(found, key=lambda item: (item.first, item.second)))


def _token(row: Row[Columns]) -> TokenRecord:
    return TokenRecord(
        token=row.token,
        linkage=row.linkage,
        policy_hash=row.policy_hash,
        recipient=Subject(row.recipient, row.handle),
        counterpart=Subject(row.counterpart, row.counterpart_handle),
        epoch=row.epoch,
        strength=Strength(row.strength),
        expires=moment(row.expires),
        told_until=moment(row.told_until),
        named=row.named,
        passing=row.passing,
    )

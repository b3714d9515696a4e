"""Links: what matching found, and which part of it which agency is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from datetime import datetime, timedelta

from broker.audit import AuditLog, Clock
from broker.bell import Bell
from broker.catalogue import Catalogue
from broker.linkages import Linkage
from broker.store.model import MatchedPair, NewEvent, Subject, TokenRecord
from broker.store.ports import BrokerStore, Transaction
from broker.telling import Permissions, Reconciliation, Told, reconcile
from crypto.audit import AuditAction
from crypto.canonical import JsonInput
from crypto.tokens import LinkToken
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Link, LinkEvent, LinkEventKind, Strength

LOOK_UP_LIFETIME = timedelta(hours=1)
_EVENTS_AT_ONCE = 500


class LinkService:
    """Keeps matched pairs, tells and recalls links, and lets each recipient follow its own."""

    def __init__(
        self,
        store: BrokerStore,
        catalogue: Catalogue,
        audit: AuditLog,
        bell: Bell,
        clock: Clock,
        rng_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._audit = audit
        self._bell = bell
        self._clock = clock
        self._rng_bytes = rng_bytes
        self._reconciled: dict[str, tuple[str, ...]] = {}

    async def publish(
        self, tx: Transaction, linkage: Linkage, epoch: int, pairs: Collection[MatchedPair]
    ) -> frozenset[str]:
        """Puts a run's pairs in place of the old ones; returns the recipients that have news."""
        old = set(await tx.links.pairs(linkage.id))
        new = set(pairs)
        kept_places = {(item.first, item.second) for item in new}
        await tx.links.remove_pairs(
            linkage.id, [item for item in old - new if (item.first, item.second) not in kept_places]
        )
        await tx.links.put_pairs(linkage.id, sorted(new - old, key=lambda item: (item.first, item.second)))
        return await self._reconcile(tx, linkage.id, epoch, new)

    async def withdraw(
        self, tx: Transaction, linkage: Linkage, agency: str, handles: frozenset[bytes]
    ) -> None:
        """Ends the links of withdrawn subjects at once."""
        gone = {Subject(agency, handle) for handle in handles}
        pairs = await tx.links.pairs(linkage.id)
        await tx.links.remove_pairs(
            linkage.id, [item for item in pairs if item.first in gone or item.second in gone]
        )
        tokens = await tx.links.tokens(linkage.id)
        recalled = tuple(item for item in tokens if item.recipient in gone or item.counterpart in gone)
        events = tuple(
            NewEvent(item.recipient.agency, LinkEventKind.RECALLED, item.link()) for item in recalled
        )
        await self._tell(tx, linkage.id, Reconciliation((), recalled, events))

    async def refresh(self) -> tuple[str, ...]:
        """Brings what is told into line with the documents that count now.

        Linkages whose agreement is no longer in force lose their links and their encodings; returns them.
        So do agencies that a newer agreement leaves out.
        """
        async with self._store.read() as tx:
            held = sorted({*await tx.links.linkages(), *await tx.encodings.linkages()})
        in_force = {linkage.id: linkage for linkage in self._catalogue.linkages()}
        for linkage_id in held:
            linkage = in_force.get(linkage_id)
            policies = self._catalogue.active_policies(linkage_id) if linkage else ()
            counting = tuple(item.hash for item in policies) + ((linkage.hash,) if linkage else ())
            if self._reconciled.get(linkage_id) == counting:
                continue
            async with self._store.write() as tx:
                current = await tx.epochs.current(linkage_id)
                epoch = current.epoch if current else 0
                pairs = await tx.links.pairs(linkage_id)
                if linkage is None:
                    await tx.links.remove_pairs(linkage_id, pairs)
                    await tx.encodings.drop_before(linkage_id, epoch + 1)
                    pairs = ()
                else:
                    pairs = await self._without_departed(tx, linkage, pairs)
                news = await self._reconcile(tx, linkage_id, None, pairs)
            self._reconciled[linkage_id] = counting
            self.ring(linkage_id, news)
        return tuple(linkage_id for linkage_id in held if linkage_id not in in_force)

    async def _without_departed(
        self, tx: Transaction, linkage: Linkage, pairs: tuple[MatchedPair, ...]
    ) -> tuple[MatchedPair, ...]:
        """Who takes part no longer loses its encodings and links at once, not with the next run."""
        for agency in await tx.encodings.agencies(linkage.id):
            if agency not in linkage.agencies:
                await tx.encodings.drop_agency(linkage.id, agency)
        taking_part = set(linkage.agencies)
        kept = tuple(pair for pair in pairs if {pair.first.agency, pair.second.agency} <= taking_part)
        await tx.links.remove_pairs(linkage.id, set(pairs) - set(kept))
        return kept

    async def watch(
        self, agency: str, linkage_id: str, after: int, *, follow: bool
    ) -> AsyncIterator[LinkEvent]:
        """The agency's own events after a cursor; with `follow`, as they happen."""
        await self._require_known(agency, linkage_id)
        cursor = after
        while True:
            rung = self._bell.listen((linkage_id, agency)) if follow else None
            async with self._store.read() as tx:
                events = await tx.links.events(linkage_id, agency, cursor, _EVENTS_AT_ONCE)
            for event in events:
                cursor = event.cursor
                yield event
            if len(events) < _EVENTS_AT_ONCE:
                if rung is None:
                    return
                await rung.wait()

    def ring(self, linkage_id: str, recipients: Iterable[str]) -> None:
        """Wakes the recipients that follow a linkage. Called after the transaction."""
        for recipient in recipients:
            self._bell.ring((linkage_id, recipient))

    async def passing_links(
        self, linkage: Linkage, epoch: int, asker: Subject, hits: Iterable[tuple[Subject, Strength]]
    ) -> tuple[Link, ...]:
        """The links of a single look-up that the asker may know of.

        A pair that is told already keeps its token; others get one for an hour.
        """
        permissions = Permissions(self._catalogue.active_policies(linkage.id))
        until = self._clock() + LOOK_UP_LIFETIME
        async with self._store.write() as tx:
            standing = {
                (item.policy_hash, item.recipient, item.counterpart): item
                for item in await tx.links.tokens(linkage.id)
                if item.recipient == asker
            }
            links: list[Link] = []
            fresh: list[TokenRecord] = []
            for counterpart, strength in hits:
                for existence in permissions.of(asker.agency, counterpart.agency, strength):
                    told = Told(asker, counterpart, strength, existence)
                    record = standing.get(told.key)
                    if record is None:
                        record = self._passing(linkage, epoch, told, until)
                        fresh.append(record)
                    links.append(record.link())
            await tx.links.put_tokens(fresh)
            if fresh:
                body: dict[str, JsonInput] = {"linkage": linkage.id, "count": len(fresh), "passing": True}
                await self._audit.append(tx, AuditAction.LINKS_TOLD, body, actor=asker.agency)
        return tuple(sorted(links, key=lambda link: link.token))

    async def resolve(self, tx: Transaction, sender: str, token: bytes) -> TokenRecord:
        """The link that a token told to `sender` stands for.

        Raises:
            RefusedError: TOKEN_UNKNOWN, also for another's, recalled or expired tokens; NOT_ALLOWED where the
                policy withholds with whom the link is.
        """
        record = await tx.links.token(token)
        if record is None or record.recipient.agency != sender or record.expires <= self._clock():
            raise RefusedError(
                ErrorCode.TOKEN_UNKNOWN, f"{sender} was told no such link, or it was recalled or has expired"
            )
        if record.policy_hash not in {item.hash for item in self._catalogue.active_policies(record.linkage)}:
            raise RefusedError(ErrorCode.TOKEN_UNKNOWN, "the policy of this link is not active any more")
        if not record.named:
            raise RefusedError(
                ErrorCode.NOT_ALLOWED,
                "the policy withholds with whom this link is, so that no message can be addressed through it",
            )
        return record

    def _passing(self, linkage: Linkage, epoch: int, told: Told, until: datetime) -> TokenRecord:
        return TokenRecord(
            token=LinkToken.new(self._rng_bytes).raw,
            linkage=linkage.id,
            policy_hash=told.existence.policy_hash,
            recipient=told.recipient,
            counterpart=told.counterpart,
            epoch=epoch,
            strength=told.strength,
            expires=min(until, told.existence.expires).replace(microsecond=0),
            named=told.existence.named,
            passing=True,
        )

    async def _reconcile(
        self, tx: Transaction, linkage_id: str, epoch: int | None, pairs: Iterable[MatchedPair]
    ) -> frozenset[str]:
        """`epoch` is that of a run that has just ended; None keeps the epoch that tokens were told in."""
        permissions = Permissions(self._catalogue.active_policies(linkage_id))
        tokens = await tx.links.tokens(linkage_id)
        number = epoch if epoch is not None else max((item.epoch for item in tokens), default=0)
        if not number:
            current = await tx.epochs.current(linkage_id)
            number = current.epoch if current else 0
        change = reconcile(linkage_id, number, permissions.tellable(pairs), tokens, self._rng_bytes)
        await self._tell(tx, linkage_id, change)
        return frozenset(event.recipient for event in change.events)

    async def _tell(self, tx: Transaction, linkage_id: str, change: Reconciliation) -> None:
        await tx.links.delete_tokens([item.token for item in change.gone])
        await tx.links.put_tokens(change.put)
        await tx.links.tell(linkage_id, change.events)
        told: dict[str, int] = {}
        for item in change.put:
            told[item.recipient.agency] = told.get(item.recipient.agency, 0) + 1
        if told:
            body: dict[str, JsonInput] = {"linkage": linkage_id, "told": dict(sorted(told.items()))}
            await self._audit.append(tx, AuditAction.LINKS_TOLD, body)
        if change.gone:
            recalled: dict[str, JsonInput] = {"linkage": linkage_id, "count": len(change.gone)}
            await self._audit.append(tx, AuditAction.LINKS_RECALLED, recalled)

    async def _require_known(self, agency: str, linkage_id: str) -> None:
        """A participant, or somebody who was one and still has recalls to read."""
        try:
            self._catalogue.linkage_for(linkage_id, agency)
        except RefusedError:
            async with self._store.read() as tx:
                if not await tx.links.events(linkage_id, agency, 0, 1):
                    raise


def pair_of(one: Subject, other: Subject, strength: Strength) -> MatchedPair:
    """The pair in its one order."""
    first, second = sorted((one, other))
    return MatchedPair(first, second, strength)

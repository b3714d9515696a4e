"""Links: what matching found, and which part of it which agency is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from datetime import datetime, timedelta

from broker.audit import AuditLog, Clock
from broker.bell import Bell
from broker.catalogue import Catalogue
from broker.linkages import Linkage
from broker.store.model import MatchedPair, Subject, TokenRecord
from broker.store.ports import BrokerStore, Transaction
from broker.telling import Permissions, Reconciliation, Told, lease_number, reconcile
from crypto.audit import AuditAction
from crypto.canonical import JsonInput
from crypto.tokens import LinkToken
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Link, LinkEvent, Strength

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
        # By linkage, the documents and the lease by which everything told was last looked at, durably.
        self._reconciled: dict[str, tuple[str, ...]] = {}
        self._publishing: dict[str, tuple[str, ...]] = {}

    async def publish(
        self,
        tx: Transaction,
        linkage: Linkage,
        epoch: int,
        pairs: Collection[MatchedPair],
        around: Collection[Subject] | None = None,
    ) -> frozenset[str]:
        """Puts a run's pairs in place of the old ones; returns the recipients that have news.

        Call `published` once the transaction is durable. With `around`, only the pairs with an end among
        those subjects are replaced, so that the work is in proportion to what changed. What may be told is
        then looked at anew for these alone, unless other documents count than when it was last looked at for
        all.
        """
        old = await (tx.links.pairs(linkage.id) if around is None else tx.links.pairs_of(linkage.id, around))
        before, now = set(old), set(pairs)
        kept_places = {(item.first, item.second) for item in now}
        await tx.links.remove_pairs(
            linkage.id, [item for item in before - now if (item.first, item.second) not in kept_places]
        )
        await tx.links.put_pairs(linkage.id, sorted(now - before, key=lambda item: (item.first, item.second)))
        counting = self._publishing[linkage.id] = self._counting(linkage)
        if around is None or self._reconciled.get(linkage.id) != counting:
            everything = now if around is None else await tx.links.pairs(linkage.id)
            return await self._reconcile(tx, linkage.id, epoch, everything, None)
        return await self._reconcile(tx, linkage.id, epoch, now, around)

    def published(self, linkage_id: str, recipients: Iterable[str]) -> None:
        """What `publish` did is durable: wakes the recipients."""
        self._reconciled[linkage_id] = self._publishing.pop(linkage_id)
        self.ring(linkage_id, recipients)

    async def withdraw(
        self, tx: Transaction, linkage: Linkage, agency: str, handles: frozenset[bytes]
    ) -> None:
        """Ends the links of withdrawn subjects at once."""
        gone = {Subject(agency, handle) for handle in handles}
        await tx.links.remove_pairs(linkage.id, await tx.links.pairs_of(linkage.id, gone))
        recalled = await tx.links.tokens_of(linkage.id, gone)
        await self._tell(tx, linkage.id, reconcile(linkage.id, 0, (), recalled, self._rng_bytes))

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
            counting = self._counting(linkage) if linkage else ()
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
                news = await self._reconcile(tx, linkage_id, None, pairs, None)
            self._reconciled[linkage_id] = counting
            self.ring(linkage_id, news)
        return tuple(linkage_id for linkage_id in held if linkage_id not in in_force)

    def _counting(self, linkage: Linkage) -> tuple[str, ...]:
        """Names what decides what is told of a linkage at this moment: documents, and the lease."""
        policies = (item.hash for item in self._catalogue.active_policies(linkage.id))
        return (*policies, linkage.hash, f"lease {lease_number(self._clock())}")

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
        permissions = Permissions(self._catalogue.active_policies(linkage.id), self._clock())
        until = self._clock() + LOOK_UP_LIFETIME
        async with self._store.write() as tx:
            standing = {
                (item.policy_hash, item.recipient, item.counterpart): item
                for item in await tx.links.tokens_of(linkage.id, [asker])
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
            told_until=min(until, told.existence.told_until).replace(microsecond=0),
            named=told.existence.named,
            passing=True,
        )

    async def _reconcile(
        self,
        tx: Transaction,
        linkage_id: str,
        epoch: int | None,
        pairs: Iterable[MatchedPair],
        around: Collection[Subject] | None,
    ) -> frozenset[str]:
        """`pairs` are all there are, or all with an end in `around`.

        `epoch` is that of a run that has just ended; None keeps the epoch that tokens were told in.
        """
        permissions = Permissions(self._catalogue.active_policies(linkage_id), self._clock())
        tokens = await (
            tx.links.tokens(linkage_id) if around is None else tx.links.tokens_of(linkage_id, around)
        )
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

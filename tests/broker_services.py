"""A broker's services on one store, wired as `broker.app` wires them, but without a network."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from broker.audit import AuditLog
from broker.bell import Bell
from broker.catalogue import Catalogue, HeldPolicy
from broker.config import MatchingConfig, WatchConfig
from broker.documents import DocumentService
from broker.epochs import EpochService
from broker.holds import HoldService
from broker.links import LinkService
from broker.lookups import LookUpService
from broker.matcher import Matcher
from broker.probing import ProbingWatch
from broker.runs import RunService
from broker.store.memory import MemoryStore
from broker.store.ports import BrokerStore
from broker.trust import TrustService
from broker.turnover import Turnover
from broker.uploads import UploadService
from protos.wire.linkage import EncodingBatch, EpochState, RunState, UploadMode, UploadStart
from tests.federation import LINKAGE, POLICE, Federation
from tests.simulator.policies import key_of

EPOCH = 1
#: Nothing is suspect, so that what is published depends on nothing but the rows.
UNSUSPICIOUS = WatchConfig(
    near_subjects=1000, near_percent=100, look_up_variants=1000, daily_turnover=1000, match_rate_links=1000
)


@dataclass
class BrokerServices:
    """Made by `opened` or `BrokerServices.create`."""

    store: BrokerStore
    federation: Federation
    catalogue: Catalogue
    documents: DocumentService
    holds: HoldService
    links: LinkService
    uploads: UploadService
    runs: RunService
    look_ups: LookUpService
    schema_hash: str = ""
    _hidden: tuple[HeldPolicy, ...] = field(default=(), repr=False)

    @classmethod
    async def create(
        cls,
        store: BrokerStore,
        federation: Federation,
        folder: Path,
        *,
        watch: WatchConfig = UNSUSPICIOUS,
    ) -> BrokerServices:
        """The services of a process that has just started on `store`."""

        def now() -> datetime:
            return federation.now

        config = MatchingConfig(threads=1)
        audit = AuditLog(key_of("broker"), str(federation.ca.federation), bytes(32), now)
        bell = Bell()
        trust = TrustService(store, audit, str(federation.ca.federation), now)
        await trust.load(federation.root_envelope.to_bytes())
        catalogue = Catalogue(store, trust, now)
        matcher = Matcher(config, folder)
        holds = HoldService(store, audit, now, folder / "releases")
        probing = ProbingWatch(store, holds, watch, now, secrets.token_bytes)
        epochs = EpochService(store, catalogue, audit, matcher.forget, watch, now)
        links = LinkService(store, catalogue, audit, bell, now, secrets.token_bytes)
        runs = RunService(store, catalogue, epochs, links, matcher, holds, watch, audit, bell, now)
        turnover = Turnover(watch.daily_turnover, now)
        uploads = UploadService(
            store, catalogue, epochs, probing, turnover, audit, links.withdraw, runs.committed, now
        )
        look_ups = LookUpService(store, catalogue, epochs, links, matcher, probing, 10_000, 10_000, now)

        async def changed() -> None:
            if await catalogue.reload():
                await links.refresh()

        documents = DocumentService(store, trust, audit, epochs.ensure, changed, now)
        await changed()
        services = cls(store, federation, catalogue, documents, holds, links, uploads, runs, look_ups)
        if await _has_no_registry(store):
            await trust.publish([], federation.registry_envelope.to_bytes())
            await documents.publish(POLICE, federation.signed_agreement(federation.agreement()))
            async with store.write() as tx:
                record = await epochs.ensure(tx, catalogue.linkage(LINKAGE))
                await tx.epochs.put(replace(record, state=EpochState.OPEN))
        services.schema_hash = catalogue.linkage(LINKAGE).agreement.schema_hash
        await runs.resume()
        return services

    async def stop(self) -> None:
        """As a process that ends; the store stays."""
        await self.runs.stop()

    async def share(self) -> None:
        """Publishes the policy by which the police learn of links."""
        await self.documents.publish(POLICE, self.federation.signed_policy(self.federation.policy()))

    async def suspend(self) -> None:
        """Policies stop counting, as if their officers had suspended them."""
        self._hidden, self.catalogue._policies = self.catalogue._policies, ()
        await self.links.refresh()

    async def resume(self) -> None:
        """Takes `suspend` back."""
        self.catalogue._policies = self._hidden
        await self.links.refresh()

    async def upload(self, agency: str, rows: EncodingBatch, mode: UploadMode) -> None:
        """A whole upload in one batch."""
        name = secrets.token_hex(16)
        await self.uploads.begin(
            agency, UploadStart(str(LINKAGE), EPOCH, self.schema_hash, name, mode, rows.rows)
        )
        await self.uploads.take(agency, name, 0, rows)
        await self.uploads.commit(agency, name, 1, rows.rows)

    async def run(self, agency: str = POLICE) -> RunState:
        """Matches, and returns how it ended."""
        run_id = await self.runs.start(agency, LINKAGE, EPOCH)
        states = [progress.state async for progress in self.runs.watch(agency, run_id)]
        return states[-1]


async def opened(folder: Path, federation: Federation, watch: WatchConfig = UNSUSPICIOUS) -> BrokerServices:
    """Services on an empty store in memory, with an open epoch."""
    return await BrokerServices.create(MemoryStore(), federation, folder, watch=watch)


async def _has_no_registry(store: BrokerStore) -> bool:
    async with store.read() as tx:
        return await tx.trust.registry() is None

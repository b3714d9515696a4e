"""A running broker with a client for each agency: what broker tests start from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.app import Broker
from broker.store.ports import BrokerStore
from crypto.keystore import Keystore
from crypto.signers import load_signer
from protos.wire.linkage import Epoch
from tests.broker_client import Client, connected
from tests.encodings import batch, noisy, person_clks
from tests.federation import CARE, LINKAGE, NHS, PASSPHRASE, POLICE, REFUGE, Federation


@dataclass
class World:
    """A federation, its broker, and four connected agencies; the refuge takes no part in the linkage."""

    federation: Federation
    broker: Broker
    police: Client
    care: Client
    nhs: Client
    refuge: Client

    @property
    def participants(self) -> tuple[Client, ...]:
        return (self.police, self.care, self.nhs)

    async def open_epoch(self) -> Epoch:
        """Publishes the agreement and confirms the key of epoch 1."""
        await self.police.publish(self.federation.signed_agreement(self.federation.agreement()))
        for client in self.participants:
            await client.confirm(LINKAGE, 1)
        return await self.police.epoch(LINKAGE)

    async def upload_all(self, people: int) -> None:
        """Everybody knows the same people, with a few bits of difference."""
        clks = person_clks(people)
        epoch = await self.police.epoch(LINKAGE)
        for seed, client in enumerate(self.participants):
            rows = batch(client.agency, range(people), noisy(clks, 20 + 10 * seed, seed))
            await client.upload(epoch, LINKAGE, rows)


@asynccontextmanager
async def running_world(
    folder: Path, *, store: BrokerStore | None = None, **changes: object
) -> AsyncIterator[World]:
    """A started broker that has the registry; ended with the context."""
    federation = Federation.create(folder)
    config = federation.broker_config(**changes)
    signer = load_signer(config.audit.key, lambda: PASSPHRASE)
    details = Keystore.open(config.audit.keystore, PASSPHRASE).secret("audit-details")
    broker = Broker(config, signer, details, store=store)
    await broker.start()
    try:
        async with AsyncExitStack() as stack:
            police, care, nhs, refuge = [
                await stack.enter_async_context(connected(broker.port, name, federation.agency(name)))
                for name in (POLICE, CARE, NHS, REFUGE)
            ]
            await police.publish_trust([], federation.registry_envelope.to_bytes())
            yield World(federation, broker, police, care, nhs, refuge)
    finally:
        await broker.stop()

"""Nodes of a test federation: their folders, their data, and the running thing."""

from __future__ import annotations

import asyncio
import csv
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from agency_node.app import Node, NodeTimings
from agency_node.audit import AuditLog
from agency_node.config import NodeConfig, load_config
from agency_node.encoding import default_section
from agency_node.keys import ANCHOR, AUDIT, SEALING, SIGNING, WRAP, load_keys
from agency_node.rpc.broker_client import BrokerClient
from agency_node.store.store import NodeStore
from agency_node.sync import Progress
from agency_node.trust import begin_trust
from broker.app import Broker
from crypto.keystore import Keystore
from policies.agreement import Encoding, LinkageAgreement
from policies.codec import decode_value
from policies.ids import AgencyId, Hash256
from protos.wire.channels import broker_channel
from tests.federation import CARE, CHEAP, LINKAGE, NHS, PASSPHRASE, POLICE, Federation
from tests.simulator.databases import migrate
from tests.simulator.policies import key_of

QUICK = NodeTimings(
    trust=0.5,
    documents=0.3,
    keying=0.2,
    housekeeping=0.5,
    outbox=0.1,
    minute=1.0,
    retry_first=0.05,
    retry_most=0.3,
    shutdown=0.2,
)
_T = TypeVar("_T")
_MAPPING = """\
[source]
kind = "csv"
folder = "."

[people]
table = "people.csv"
subject_id = "id"
[people.fields]
given_names = "given"
family_name = "family"
date_of_birth = "dob"
sex = "sex"
house = "house"
street = "street"
town = "town"
postcode = "postcode"
nhs_number = "nhs"
"""
_COLUMNS = ("id", "given", "family", "dob", "sex", "house", "street", "town", "postcode", "nhs")


def person(number: int, **changes: str) -> dict[str, str]:
    """A made-up person; different numbers are different people, who do not resemble each other."""
    rng = random.Random(number)

    def word(syllables: int) -> str:
        return "".join(rng.choice("bcdfghklmnprstvw") + rng.choice("aeiou") for _ in range(syllables))

    return {
        "id": f"p{number}",
        "given": f"{word(3)} {word(2)}".title(),
        "family": word(4).title(),
        "dob": f"{rng.randrange(1940, 2005)}-{rng.randrange(1, 13):02}-{rng.randrange(2, 29):02}",
        "sex": rng.choice("FM"),
        "house": str(rng.randrange(1, 200)),
        "street": f"{word(4).title()} Road",
        "town": word(3).title(),
        "postcode": f"TS{rng.randrange(1, 20)} {rng.randrange(1, 10)}A{rng.choice('GHJLN')}",
        "nhs": "",
    } | changes


def write_people(folder: Path, people: Iterable[Mapping[str, str]]) -> None:
    """The agency's own table."""
    with (folder / "people.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(people)


def real_agreement(
    federation: Federation, participants: tuple[AgencyId, ...] = (POLICE, CARE, NHS)
) -> LinkageAgreement:
    """The federation's agreement with the encoding that ships."""
    section = decode_value(Encoding, default_section("person"), "$", False)
    return replace(federation.agreement(participants), encoding=section)


@dataclass
class NodeFolder:
    """A node's files, and nodes made from them: one after another, as after a restart."""

    federation: Federation
    agency: AgencyId
    folder: Path
    config: NodeConfig

    @classmethod
    async def create(
        cls, federation: Federation, agency: AgencyId, broker_port: int, **sections: str
    ) -> NodeFolder:
        folder = federation.folder / str(agency)
        data = folder / "d"
        data.mkdir(parents=True, mode=0o700)
        extra = "\n".join(f"[{name}]\n{text}" for name, text in sections.items())
        (folder / "passphrase").write_text(PASSPHRASE)
        (folder / "mapping.toml").write_text(_MAPPING)
        write_people(folder, ())
        (folder / "node.toml").write_text(
            f'[node]\nfederation = "{federation.ca.federation}"\nagency = "{agency}"\ndata_dir = "d"\n'
            f'[broker]\ntarget = "127.0.0.1:{broker_port}"\n'
            f'[keys]\npassphrase_file = "passphrase"\n{extra}'
        )
        identity = federation.agency(agency)
        (data / "tls.pem").write_bytes(identity.certificate)
        (data / "tls-key.pem").write_bytes(identity.private_key)
        (data / "federation-ca.pem").write_bytes(identity.federation_ca)
        keystore = Keystore.create(data / "keys.json", PASSPHRASE, cost=CHEAP)
        keystore.add_signing(SIGNING, key_of(f"node {agency}"))
        keystore.add_sealing(SEALING, federation.sealing_keys[agency])
        for number, name in enumerate((WRAP, AUDIT)):
            keystore.add_secret(name, bytes([number + 1]) * 32)
        keystore.add_secret(ANCHOR, federation.root_envelope.digest.encode())
        made = cls(federation, agency, folder, load_config(folder / "node.toml"))
        store = NodeStore.open(made.config.database)
        await migrate(store.engine)
        keys = load_keys(keystore, made.config.federation, made.config.agency)
        await begin_trust(
            store,
            AuditLog(keys, keys.audit_wrapper, lambda: datetime.now(UTC)),
            keys.agency,
            Hash256(federation.root_envelope.digest),
            [federation.root_envelope.to_bytes()],
            federation.registry_envelope.to_bytes(),
            datetime.now(UTC),
            lambda _registry: None,
        )
        await store.close()
        return made

    def node(self) -> Node:
        """A node that is not started yet."""
        return Node.from_config(self.config, PASSPHRASE, timings=QUICK)

    def people(self, people: Iterable[Mapping[str, str]]) -> None:
        write_people(self.folder, people)


@dataclass
class NodeWorld:
    """A broker and nodes that run."""

    federation: Federation
    broker: Broker
    folders: dict[AgencyId, NodeFolder]
    nodes: dict[AgencyId, Node] = field(default_factory=dict)

    async def start(self, agency: AgencyId) -> Node:
        node = self.folders[agency].node()
        self.nodes[agency] = node
        await node.start()
        return node

    async def stop(self, agency: AgencyId) -> None:
        await self.nodes.pop(agency).stop()

    async def agree(self, participants: tuple[AgencyId, ...] | None = None) -> None:
        """Publishes the agreement through a node, and waits until every node holds the open key."""
        agencies = participants or tuple(self.nodes)
        agreement = real_agreement(self.federation, agencies)
        await self.nodes[agencies[0]].publish_document(self.federation.signed_agreement(agreement))
        await self.until_open(agencies)

    async def until_open(self, agencies: Iterable[AgencyId], epoch: int = 1) -> None:
        async def opened() -> bool:
            for agency in agencies:
                linkages = (await self.nodes[agency].status()).linkages
                if not any(item.epoch == epoch and item.epoch_state == "open" for item in linkages):
                    return False
            return True

        await until(opened)

    async def sync(self, agency: AgencyId, *, full: bool = False) -> Progress:
        """Uploads; returns the last report."""
        reports: list[Progress] = []

        async def report(progress: Progress) -> None:
            reports.append(progress)

        await self.nodes[agency].sync_linkage(LINKAGE, report, full=full)
        return reports[-1]

    async def match(self, agency: AgencyId) -> Progress:
        """Has the broker match; returns the last report."""
        reports: list[Progress] = []

        async def report(progress: Progress) -> None:
            reports.append(progress)

        await self.nodes[agency].run_linkage(LINKAGE, report)
        return reports[-1]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Waits until a condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - it may come about in another process
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running_nodes(
    folder: Path, agencies: tuple[AgencyId, ...] = (POLICE, CARE, NHS), **sections: str
) -> AsyncIterator[NodeWorld]:
    """A broker and the agencies' nodes, all real, on loopback."""
    federation = Federation.create(folder)
    broker = federation.broker()
    async with AsyncExitStack() as stack:
        await broker.start()
        stack.push_async_callback(broker.stop)
        folders = {
            agency: await NodeFolder.create(federation, agency, broker.port, **sections)
            for agency in agencies
        }
        world = NodeWorld(federation, broker, folders)
        await _publish_trust(federation, broker.port, agencies[0])

        async def stop_all() -> None:
            for agency in list(world.nodes):
                await world.stop(agency)

        stack.push_async_callback(stop_all)
        for agency in agencies:
            await world.start(agency)
        yield world


async def _publish_trust(federation: Federation, port: int, agency: AgencyId) -> None:
    client = BrokerClient(broker_channel(f"127.0.0.1:{port}", federation.agency(agency)))
    await client.registry.publish([], federation.registry_envelope.to_bytes())
    await client.close()

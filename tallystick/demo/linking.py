"""The demonstration's linkages: agree, make the keys, encode, match, and score what came out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from agency_node.rpc.control_client import ControlClient, control_client
from policies.agreement import LinkageAgreement
from policies.ids import LinkageId
from policies.render import page_hash, render_agreement, render_policy
from policies.sharing import SharingPolicy
from policies.signing import SignedDocument
from protos.wire.terminal import TerminalError
from tallystick.demo.documents import PEOPLE, PLACES, agreement, sharing_policy
from tallystick.demo.officers import sign_by_all
from tallystick.demo.stage import DECOYS_PERCENT, FEDERATION, Stage
from tallystick.population import AGENCIES, Population
from tallystick.population.views import subject_ids

Clients = Mapping[str, ControlClient]

_KEY_SECONDS = 90.0


class LinkingError(TerminalError):
    """A linkage did not come about; the message says where it stopped."""


@asynccontextmanager
async def node_clients(stage: Stage) -> AsyncIterator[Clients]:
    """A control client for each node."""
    async with AsyncExitStack() as stack:
        yield {
            agency: await stack.enter_async_context(control_client(stage.socket(agency)))
            for agency in stage.agencies
        }


def sign_documents(stage: Stage, people: int, places: int) -> tuple[SignedDocument, ...]:
    """Both linkage agreements and the sharing policy, signed by every officer whom the rules ask for."""
    now = datetime.now(UTC).replace(microsecond=0)
    documents: list[LinkageAgreement | SharingPolicy] = [
        agreement(PEOPLE, "person", stage.agencies, _with_decoys(people), FEDERATION, now),
        agreement(PLACES, "place", stage.agencies, _with_decoys(places), FEDERATION, now),
        sharing_policy(FEDERATION, now),
    ]
    registry = stage.office.registry()
    return tuple(
        sign_by_all(
            document,
            page_hash(
                render_policy(document) if isinstance(document, SharingPolicy) else render_agreement(document)
            ),
            stage.officers,
            now,
            guardians=isinstance(document, SharingPolicy),
            registry=registry,
        )
        for document in documents
    )


def _with_decoys(subjects: int) -> int:
    return subjects + subjects * DECOYS_PERCENT // 100 + 100


async def publish(clients: Clients, bundles: tuple[SignedDocument, ...]) -> None:
    """Gives the signed documents to every node; each verifies them for itself."""

    async def at_one(client: ControlClient) -> None:
        for bundle in bundles:
            statements = tuple(statement.to_bytes() for statement in bundle.statements)
            await client.publish(bundle.document.to_bytes(), statements)

    await asyncio.gather(*(at_one(client) for client in clients.values()))


async def wait_for_keys(clients: Clients, linkages: int) -> None:
    """Waits until all nodes hold the key of every linkage.

    Raises:
        LinkingError: an agreement failed, or it took too long.
    """
    deadline = time.monotonic() + _KEY_SECONDS
    while True:
        statuses = [await client.status() for client in clients.values()]
        states = [linkage.epoch_state for status in statuses for linkage in status.linkages]
        if states.count("open") == linkages * len(clients):
            return
        if any(state.startswith("failed") for state in states) or time.monotonic() > deadline:
            waiting = {
                status.agency_id: [f"{item.linkage_id}: {item.epoch_state}" for item in status.linkages]
                for status in statuses
            }
            raise LinkingError(f"the linkage keys were not agreed: {waiting}")
        await asyncio.sleep(0.2)


async def upload(clients: Clients, linkage: LinkageId, show: Callable[[str, int, int], None]) -> None:
    """Has every node encode and upload its subjects; `show(agency, done, total)` as they go."""

    async def at_one(agency: str, client: ControlClient) -> None:
        async for answer in client.sync(linkage, full=False):
            show(agency, answer.progress.done, answer.progress.total)

    await asyncio.gather(*(at_one(agency, client) for agency, client in clients.items()))


async def match(clients: Clients, linkage: LinkageId) -> None:
    """Has the broker match, and every node take in the links that it may know of."""

    async def at_one(client: ControlClient) -> None:
        async for _ in client.match(linkage):
            pass

    first, *others = clients.values()
    await at_one(first)
    await asyncio.gather(*(at_one(client) for client in others))


@dataclass(frozen=True, slots=True)
class Told:
    """What all nodes together were told of one linkage: something that no party of a real federation sees."""

    links: int
    #: (agency, its subject, the other agency), one for each link that was told.
    held: frozenset[tuple[str, str, str]]


async def told(clients: Clients, linkage: LinkageId) -> Told:
    """Collects the links of every node."""
    held = set()
    count = 0
    for agency, client in clients.items():
        async for link in client.links(linkage, ""):
            held.add((agency, link.subject_id, link.counterpart))
            count += 1
    return Told(count, frozenset(held))


@dataclass(frozen=True, slots=True)
class Score:
    """Quality against the truth, counted in links told: this subject is known to that agency too."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Part of the links told that are true."""
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Part of the true links that were told."""
        return self.right / max(1, self.right + self.missed)


def score(population: Population, found: Told) -> Score:
    """Compares the links told with who is who."""
    holders: dict[object, list[tuple[str, str]]] = {}
    for agency in AGENCIES:
        for person, subject in subject_ids(population, agency):
            holders.setdefault(person, []).append((agency, subject))
    true = {
        (agency, subject, other)
        for held in holders.values()
        for agency, subject in held
        for other, _ in held
        if other != agency
    }
    return Score(len(found.held & true), len(found.held - true), len(true - found.held))

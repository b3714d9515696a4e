"""Whom a node believes: nothing but what the root holders signed, and nothing that is stale."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agency_node.errors import NodeError
from agency_node.exchange import Exchange
from agency_node.store.store import NodeStore
from agency_node.trust import TrustKeeper, begin_trust
from crypto.audit import AuditAction
from crypto.envelope import Envelope
from policies.codec import envelope_of
from policies.errors import RollbackError, ThresholdError, TrustError
from policies.ids import Hash256, PersonId
from policies.registry import Registry
from policies.root import Root, RootKey
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS
from tests.simulator.databases import migrate
from tests.simulator.node_audit import RecordedAudit
from tests.simulator.policies import CARE, NOW, POLICE, FederationSimulator, key_of

SIM = FederationSimulator()
ROOT = SIM.root_signed(SIM.root())
ANCHOR = Hash256(ROOT.digest)


def signed(registry: Registry, *holders: str) -> bytes:
    return SIM.root_signed(registry, holders or ("root.ada", "root.bob")).to_bytes()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def begin(store: NodeStore, roots: Sequence[bytes], registry: bytes) -> RecordedAudit:
    audit = RecordedAudit()
    await begin_trust(store, audit, POLICE, ANCHOR, roots, registry, NOW, lambda _: None)
    return audit


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[NodeStore]:
    opened = NodeStore.open(f"sqlite:///{tmp_path / 'node.db'}")
    await migrate(opened.engine)
    await begin(opened, [ROOT.to_bytes()], signed(SIM.registry()))
    yield opened
    await opened.close()


async def keeper(store: NodeStore, clock: Clock | None = None) -> tuple[TrustKeeper, RecordedAudit]:
    audit = RecordedAudit()
    made = TrustKeeper(store, audit, POLICE, ANCHOR, clock or Clock())
    await made.load()
    return made, audit


async def test_newer_registry_is_taken_audited_and_kept(store: NodeStore) -> None:
    trust, audit = await keeper(store)
    assert not await trust.offer([], signed(SIM.registry()))
    assert await trust.offer([], signed(SIM.registry(version=2)))
    assert audit.actions() == [AuditAction.REGISTRY_ACCEPTED]
    again, _ = await keeper(store)
    assert again.registry(NOW).version == 2


async def test_node_key_swapped_by_the_broker_is_refused(store: NodeStore) -> None:
    trust, audit = await keeper(store)
    registry = SIM.registry(version=2)
    swapped = replace(
        registry,
        agencies=tuple(
            replace(item, node_verify_key=key_of("the broker's own").verify_key) if item.id == CARE else item
            for item in registry.agencies
        ),
    )
    genuine = SIM.root_signed(registry)
    for forged in (
        Envelope(genuine.payload_type, envelope_of(swapped).payload, genuine.signatures).to_bytes(),
        SIM.root_signed(swapped, ["root.ada"]).to_bytes(),
        SIM.root_signed(swapped, ["root.mallory", "root.eve"]).to_bytes(),
    ):
        with pytest.raises(ThresholdError):
            await trust.offer([], forged)
    listed = trust.registry(NOW).agency(CARE)
    assert listed is not None
    assert listed.node_verify_key == key_of("node care").verify_key
    assert audit.entries == []


async def test_rollback_is_refused_even_by_an_expired_memory(store: NodeStore) -> None:
    clock = Clock()
    trust, _ = await keeper(store, clock)
    await trust.offer([], signed(SIM.registry(version=5)))
    with pytest.raises(RollbackError):
        await trust.offer([], signed(SIM.registry(version=4, days=60)))
    clock.now = NOW + timedelta(days=31)
    restarted, _ = await keeper(store, clock)
    with pytest.raises(RollbackError):
        await restarted.offer([], signed(SIM.registry(version=4, days=60)))
    assert await restarted.offer([], signed(SIM.registry(version=6, days=60)))
    assert restarted.registry(clock.now).version == 6


def replacing(root: Root, *persons: str) -> Root:
    """The root with new keys for some of its holders."""
    return replace(
        root,
        keys=tuple(
            RootKey(
                PersonId(f"new.{item.person}"), item.organisation, key_of(f"new.{item.person}").verify_key
            )
            if item.person in persons
            else item
            for item in root.keys
        ),
    )


async def test_rollback_is_refused_after_a_signer_was_replaced_and_a_restart(store: NodeStore) -> None:
    """Two of three root holders stay, which is the threshold: what the third signed is still remembered."""
    trust, _ = await keeper(store)
    await trust.offer([], signed(SIM.registry(version=5)))
    second = SIM.root_signed(replacing(SIM.root(version=2), "root.bob"), ["root.ada", "root.cyd"])
    await trust.offer([second.to_bytes()], b"")
    restarted, _ = await keeper(store)
    assert restarted.registry(NOW) == trust.registry(NOW)
    with pytest.raises(RollbackError):
        await restarted.offer([], signed(SIM.registry(version=3), "root.ada", "root.cyd"))


async def test_enrolling_again_never_goes_back(store: NodeStore) -> None:
    """The answer is older than what the node has followed since: fewer roots, an older registry."""
    trust, _ = await keeper(store)
    await trust.offer([SIM.root_signed(SIM.root(version=2)).to_bytes()], signed(SIM.registry(version=5)))
    with pytest.raises(RollbackError):
        await begin(store, [ROOT.to_bytes()], signed(SIM.registry(version=3)))
    newer = signed(SIM.registry(version=6))
    await begin(store, [ROOT.to_bytes()], newer)
    again, _ = await keeper(store)
    assert (again.root_version, again.registry(NOW).version) == (2, 6)


async def test_enrolling_again_refuses_root_keys_that_were_replaced(store: NodeStore) -> None:
    trust, _ = await keeper(store)
    second = replacing(SIM.root(version=2), "root.ada", "root.bob", "root.cyd")
    new = ["new.root.ada", "new.root.bob"]
    root = SIM.root_signed(second, ["root.ada", "root.bob", *new]).to_bytes()
    await trust.offer([root], signed(SIM.registry(version=5), *new))
    with pytest.raises(ThresholdError):
        await begin(store, [ROOT.to_bytes()], signed(SIM.registry(version=9)))
    again, _ = await keeper(store)
    assert again.registry(NOW).version == 5


async def test_a_node_that_is_far_behind_catches_up_step_by_step(store: NodeStore) -> None:
    """The broker gives so many roots an answer, with a registry that only the last of all roots signed."""
    first = SIM.root()
    roots = [ROOT.to_bytes()]
    for version in range(2, LIMITS.roots_per_answer + 10):
        holders = ["root.ada", "root.bob"]
        if version == LIMITS.roots_per_answer + 5:
            first = replacing(first, "root.bob")
            holders = ["root.ada", "root.cyd"]
        elif version > LIMITS.roots_per_answer + 5:
            holders = ["root.ada", "new.root.bob"]
        roots.append(SIM.root_signed(replace(first, version=version), holders).to_bytes())
    newest = signed(SIM.registry(version=2), "root.ada", "new.root.bob")

    class Broker:
        async def trust(self, known_root_version: int) -> tuple[tuple[bytes, ...], bytes]:
            return tuple(roots[known_root_version:][: LIMITS.roots_per_answer]), newest

    trust, _ = await keeper(store)
    exchange = Exchange(store, None, trust, None, Clock())  # type: ignore[arg-type] # only trust is used here
    assert await exchange.refresh_trust(Broker())
    assert (trust.root_version, trust.registry(NOW).version) == (len(roots), 2)
    assert not await exchange.refresh_trust(Broker())


async def test_expired_registry_refuses_everything(store: NodeStore) -> None:
    trust, _ = await keeper(store)
    assert trust.registry(NOW + timedelta(days=29)).version == 1
    with pytest.raises(RefusedError) as refused:
        trust.registry(NOW + timedelta(days=30))
    assert refused.value.code is ErrorCode.TRUST_EXPIRED
    assert trust.last_registry is not None


async def test_roots_are_walked_one_by_one(store: NodeStore) -> None:
    trust, _ = await keeper(store)
    roots = [SIM.root_signed(SIM.root(version=n)).to_bytes() for n in (2, 3)]
    with pytest.raises(TrustError):
        await trust.offer(roots[1:], b"")
    assert await trust.offer(roots, signed(SIM.registry(version=2)))
    assert (await keeper(store))[0].root_version == 3


async def test_another_anchor_is_refused(store: NodeStore, tmp_path: Path) -> None:
    other = TrustKeeper(store, RecordedAudit(), POLICE, Hash256("00" * 32), Clock())
    with pytest.raises(TrustError, match="anchor"):
        await other.load()
    empty = NodeStore.open(f"sqlite:///{tmp_path / 'empty.db'}")
    await migrate(empty.engine)
    with pytest.raises(NodeError, match="not enrolled"):
        await TrustKeeper(empty, RecordedAudit(), POLICE, ANCHOR, Clock()).load()
    await empty.close()


async def test_refused_documents_keep_their_code_when_the_node_fetches_them(store: NodeStore) -> None:
    trust, _ = await keeper(store)

    class Broker:
        async def trust(self, known_root_version: int) -> tuple[tuple[bytes, ...], bytes]:
            return (), SIM.root_signed(SIM.registry(version=2), ["root.ada"]).to_bytes()

    exchange = Exchange(store, None, trust, None, Clock())  # type: ignore[arg-type] # only trust is used here
    with pytest.raises(RefusedError) as refused:
        await exchange.refresh_trust(Broker())
    assert refused.value.code is ErrorCode.TRUST_SIGNATURES


async def test_every_trust_that_was_accepted_is_kept_with_its_entry(store: NodeStore) -> None:
    trust, audit = await keeper(store)
    second, root = signed(SIM.registry(version=2)), SIM.root_signed(SIM.root(version=2)).to_bytes()
    await trust.offer([], second)
    await trust.offer([root], b"")
    async with store.transaction() as tx:
        kept = [(item.root_version, item.envelope) for item in await tx.trust.registries()]
    assert kept == [(1, signed(SIM.registry())), (1, second), (2, second)]
    assert audit.actions() == [AuditAction.REGISTRY_ACCEPTED] * 2


async def test_enrolling_again_goes_back_to_no_older_root_or_registry(store: NodeStore) -> None:
    trust, _ = await keeper(store)
    root, third = SIM.root_signed(SIM.root(version=2)).to_bytes(), signed(SIM.registry(version=3))
    await trust.offer([root], third)
    with pytest.raises(RollbackError):
        await begin(store, [ROOT.to_bytes()], signed(SIM.registry(version=2)))
    assert (await begin(store, [ROOT.to_bytes()], third)).actions() == []
    fourth = await begin(store, [ROOT.to_bytes()], signed(SIM.registry(version=4)))
    assert fourth.actions() == [AuditAction.REGISTRY_ACCEPTED]
    again, _ = await keeper(store)
    assert (again.root_version, again.registry(NOW).version) == (2, 4)

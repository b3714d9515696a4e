"""Whom a node believes: nothing but what the root holders signed, and nothing that is stale."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agency_node import migrations
from agency_node.errors import NodeError
from agency_node.exchange import Exchange
from agency_node.store.store import NodeStore
from agency_node.trust import TrustKeeper, begin_trust
from crypto.audit import AuditAction
from crypto.envelope import Envelope
from policies.codec import envelope_of
from policies.errors import RollbackError, ThresholdError, TrustError
from policies.ids import Hash256
from policies.registry import Registry
from protos.wire.errors import ErrorCode, RefusedError
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


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[NodeStore]:
    opened = NodeStore.open(f"sqlite:///{tmp_path / 'node.db'}")
    await migrations.upgrade(opened.engine)
    await begin_trust(opened, ANCHOR, [ROOT.to_bytes()], signed(SIM.registry()), NOW, lambda _: None)
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
    await migrations.upgrade(empty.engine)
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

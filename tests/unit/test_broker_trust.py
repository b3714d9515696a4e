"""What the broker remembers of the registry: as much after a restart as before."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from broker.audit import AuditLog
from broker.store.memory import MemoryStore
from broker.trust import TrustService
from policies.errors import RollbackError
from policies.ids import PersonId
from policies.registry import Registry
from policies.root import RootKey
from protos.wire.access import Caller
from protos.wire.errors import ErrorCode, RefusedError
from tests.simulator.policies import FEDERATION, NHS, NOW, POLICE, FederationSimulator, key_of

SIM = FederationSimulator()
ANCHOR = SIM.root_signed(SIM.root()).to_bytes()
NHS_URI = f"spiffe://{FEDERATION}/agency/nhs"


def signed(registry: Registry, *holders: str) -> bytes:
    return SIM.root_signed(registry, holders or ("root.ada", "root.bob")).to_bytes()


def without_nhs(registry: Registry) -> Registry:
    """The registry after the NHS was expelled."""
    return replace(
        registry,
        agencies=tuple(item for item in registry.agencies if item.id != NHS),
        officers=tuple(item for item in registry.officers if item.organisation != NHS),
    )


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def started(store: MemoryStore, clock: Clock) -> TrustService:
    audit = AuditLog(key_of("broker"), FEDERATION, bytes(32), clock)
    trust = TrustService(store, audit, FEDERATION, clock)
    await trust.load(ANCHOR)
    return trust


async def test_rollback_is_refused_even_by_an_expired_memory() -> None:
    """An agency was expelled by a registry with a short life; the older one that lists it lives on."""
    store, clock = MemoryStore(), Clock()
    older = SIM.registry(version=4, days=60)
    trust = await started(store, clock)
    await trust.publish([], signed(older))
    await trust.publish([], signed(without_nhs(SIM.registry(version=5, days=10))))
    clock.now = NOW + timedelta(days=11)
    restarted = await started(store, clock)
    with pytest.raises(RollbackError):
        await restarted.publish([], signed(older))
    assert restarted.authenticate(NHS_URI).callers == {Caller.MEMBER}
    with pytest.raises(RefusedError) as refused:
        restarted.registry()
    assert refused.value.code is ErrorCode.TRUST_EXPIRED


async def test_rollback_is_refused_after_a_signer_was_replaced_and_a_restart() -> None:
    store, clock = MemoryStore(), Clock()
    older = SIM.registry(version=3, days=60)
    trust = await started(store, clock)
    await trust.publish([], signed(without_nhs(SIM.registry(version=5, days=60))))
    dan = RootKey(PersonId("dan"), POLICE, key_of("root.dan").verify_key)
    root = SIM.root(version=2)
    root = replace(root, keys=tuple(dan if item.person == "root.bob" else item for item in root.keys))
    await trust.publish([SIM.root_signed(root, ["root.ada", "root.cyd"]).to_bytes()], b"")
    restarted = await started(store, clock)
    assert restarted.registry() == trust.registry()
    with pytest.raises(RollbackError):
        await restarted.publish([], signed(older, "root.ada", "root.cyd"))

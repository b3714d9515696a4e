"""The node's audit log on every database: order, proofs, erasure, and nothing without its transaction."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agency_node import migrations
from agency_node.audit import AuditLog
from agency_node.keys import NodeKeys, Wrapper
from agency_node.store.store import NodeStore
from agency_node.subjects import SubjectId
from crypto import merkle
from crypto.audit import AuditAction, reference
from crypto.checkpoint import verify_checkpoint
from crypto.errors import MerkleError
from crypto.keys import generate_sealing_key
from policies.audit_names import log_origin
from tests.simulator.policies import CARE, FEDERATION, key_of

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SUSAN, ALAN = SubjectId("P-1"), SubjectId("P-2")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def keys() -> NodeKeys:
    return NodeKeys(
        FEDERATION,
        CARE,
        key_of("node care"),
        (generate_sealing_key(),),
        Wrapper(secrets.token_bytes(32)),
        Wrapper(secrets.token_bytes(32)),
    )


@pytest.fixture(params=["file", "memory", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NodeStore]:
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    else:
        url = f"sqlite:///{tmp_path / 'node.db'}" if request.param == "file" else "sqlite://"
    opened = NodeStore.open(url)
    await migrations.upgrade(opened.engine)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> AuditLog:
    identity = keys()
    return AuditLog(identity, identity.audit_wrapper, clock)


async def fill(store: NodeStore, log: AuditLog, count: int, subject: SubjectId | None = SUSAN) -> None:
    for number in range(count):
        async with store.transaction() as tx:
            await log.append(
                tx,
                AuditAction.DISCLOSURE_DECIDED,
                actor="officer",
                body={"number": number},
                subject=subject,
                ref=reference(f"r{number}"),
            )


async def test_entries_follow_one_another_and_open(store: NodeStore, log: AuditLog) -> None:
    await fill(store, log, 3)
    await fill(store, log, 2, None)
    async with store.transaction() as tx:
        entries = [entry async for entry in log.read(tx)]
        assert await log.size(tx) == 5
        about = await log.about(tx, SUSAN)
    assert [item.entry.leaf.seq for item in entries] == [0, 1, 2, 3, 4]
    assert [item.details.body["number"] for item in entries if item.details] == [0, 1, 2, 0, 1]
    assert [item.entry.leaf.seq for item in about] == [0, 1, 2]
    assert all(item.details and item.details.subject == SUSAN for item in about)


async def test_no_leaf_and_no_column_names_the_subject(store: NodeStore, log: AuditLog) -> None:
    await fill(store, log, 1, SubjectId("VERY-TELLING-NUMBER"))
    async with store.transaction() as tx:
        entry = await tx.audit.entry(0)
    assert entry is not None
    assert b"TELLING" not in entry.leaf_bytes + entry.sealed + entry.key_id.encode()


async def test_an_entry_is_there_exactly_when_its_transaction_is(store: NodeStore, log: AuditLog) -> None:
    await fill(store, log, 1)
    with pytest.raises(RuntimeError, match="midway"):
        async with store.transaction() as tx:
            await log.append(tx, AuditAction.PURGED, actor="officer", body={}, subject=ALAN)
            raise RuntimeError("midway")
    await fill(store, log, 1)
    async with store.transaction() as tx:
        assert [item.entry.leaf.action async for item in log.read(tx)] == [
            AuditAction.DISCLOSURE_DECIDED,
            AuditAction.DISCLOSURE_DECIDED,
        ]
        assert await log.about(tx, ALAN) == ()


async def test_heads_are_signed_and_every_proof_verifies(store: NodeStore, log: AuditLog) -> None:
    roots: dict[int, bytes] = {}
    for size in range(1, 12):
        await fill(store, log, 1)
        async with store.transaction() as tx:
            signed = await log.checkpoint(tx)
        head = verify_checkpoint(signed, log_origin(FEDERATION, CARE), key_of("node care").verify_key)
        assert head.size == size
        roots[size] = head.root
    async with store.transaction() as tx:
        for seq in range(11):
            entry = await tx.audit.entry(seq)
            assert entry is not None
            proof = await log.inclusion(tx, seq, 11)
            merkle.verify_inclusion(entry.leaf.leaf_hash, seq, 11, proof, roots[11])
        for old in range(1, 12):
            merkle.verify_consistency(old, roots[old], 11, roots[11], await log.consistency(tx, old, 11))
        with pytest.raises(MerkleError):
            await log.inclusion(tx, 11, 12)
        assert len(await tx.audit.checkpoints()) == 11


async def test_erasing_a_subject_leaves_the_tree_and_other_subjects(store: NodeStore, log: AuditLog) -> None:
    await fill(store, log, 2, SUSAN)
    await fill(store, log, 1, ALAN)
    async with store.transaction() as tx:
        before = (await log.checkpoint(tx)).checkpoint.root
        assert await log.erase(tx, SUSAN)
        assert not await log.erase(tx, SUSAN)
    async with store.transaction() as tx:
        entries = [item async for item in log.read(tx)]
        assert [item.details is None for item in entries] == [True, True, False]
        assert await log.about(tx, SUSAN) == ()
        assert (await tx.audit.head()).frontier.root() == before
    await fill(store, log, 1, SUSAN)
    async with store.transaction() as tx:
        assert [item.entry.leaf.seq for item in await log.about(tx, SUSAN)] == [3]


async def test_times_never_go_back(store: NodeStore, log: AuditLog, clock: Clock) -> None:
    await fill(store, log, 1)
    clock.now = NOW - timedelta(hours=1)
    await fill(store, log, 1)
    async with store.transaction() as tx:
        assert [item.entry.leaf.time async for item in log.read(tx)] == [NOW, NOW]

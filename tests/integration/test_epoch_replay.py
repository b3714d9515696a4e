"""A broker that names an epoch which is over: one that lies, and one that lost its database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import delete

from agency_node.app import Node
from agency_node.audit import AuditLog
from agency_node.model import KeyState
from agency_node.sync import Progress
from broker.store.sql import SqlTransaction
from broker.store.tables import confirmations, epochs
from crypto.audit import AuditAction
from policies.codec import document_hash
from policies.ids import AgencyId, Hash256
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Epoch, EpochState, RotationReason, UploadStart
from tests.federation import CARE, LINKAGE, NHS, POLICE
from tests.nodes import NodeWorld, person, real_agreement, running_nodes, until


@dataclass
class LyingBroker:
    """Says that an epoch is the current one, open to everybody, and takes whatever is uploaded."""

    told: Epoch
    started: list[UploadStart] = field(default_factory=list)
    rotated: list[int] = field(default_factory=list)

    async def epoch(self, linkage_id: str) -> Epoch:
        return self.told

    async def confirm_key(self, linkage_id: str, epoch: int, transcript: bytes, said: bytes) -> EpochState:
        return EpochState.OPEN

    async def rotate(self, linkage_id: str, current_epoch: int, reason: RotationReason) -> int:
        self.rotated.append(current_epoch)
        return self.told.epoch

    async def begin_upload(self, start: UploadStart) -> tuple[int, bool]:
        self.started.append(start)
        return 0, True

    async def upload(
        self, upload_id: str, batches: AsyncIterator[tuple[int, bytes]]
    ) -> AsyncGenerator[int, None]:
        async for sequence, _ in batches:
            yield sequence

    async def commit_upload(self, upload_id: str, batch_count: int, row_count: int) -> int:
        return row_count


async def lying(node: Node, epoch: int) -> LyingBroker:
    real = await node._broker.linkage.epoch(LINKAGE)
    return LyingBroker(replace(real, epoch=epoch, state=EpochState.OPEN))


async def nothing(_progress: Progress) -> None:
    return


async def refused_upload(node: Node, broker: LyingBroker) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        await node._sync.sync(broker, LINKAGE, nothing, full=True)
    assert broker.started == []
    return refused.value


async def refused_keying(node: Node, broker: LyingBroker) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        await node._keying.advance(broker, await node._sync._agreement(LINKAGE))
    return refused.value


async def keyed(world: NodeWorld, *agencies: AgencyId) -> None:
    """Everybody knows the same people, holds the key of epoch 1 and has uploaded under it."""
    for agency in agencies:
        world.folders[agency].people(person(n) for n in range(12))
    await world.agree(agencies)
    for agency in agencies:
        await world.sync(agency)


async def faults(node: Node) -> list[object]:
    """The faults on record of key agreements."""
    log = node.parts.audit
    assert isinstance(log, AuditLog)
    async with node.parts.store.transaction() as tx:
        return [
            item.details.body["fault"]
            async for item in log.read(tx)
            if item.details is not None and item.entry.leaf.action is AuditAction.EPOCH_FAILED
        ]


@pytest.mark.parametrize("uploaded", [False, True], ids=["not uploaded since", "uploaded since"])
async def test_no_upload_under_a_suspected_key(tmp_path: Path, uploaded: bool) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        await keyed(world, POLICE, CARE)
        await world.nodes[CARE].rotate_key(LINKAGE, RotationReason.SUSPICION)
        await world.until_open((POLICE, CARE), epoch=2)
        if uploaded:
            await world.sync(POLICE)
        police = world.nodes[POLICE]
        liar = await lying(police, 1)
        for refusal in (await refused_upload(police, liar), await refused_keying(police, liar)):
            assert refusal.code is ErrorCode.EPOCH_WENT_BACK
            assert f"tallystick node rotate-key {LINKAGE}" in refusal.detail
        # the key is still there for the evidence of requests that are under way
        async with police.parts.store.transaction() as tx:
            assert await police.parts.ring.key(tx, LINKAGE, 1)


async def test_no_upload_under_a_key_that_an_expelled_participant_knows(tmp_path: Path) -> None:
    async with running_nodes(tmp_path) as world:
        await keyed(world, POLICE, CARE, NHS)
        old = Hash256(document_hash(real_agreement(world.federation)))
        new = replace(real_agreement(world.federation, (POLICE, CARE)), version=2, supersedes=old)
        await world.nodes[POLICE].publish_document(world.federation.signed_agreement(new))
        await world.until_open((POLICE, CARE), epoch=2)
        police = world.nodes[POLICE]
        liar = await lying(police, 1)
        assert (await refused_upload(police, liar)).code is ErrorCode.EPOCH_WENT_BACK
        assert (await refused_keying(police, liar)).code is ErrorCode.EPOCH_WENT_BACK


async def test_no_upload_while_the_key_in_hand_is_of_an_older_agreement(tmp_path: Path) -> None:
    """The broker says that the new agreement goes on in the epoch of the old one."""
    async with running_nodes(tmp_path) as world:
        await keyed(world, POLICE, CARE, NHS)
        police = world.nodes[POLICE]
        old = Hash256(document_hash(real_agreement(world.federation)))
        new = replace(real_agreement(world.federation, (POLICE, CARE)), version=2, supersedes=old)
        await police.publish_document(world.federation.signed_agreement(new))
        await world.until_open((POLICE, CARE), epoch=2)
        async with police.parts.store.transaction() as tx:
            held = await tx.epochs.get(LINKAGE, 2)
            assert held is not None
            await tx.epochs.put(replace(held, agreement_hash=str(old)))
        assert (await refused_upload(police, await lying(police, 2))).code is ErrorCode.EPOCH_WENT_BACK


async def test_an_upload_whose_epoch_ends_while_the_data_are_read_does_not_leave(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        await keyed(world, POLICE, CARE)
        police = world.nodes[POLICE]
        liar = await lying(police, 1)
        rotated = False

        async def report(progress: Progress) -> None:
            nonlocal rotated
            if progress.stage == "read" and not rotated:
                rotated = True
                await world.nodes[CARE].rotate_key(LINKAGE, RotationReason.SUSPICION)
                await world.until_open((POLICE, CARE), epoch=2)

        with pytest.raises(RefusedError) as refused:
            await police._sync.sync(liar, LINKAGE, report, full=True)
        assert refused.value.code is ErrorCode.WRONG_EPOCH
        assert liar.started == []
        await world.sync(POLICE)


async def test_nothing_is_signed_twice_for_an_epoch_whose_key_is_gone(tmp_path: Path) -> None:
    """Two commitments of one agency for one epoch would convict it of equivocation."""
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        await keyed(world, POLICE, CARE)
        for epoch in (2, 3):
            await world.nodes[CARE].rotate_key(LINKAGE, RotationReason.AGE)
            await world.until_open((POLICE, CARE), epoch=epoch)
        await world.sync(POLICE)
        police = world.nodes[POLICE]
        liar = await lying(police, 1)
        assert (await refused_keying(police, liar)).code is ErrorCode.EPOCH_WENT_BACK
        async with police.parts.store.transaction() as tx:
            assert await police.parts.ring.agreement(tx, LINKAGE, 1) is None
            held = await police.parts.ring.agreement(tx, LINKAGE, 3)
            assert held is not None and held.state is KeyState.OPEN


async def test_a_broker_that_lost_its_database_is_led_on(tmp_path: Path) -> None:
    """It counts from 1 again: both nodes say so to their IT, one of which leads it to an unused epoch."""
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        await keyed(world, POLICE, CARE)
        for epoch in (2, 3):
            await world.nodes[CARE].rotate_key(LINKAGE, RotationReason.AGE)
            await world.until_open((POLICE, CARE), epoch=epoch)
        async with world.broker._store.write() as tx:
            assert isinstance(tx, SqlTransaction)
            for table in (epochs, confirmations):
                await tx.epochs._c.execute(delete(table))

        async def told() -> bool:
            statuses = [(await world.nodes[name].status()).linkages[0] for name in (POLICE, CARE)]
            return all(f"tallystick node rotate-key {LINKAGE}" in item.epoch_state for item in statuses)

        await until(told)
        with pytest.raises(RefusedError) as refused:
            await world.sync(POLICE)
        assert refused.value.code is ErrorCode.EPOCH_WENT_BACK
        assert await faults(world.nodes[CARE]) == ["epoch-went-back"]
        assert await world.nodes[POLICE].rotate_key(LINKAGE, RotationReason.SUSPICION) == 4
        await world.until_open((POLICE, CARE), epoch=4)
        assert (await world.sync(POLICE)).counts["rows_sent"] == 12


async def test_a_broker_that_does_not_go_on_is_not_led_for_ever(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        await keyed(world, POLICE, CARE)
        police = world.nodes[POLICE]
        liar = await lying(police, 1)
        with pytest.raises(RefusedError, match="does not get beyond epoch 1"):
            await police._keying.rotate(liar, LINKAGE, RotationReason.AGE)
        assert len(liar.rotated) == 1

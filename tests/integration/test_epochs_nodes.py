"""The life of a linkage key between real nodes and a real broker: new epochs, and members that misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from agency_node.audit import AuditLog
from agency_node.keying import Fault, KeyAgreement, KeyContribution, begin
from agency_node.model import KeyState
from agency_node.store.store import NodeTransaction
from agency_node.sync import Progress
from broker.store.sql import SqlTransaction
from broker.store.tables import leaves
from crypto.audit import AuditAction, AuditLeaf, open_details
from crypto.canonical import JsonInput
from crypto.envelope import Envelope, sign_envelope
from crypto.keys import Signer
from policies.codec import document_hash, parse, payload_type, write
from policies.ids import AgencyId, Hash256, HexBytes
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import EpochState, RotationReason
from protos.wire.relay import ToAgency
from tests.federation import CARE, LINKAGE, NHS, POLICE
from tests.nodes import NodeWorld, person, real_agreement, running_nodes, until

ALL = (POLICE, CARE, NHS)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[NodeWorld]:
    async with running_nodes(tmp_path) as found:
        yield found


async def linked(world: NodeWorld, people: int = 12, **changes: int) -> dict[str, str]:
    """Everybody knows the same people; returns the police's tokens of care's links, by subject."""
    for agency in ALL:
        world.folders[agency].people(person(n) for n in range(people))
    agreement = replace(real_agreement(world.federation), **changes)  # type: ignore[arg-type] # real fields
    await world.nodes[POLICE].publish_document(world.federation.signed_agreement(agreement))
    await world.until_open(ALL)
    for agency in ALL:
        await world.sync(agency)
    await world.match(POLICE)
    await world.nodes[CARE].publish_document(world.federation.signed_policy(world.federation.policy()))

    async def all_told() -> bool:
        return await told(world, 2 * people)

    await until(all_told)
    return await tokens(world)


async def told(world: NodeWorld, count: int) -> bool:
    return len(await world.nodes[POLICE].list_links(LINKAGE, None)) == count


async def tokens(world: NodeWorld) -> dict[str, str]:
    links = await world.nodes[POLICE].list_links(LINKAGE, None)
    return {item.subject_id: item.link.token.hex() for item in links if item.link.counterpart == CARE}


async def encodings(world: NodeWorld, agency: AgencyId, epoch: int) -> bytes:
    async with world.broker._store.read() as tx:
        return b"".join(item.body for item in await tx.encodings.live(LINKAGE, epoch, agency))


async def test_a_member_leaves(world: NodeWorld) -> None:
    """A newer agreement with other participants: its own key, and nothing left of who has gone."""
    before = await linked(world)
    remaining = (POLICE, CARE)
    old = Hash256(document_hash(real_agreement(world.federation)))
    agreement = replace(real_agreement(world.federation, remaining), version=2, supersedes=old)
    await world.nodes[POLICE].publish_document(world.federation.signed_agreement(agreement))
    await world.until_open(remaining, epoch=2)
    # at once: the encodings and the links of who has left
    assert await encodings(world, NHS, 1) == b""

    async def recalled() -> bool:
        return await told(world, len(before))

    await until(recalled)
    assert await tokens(world) == before
    with pytest.raises(RefusedError) as refused:
        await world.sync(NHS)
    assert refused.value.code in (ErrorCode.LINKAGE_UNKNOWN, ErrorCode.NOT_A_PARTICIPANT)
    keys = set()
    for agency in remaining:
        async with world.nodes[agency].parts.store.transaction() as tx:
            keys.add(await world.nodes[agency].parts.ring.key(tx, LINKAGE, 2))
    assert len(keys) == 1
    async with world.nodes[NHS].parts.store.transaction() as tx:
        assert await world.nodes[NHS].parts.ring.agreement(tx, LINKAGE, 2) is None
    for agency in remaining:
        await world.sync(agency)
    await world.match(CARE)
    assert await tokens(world) == before
    assert await encodings(world, POLICE, 1) == b""


async def test_a_key_grows_old(world: NodeWorld) -> None:
    """By age a new epoch comes by itself; encodings are new, the old ones go, tokens stay."""
    before = await linked(world, epoch_days=2)
    first = await encodings(world, POLICE, 1)
    age = timedelta(days=2)
    keying = world.nodes[CARE]._keying
    keying._clock = lambda: datetime.now(UTC) + age - timedelta(minutes=5)
    await keying.advance_all(world.nodes[CARE]._broker.linkage)
    assert (await world.nodes[POLICE]._broker.linkage.epoch(LINKAGE)).epoch == 1
    keying._clock = lambda: datetime.now(UTC) + age + timedelta(minutes=5)
    keying.nudge()
    await world.until_open(ALL, epoch=2)
    assert (await world.nodes[POLICE]._broker.linkage.epoch(LINKAGE)).epoch == 2
    assert await tokens(world) == before  # links stand while everybody encodes anew
    reports: list[Progress] = []

    async def report(progress: Progress) -> None:
        reports.append(progress)

    await world.nodes[POLICE].sync_linkage(LINKAGE, report, full=False)
    assert {item.stage for item in reports} >= {"read", "send", "done"}
    assert reports[-1].counts["rows_sent"] == len(before)
    assert await encodings(world, POLICE, 1) == first  # until the new epoch's first run
    for agency in (CARE, NHS):
        await world.sync(agency)
    await world.match(NHS)
    assert await encodings(world, POLICE, 1) == b""
    assert await encodings(world, POLICE, 2) not in (b"", first)
    assert await tokens(world) == before
    assert (POLICE, "age") not in await rotations(world)
    assert (CARE, "age") in await rotations(world)


async def rotations(world: NodeWorld) -> list[tuple[str, JsonInput]]:
    """Who asked for new epochs, and why, by the broker's audit log."""
    return [(actor, body["reason"]) for actor, body in await logged(world, AuditAction.EPOCH_ROTATED)]


async def logged(world: NodeWorld, action: AuditAction) -> list[tuple[str, Mapping[str, JsonInput]]]:
    """Actors and bodies of the broker's own audit entries."""
    log = world.broker._audit
    found = []
    async with world.broker._store.read() as tx:
        assert isinstance(tx, SqlTransaction)
        rows = (await tx.audit._c.execute(select(leaves).order_by(leaves.c.index))).all()
    for row in rows:
        leaf = AuditLeaf.from_bytes(row.leaf)
        if leaf.action is action:
            details = open_details(leaf, row.sealed, log._details_key)
            found.append((details.actor, details.body))
    return found


async def test_a_key_comes_under_suspicion(world: NodeWorld) -> None:
    before = await linked(world)
    assert await world.nodes[NHS].rotate_key(LINKAGE, RotationReason.SUSPICION) == 2
    for agency in ALL:
        assert await encodings(world, agency, 1) == b""
    await world.until_open(ALL, epoch=2)
    for agency in ALL:
        await world.sync(agency)
    await world.match(POLICE)
    assert await tokens(world) == before
    assert await rotations(world) == [(NHS, "suspicion")]


# -- members that misbehave


def wrong_contribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """The NHS reveals other bytes than those that it committed to."""
    honest = KeyAgreement.reveal

    def reveal(self: KeyAgreement, signer: Signer) -> tuple[KeyAgreement, Envelope]:
        revealed, envelope = honest(self, signer)
        if self.me != NHS:
            return revealed, envelope
        document = replace(parse(KeyContribution, envelope.payload), contribution=HexBytes("ab" * 32))
        return revealed, sign_envelope(payload_type(KeyContribution), write(document), [signer])

    monkeypatch.setattr(KeyAgreement, "reveal", reveal)


def two_commitments(world: NodeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The NHS commits to other bytes towards the police than towards care."""
    keying = world.nodes[NHS]._keying

    async def send(tx: NodeTransaction, agreement: KeyAgreement, purpose: str, envelope: Envelope) -> None:
        for member in agreement.others:
            sent = envelope
            if purpose == "key-commitment" and member == POLICE:
                _, sent = begin(agreement.terms, NHS, b"\x07" * 32, keying._identity.signer)
            await keying._mailbox.post(tx, ToAgency(member), member, purpose, sent)

    monkeypatch.setattr(keying, "_send", send)


@pytest.mark.parametrize("fault", [Fault.WRONG_CONTRIBUTION, Fault.EQUIVOCATION])
async def test_who_cheats_in_the_key_agreement_is_named(
    world: NodeWorld, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    with monkeypatch.context() as patch:
        if fault is Fault.EQUIVOCATION:
            two_commitments(world, patch)
        else:
            wrong_contribution(patch)
        agreement = real_agreement(world.federation)
        await world.nodes[POLICE].publish_document(world.federation.signed_agreement(agreement))

        async def blamed() -> bool:
            statuses = [(await world.nodes[name].status()).linkages for name in (POLICE, CARE)]
            return all(
                found and found[0].epoch_state.startswith(f"failed ({fault.value} by {NHS}")
                for found in statuses
            )

        await until(blamed)
    assert (await world.nodes[CARE]._broker.linkage.epoch(LINKAGE)).state is EpochState.KEYING
    for name in (POLICE, CARE):
        assert await bodies(world, name, AuditAction.EPOCH_FAILED) == [(fault.value, str(NHS))]
    # the failed epoch stays failed; a new one begins with new contributions
    assert await world.nodes[CARE].rotate_key(LINKAGE, RotationReason.KEY_MISMATCH) == 2
    await world.until_open(ALL, epoch=2)
    async with world.nodes[POLICE].parts.store.transaction() as tx:
        failed = await world.nodes[POLICE].parts.ring.agreement(tx, LINKAGE, 1)
        assert failed is not None and failed.state is KeyState.FAILED


async def bodies(world: NodeWorld, agency: AgencyId, action: AuditAction) -> list[tuple[str, str]]:
    """Fault and culprit of an agency's own audit entries."""
    node = world.nodes[agency]
    log = node.parts.audit
    assert isinstance(log, AuditLog)
    async with node.parts.store.transaction() as tx:
        return [
            (str(item.details.body["fault"]), str(item.details.body["culprit"]))
            async for item in log.read(tx)
            if item.details is not None and item.entry.leaf.action is action
        ]


async def test_who_confirms_another_key_is_named_by_the_broker(
    world: NodeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = vars(KeyAgreement)["confirmation"].fget
    with monkeypatch.context() as patch:
        lie = property(lambda self: bytes(32) if self.me == NHS else honest(self))
        patch.setattr(KeyAgreement, "confirmation", lie)
        agreement = real_agreement(world.federation)
        await world.nodes[POLICE].publish_document(world.federation.signed_agreement(agreement))

        async def failed() -> bool:
            return (await world.nodes[CARE]._broker.linkage.epoch(LINKAGE)).state is EpochState.FAILED

        await until(failed)
        ((_, body),) = await logged(world, AuditAction.EPOCH_FAILED)
        assert body["differing"] == [str(NHS)]

        async def seen() -> bool:
            found = [(await world.nodes[name].status()).linkages[0] for name in ALL]
            return all(item.epoch_state.startswith("failed (key-mismatch") for item in found)

        await until(seen)

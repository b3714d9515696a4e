"""A registered agency sends another what can never have an effect: it is let go, and others get through."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agency_node.audit import AuditLog
from agency_node.keying import KeyCommitment
from crypto.audit import AuditAction
from crypto.envelope import sign_envelope
from crypto.seal import SealContext, seal_to
from policies.codec import document_hash, payload_type, write
from policies.ids import Hash256, LinkageId
from protos.wire.errors import ErrorCode
from protos.wire.relay import OutgoingMessage, ToAgency, outgoing_to_wire
from tests.broker_client import asked, connected
from tests.federation import CARE, LINKAGE, NHS, POLICE
from tests.nodes import NodeWorld, person, real_agreement, running_nodes, until
from tests.simulator.policies import key_of

SHARE = 5


def junk(world: NodeWorld, linkage: LinkageId, agreement_hash: Hash256, epoch: int = 1) -> OutgoingMessage:
    """A commitment of the NHS to care, signed and sealed as it should be."""
    federation = world.federation.registry
    document = KeyCommitment(federation.federation, linkage, epoch, agreement_hash, NHS, Hash256("cd" * 32))
    envelope = sign_envelope(payload_type(KeyCommitment), write(document), [key_of("node nhs")])
    message_id = secrets.token_hex(16)
    care = federation.agency(CARE)
    assert care is not None
    context = SealContext("key-commitment", str(NHS), str(CARE), message_id)
    sealed = seal_to(care.sealing_key, envelope.to_bytes(), context)
    until_then = datetime.now(UTC) + timedelta(days=13)
    return OutgoingMessage(message_id, ToAgency(CARE), "key-commitment", sealed, until_then)


async def flood(world: NodeWorld, *messages: OutgoingMessage) -> None:
    async with connected(world.broker.port, NHS, world.federation.agency(NHS)) as client:
        for message in messages:
            await asked(client.relay.Send(outgoing_to_wire(message)))


async def waiting(world: NodeWorld) -> int:
    async with world.broker._store.read() as tx:
        return (await tx.relay.load(CARE)).messages


async def refusals(world: NodeWorld) -> list[object]:
    node = world.nodes[CARE]
    log = node.parts.audit
    assert isinstance(log, AuditLog)
    async with node.parts.store.transaction() as tx:
        return [
            item.details.body["code"]
            async for item in log.read(tx)
            if item.details is not None and item.entry.leaf.action is AuditAction.IDENTITY_REFUSED
        ]


async def test_an_agency_cannot_stop_the_mail_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        agencies = len(world.federation.registry.agencies)
        monkeypatch.setattr("agency_node.mailbox.DEFERRED_AT_MOST", SHARE * agencies)
        # about a linkage that nobody has: only a sender's share may wait, for it may be published this minute
        await flood(world, *(junk(world, LinkageId("nowhere"), Hash256("ab" * 32)) for _ in range(30)))

        async def let_go() -> bool:
            return await waiting(world) == SHARE

        await until(let_go)
        assert await refusals(world) == [str(ErrorCode.MAILBOX_FULL)] * (30 - SHARE)
        for agency in (POLICE, CARE):
            world.folders[agency].people(person(n) for n in range(3))
        await world.agree((POLICE, CARE))
        # about a linkage in which the sender takes no part: none waits
        agreement = Hash256(document_hash(real_agreement(world.federation, (POLICE, CARE))))
        await flood(world, *(junk(world, LINKAGE, agreement, 2) for _ in range(4)))

        async def dropped() -> bool:
            return (await refusals(world)).count(str(ErrorCode.NOT_A_PARTICIPANT)) == 4

        await until(dropped)
        await until(let_go)  # what the honest agencies tell each other passes meanwhile

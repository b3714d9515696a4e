"""What the broker refuses, each with its own code, through real stubs and real TLS."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from broker.store.memory import MemoryStore
from crypto.checkpoint import cosign, parse_checkpoint, verify_checkpoint
from crypto.merkle import verify_consistency
from crypto.pki import FederationCa, PeerRole
from policies.agreement import LinkageAgreement
from policies.codec import document_hash
from policies.ids import AgencyId, Hash256
from policies.lifecycle import Stage
from policies.render import page_hash, render_policy
from policies.statements import PolicyAction
from policies.status import PolicyStatus, StatusSnapshot
from policies.vocabulary import OfficerRole
from protos.audit.v1 import audit_pb2
from protos.documents.v1 import documents_pb2
from protos.linkage.v1 import linkage_pb2
from protos.registry.v1 import registry_pb2
from protos.relay.v1 import relay_pb2, relay_pb2_grpc
from protos.wire.channels import CHANNEL_OPTIONS
from protos.wire.documents import DocumentBundle, DocumentKind
from protos.wire.errors import ErrorCode, UnavailableError
from protos.wire.limits import LIMITS
from protos.wire.linkage import Column, EncodingBatch, EpochState, UploadMode, UploadStart
from tests.broker_client import Client, asked, connected, message, refusal
from tests.broker_world import World, running_world
from tests.encodings import batch, handles, person_clks
from tests.federation import CARE, LINKAGE, NHS, POLICE, REFUGE, mutual_parties
from tests.simulator import policies as sim


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path, store=MemoryStore()) as found:
        yield found


def start_of(epoch: int, schema: str, **changes: object) -> UploadStart:
    values = UploadStart(LINKAGE, epoch, schema, secrets.token_hex(16), UploadMode.FULL, 10)
    return replace(values, **changes)  # type: ignore[arg-type] # the test names real fields


# identity -------------------------------------------------------------------------------------------------


async def test_plaintext_and_old_tls_are_refused(world: World) -> None:
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{world.broker.port}", options=CHANNEL_OPTIONS
    ) as channel:
        with pytest.raises(UnavailableError):
            await asked(relay_pb2_grpc.RelayServiceStub(channel).Acknowledge(relay_pb2.AcknowledgeRequest()))

    def handshake(version: ssl.TLSVersion) -> str | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = version
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", world.broker.port), 10) as plain,
            context.wrap_socket(plain) as secure,
        ):
            return secure.version()

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(handshake, ssl.TLSVersion.TLSv1_2)
    assert await asyncio.to_thread(handshake, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


async def test_a_certificate_of_another_authority_does_not_connect(world: World) -> None:
    stranger = FederationCa.create(world.federation.ca.federation, world.federation.now)
    identity = world.federation.tls(PeerRole.AGENCY, POLICE, ca=stranger)
    async with connected(world.broker.port, POLICE, identity) as client:
        with pytest.raises(UnavailableError):
            await client.epoch(LINKAGE)


async def test_a_certificate_that_names_another_federation(world: World) -> None:
    ca = world.federation.ca
    other = FederationCa.load(ca.certificate_pem, ca.key_pem(None))
    other.federation = "elsewhere"
    identity = world.federation.tls(PeerRole.AGENCY, POLICE, ca=other)
    async with connected(world.broker.port, POLICE, identity) as client:
        assert await refusal(client.epoch(LINKAGE)) is ErrorCode.WRONG_FEDERATION
        assert await refusal(client.publish_trust([], b"x")) is ErrorCode.WRONG_FEDERATION
    await world.broker.keep_house()
    leaves = [item.leaf async for item in world.police.audit.ReadLeaves(audit_pb2.ReadLeavesRequest(end=100))]
    assert b"identity-refused" in leaves[-1]
    assert b"elsewhere" not in leaves[-1]


async def test_a_certificate_of_nobody_in_the_registry(world: World) -> None:
    async with connected(world.broker.port, "ghost", world.federation.agency("ghost")) as ghost:
        assert await refusal(ghost.epoch(LINKAGE)) is ErrorCode.NOT_A_MEMBER
        trust = await asked(ghost.registry.GetTrust(registry_pb2.GetTrustRequest()))
        assert trust.registry_envelope == world.federation.registry_envelope.to_bytes()


async def test_the_brokers_own_certificate_may_not_act(world: World) -> None:
    identity = world.federation.tls(PeerRole.BROKER, "broker")
    async with connected(world.broker.port, "broker", identity) as client:
        with pytest.raises(UnavailableError):  # it is for servers, and refused as a client's
            await client.epoch(LINKAGE)


async def test_a_removed_agency_is_no_member_any_more(world: World) -> None:
    await world.open_epoch()
    registry = world.federation.registry
    rest = tuple(item for item in registry.agencies if item.id != NHS)
    officers = tuple(item for item in registry.officers if item.organisation != NHS)
    renewed = world.federation.new_registry(agencies=rest, officers=officers)
    await world.police.publish_trust([], renewed.to_bytes())
    assert await refusal(world.nhs.epoch(LINKAGE)) is ErrorCode.NOT_A_MEMBER
    # its officers' signatures count no more, so the agreement is not in force
    assert await refusal(world.police.epoch(LINKAGE)) is ErrorCode.LINKAGE_UNKNOWN


# trust ----------------------------------------------------------------------------------------------------


async def test_trust_documents(world: World) -> None:
    federation = world.federation
    old = federation.registry_envelope.to_bytes()
    await world.care.publish_trust([], old)  # twice is harmless
    one_key = sim.signed(replace(federation.registry, version=2), [sim.key_of("root.ada")])
    assert await refusal(world.care.publish_trust([], one_key.to_bytes())) is ErrorCode.TRUST_SIGNATURES
    outdated = replace(federation.registry, version=2, expires=federation.now - timedelta(seconds=1))
    signed = sim.FederationSimulator().root_signed(outdated)
    assert await refusal(world.care.publish_trust([], signed.to_bytes())) is ErrorCode.TRUST_EXPIRED
    await world.care.publish_trust([], federation.new_registry().to_bytes())
    assert await refusal(world.care.publish_trust([], old)) is ErrorCode.TRUST_ROLLBACK
    assert await refusal(world.care.publish_trust([], b"{}")) is ErrorCode.TRUST_INVALID


async def test_an_expired_registry_lets_nobody_act(world: World) -> None:
    soon = world.federation.new_registry(expires=world.federation.now + timedelta(hours=1))
    await world.police.publish_trust([], soon.to_bytes())
    later = world.federation.now + timedelta(hours=2)
    world.broker._trust._clock = lambda: later
    assert await refusal(world.police.epoch(LINKAGE)) is ErrorCode.TRUST_EXPIRED
    await asked(world.police.registry.GetTrust(registry_pb2.GetTrustRequest()))
    fresh = world.federation.new_registry(expires=world.federation.now + timedelta(days=9))
    await world.police.publish_trust([], fresh.to_bytes())
    assert await refusal(world.police.epoch(LINKAGE)) is ErrorCode.LINKAGE_UNKNOWN


# documents ------------------------------------------------------------------------------------------------


async def test_documents_need_every_signature(world: World) -> None:
    federation = world.federation
    agreement = federation.agreement()
    incomplete = federation.signed_agreement(agreement, without=[NHS])
    assert await refusal(world.police.publish(incomplete)) is ErrorCode.QUORUM_NOT_MET
    whole = federation.signed_agreement(agreement)
    doubled = replace(whole, statements=(*whole.statements[:2], whole.statements[0]))
    assert await refusal(world.police.publish(doubled)) is ErrorCode.SIGNATURE_INVALID
    tampered = whole.statements[0].replace(b'"sig":"', b'"sig":"A')
    assert (await refusal(world.police.publish(replace(whole, statements=(tampered,))))) in {
        ErrorCode.DOCUMENT_INVALID,
        ErrorCode.SIGNATURE_INVALID,
    }
    assert await refusal(world.refuge.publish(whole)) is ErrorCode.NOT_A_PARTY
    broken = DocumentBundle(DocumentKind.LINKAGE_AGREEMENT, b"{}", ())
    assert await refusal(world.police.publish(broken)) is ErrorCode.DOCUMENT_INVALID
    await world.police.publish(whole)
    assert await world.care.publish(whole) == document_hash(agreement)
    rival = replace(agreement, epoch_days=30)
    assert (
        await refusal(world.care.publish(federation.signed_agreement(rival))) is ErrorCode.LIFECYCLE_REFUSED
    )


async def test_one_officer_does_not_sign_for_two(world: World) -> None:
    """The SIRO of care says to sign as Caldicott Guardian too."""
    federation = world.federation
    policy = federation.policy()
    bundle = federation.signed_policy(policy)
    page = page_hash(render_policy(policy))
    forged = federation.statement(document_hash(policy), page, CARE, "siro", OfficerRole.CALDICOTT_GUARDIAN)
    siro = federation.statement(document_hash(policy), page, CARE, "siro", OfficerRole.SIRO)
    rest = federation.signed_policy(policy, without=[CARE]).statements
    alone = replace(bundle, statements=(*rest, forged))
    assert await refusal(world.care.publish(alone)) is ErrorCode.QUORUM_NOT_MET
    both = replace(bundle, statements=(*rest, siro, forged))
    assert await refusal(world.care.publish(both)) is ErrorCode.SIGNATURE_INVALID


async def test_events_and_status(world: World) -> None:
    federation = world.federation
    policy = federation.policy()
    digest = await world.care.publish(federation.signed_policy(policy))
    suspend = federation.event(policy, PolicyAction.SUSPEND, 0)
    assert await refusal(world.police.publish_event("0" * 64, suspend)) is ErrorCode.DOCUMENT_UNKNOWN
    assert await refusal(world.refuge.publish_event(digest, suspend)) is ErrorCode.NOT_A_PARTY
    by_nobody = federation.event(policy, PolicyAction.SUSPEND, 0, agency=AgencyId("refuge"), officer="siro")
    assert await refusal(world.care.publish_event(digest, by_nobody)) is ErrorCode.LIFECYCLE_REFUSED
    await world.care.publish_event(digest, suspend)
    await world.care.publish_event(digest, suspend)  # the same again is harmless
    stale = federation.event(policy, PolicyAction.REACTIVATE, 0)
    assert await refusal(world.care.publish_event(digest, stale)) is ErrorCode.LIFECYCLE_REFUSED

    def status(version: int, provider: str = CARE, key: str = CARE) -> documents_pb2.PublishStatusRequest:
        snapshot = StatusSnapshot(
            federation.registry.federation,
            AgencyId(provider),
            version,
            federation.now,
            federation.now + timedelta(minutes=9),
            (PolicyStatus(policy.id, Hash256(digest), Stage.SUSPENDED, 1),),
        )
        envelope = sim.signed(snapshot, [sim.key_of(f"node {key}")])
        return documents_pb2.PublishStatusRequest(status_envelope=envelope.to_bytes())

    publish = world.care.documents.PublishStatus
    await asked(publish(status(5)))
    assert await refusal(publish(status(4))) is ErrorCode.STATUS_ROLLBACK
    assert await refusal(publish(status(6, key=NHS))) is ErrorCode.SIGNATURE_INVALID
    assert await refusal(publish(status(6, provider=NHS))) is ErrorCode.ACTING_FOR_ANOTHER
    held = await asked(world.police.documents.GetStatus(documents_pb2.GetStatusRequest(policy_hash=digest)))
    assert list(held.status_envelopes) == [status(5).status_envelope]


async def test_documents_are_listed_to_parties_only(world: World) -> None:
    bundle = world.federation.signed_policy(world.federation.policy())
    await world.care.publish(bundle)

    async def listed(client: Client) -> list[bytes]:
        stream = client.documents.ListDocuments(documents_pb2.ListDocumentsRequest())
        return [item.document.document_envelope async for item in stream]

    assert await listed(world.police) == [bundle.document]
    assert await listed(world.refuge) == []


# epochs ---------------------------------------------------------------------------------------------------


async def test_key_confirmation_and_rotation(world: World) -> None:
    await world.police.publish(world.federation.signed_agreement(world.federation.agreement()))
    assert await refusal(world.refuge.confirm(LINKAGE, 1)) is ErrorCode.NOT_A_PARTICIPANT
    assert await refusal(world.police.confirm("nothing", 1)) is ErrorCode.LINKAGE_UNKNOWN
    assert await refusal(world.police.confirm(LINKAGE, 2)) is ErrorCode.WRONG_EPOCH
    epoch = await world.police.epoch(LINKAGE)
    start = start_of(1, epoch.schema_hash)
    assert await refusal(world.police.begin(start)) is ErrorCode.EPOCH_NOT_OPEN
    await world.police.confirm(LINKAGE, 1)
    await world.police.confirm(LINKAGE, 1)
    assert await refusal(world.police.confirm(LINKAGE, 1, b"x" * 32)) is ErrorCode.KEY_MISMATCH
    await world.care.confirm(LINKAGE, 1)
    await world.nhs.confirm(LINKAGE, 1, b"x" * 32)
    assert (await world.police.epoch(LINKAGE)).state is EpochState.FAILED
    rotate = linkage_pb2.RotateEpochRequest(
        linkage_id=LINKAGE, current_epoch=1, reason=linkage_pb2.ROTATION_REASON_KEY_MISMATCH
    )
    for client in (world.police, world.care):
        assert (await asked(client.linkage.RotateEpoch(rotate))).epoch == 2
    for client in world.participants:
        await client.confirm(LINKAGE, 2)
    assert (await world.nhs.epoch(LINKAGE)).state is EpochState.OPEN


# uploads --------------------------------------------------------------------------------------------------


async def test_uploads_are_checked(world: World) -> None:
    epoch = await world.open_epoch()
    clks = person_clks(20)
    police, rows = world.police, batch(POLICE, range(10), clks)
    start = start_of(1, epoch.schema_hash)
    assert await refusal(police.begin(replace(start, schema_hash="0" * 64))) is ErrorCode.WRONG_SCHEMA
    assert await refusal(police.begin(replace(start, epoch=2))) is ErrorCode.WRONG_EPOCH
    assert await refusal(world.refuge.begin(start)) is ErrorCode.NOT_A_PARTICIPANT
    assert await refusal(police.begin(replace(start, row_count=10_000 * 32 + 1))) is ErrorCode.QUOTA_EXCEEDED
    assert await refusal(police.send_batches(start.upload_id, [(0, rows)])) is ErrorCode.UPLOAD_UNKNOWN
    await police.begin(start)
    assert await refusal(world.care.begin(start)) is ErrorCode.ACTING_FOR_ANOTHER
    assert await refusal(world.care.send_batches(start.upload_id, [(0, rows)])) is ErrorCode.UPLOAD_UNKNOWN

    async def sent(bad: EncodingBatch, sequence: int = 0) -> ErrorCode:
        return await refusal(police.send_batches(start.upload_id, [(sequence, bad)]))

    short = Column(rows.projections[0].present, rows.projections[0].values[:-1])
    assert await sent(replace(rows, projections=(short,))) is ErrorCode.WRONG_LENGTH
    assert await sent(replace(rows, projections=())) is ErrorCode.WRONG_SCHEMA
    assert await sent(replace(rows, handles=rows.handles[:-1])) is ErrorCode.BATCH_INVALID
    assert await sent(replace(rows, row_numbers=b"\x20" * 10)) is ErrorCode.TOO_LARGE
    assert await sent(replace(rows, withdrawn=(b"w" * 16,))) is ErrorCode.BATCH_INVALID
    assert await sent(rows, sequence=1) is ErrorCode.UPLOAD_OUT_OF_ORDER
    assert await sent(batch(POLICE, range(11), clks)) is ErrorCode.TOO_LARGE  # ten rows were announced
    assert await police.send_batches(start.upload_id, [(0, rows), (0, rows)]) == [0, 0]
    assert await sent(batch(POLICE, range(9), clks)) is ErrorCode.BATCH_INVALID  # another batch 0
    assert await refusal(police.commit(start.upload_id, 2, 10)) is ErrorCode.UPLOAD_INCOMPLETE
    assert (await police.begin(start)).next_sequence == 1
    assert await police.commit(start.upload_id, 1, 10) == 10
    assert await police.commit(start.upload_id, 1, 10) == 10
    assert (await police.begin(start)).committed
    twice = replace(start, upload_id=secrets.token_hex(16), row_count=20)
    await police.begin(twice)
    await police.send_batches(twice.upload_id, [(0, rows), (1, rows)])
    assert await refusal(police.commit(twice.upload_id, 2, 20)) is ErrorCode.BATCH_INVALID


async def test_a_message_over_the_limit_is_cut_off(world: World) -> None:
    await world.open_epoch()
    huge = message(CARE, b"x" * (5 * 1024 * 1024))
    assert await refusal(world.police.send(huge)) is ErrorCode.TOO_LARGE
    assert (
        await refusal(world.police.send(message(CARE, b"x" * (2 * 1024 * 1024 + 1)))) is ErrorCode.TOO_LARGE
    )


async def test_more_subjects_than_declared(tmp_path: Path) -> None:
    async with running_world(tmp_path, store=MemoryStore()) as world:
        agreement: LinkageAgreement = world.federation.agreement()
        few = tuple(replace(item, declared_population=5) for item in agreement.participants)
        await world.police.publish(world.federation.signed_agreement(replace(agreement, participants=few)))
        for client in world.participants:
            await client.confirm(LINKAGE, 1)
        epoch = await world.police.epoch(LINKAGE)
        rows = batch(POLICE, range(6), person_clks(6))
        assert await refusal(world.police.upload(epoch, LINKAGE, rows)) is ErrorCode.QUOTA_EXCEEDED


async def test_runs_are_for_participants_with_data(world: World) -> None:
    epoch = await world.open_epoch()
    assert await refusal(world.police.start_run(LINKAGE, 1)) is ErrorCode.NOTHING_TO_MATCH
    assert await refusal(world.police.start_run(LINKAGE, 7)) is ErrorCode.WRONG_EPOCH
    assert await refusal(world.refuge.start_run(LINKAGE, 1)) is ErrorCode.NOT_A_PARTICIPANT
    assert await refusal(world.police.watch_run("none")) is ErrorCode.RUN_UNKNOWN
    await world.police.upload(epoch, LINKAGE, batch(POLICE, range(3), person_clks(3)))
    assert await refusal(world.police.start_run(LINKAGE, 1)) is ErrorCode.NOTHING_TO_MATCH
    look_up = batch(POLICE, range(2), person_clks(2))
    assert await refusal(world.police.look_up(epoch, LINKAGE, look_up)) is ErrorCode.BATCH_INVALID


# relay ----------------------------------------------------------------------------------------------------


async def test_relay_delivers_once_and_refuses_replays(world: World) -> None:
    first = message(CARE, b"one")
    assert not await world.police.send(first)
    assert await world.police.send(first)
    assert await refusal(world.police.send(replace(first, sealed=b"two"))) is ErrorCode.MESSAGE_REPLAYED
    assert await refusal(world.police.send(message("ghost"))) is ErrorCode.NOT_A_MEMBER
    assert await refusal(world.police.send(message(POLICE))) is ErrorCode.INVALID_ARGUMENT
    assert await refusal(world.police.send(message(b"t" * 16))) is ErrorCode.TOKEN_UNKNOWN
    assert await refusal(world.police.send(message(CARE, seconds=-5))) is ErrorCode.MESSAGE_EXPIRED
    (one,) = await world.care.receive(1)
    (again,) = await world.care.receive(1)  # not acknowledged yet
    assert one == again
    await world.nhs.acknowledge(one.message_id)  # another's acknowledgement does nothing
    await world.police.send(message(CARE, b"three"))
    both = await world.care.receive(2)
    assert [item.sealed for item in both] == [b"one", b"three"]
    await world.care.acknowledge(*(item.message_id for item in both))
    assert await world.police.send(first)  # delivered long ago, still not delivered twice
    await world.police.send(message(CARE, b"four"))
    assert [item.sealed for item in await world.care.receive(1)] == [b"four"]


async def test_a_full_mailbox(tmp_path: Path) -> None:
    async with running_world(tmp_path, store=MemoryStore(), relay={"waiting_messages": 2}) as world:
        for _ in range(2):
            await world.police.send(message(CARE))
        assert await refusal(world.police.send(message(CARE))) is ErrorCode.MAILBOX_FULL
        await world.police.send(message(NHS))


async def test_tokens_are_the_recipients_own(world: World) -> None:
    """Both sides of a link learn of it, by tokens that have nothing in common."""
    epoch = await world.open_epoch()
    clks = person_clks(8)
    for client in (world.police, world.care):
        await client.upload(epoch, LINKAGE, batch(client.agency, range(8), clks))
    await world.police.run(LINKAGE, 1)
    clause = sim.sample_clauses()[0]
    policy = world.federation.policy(
        parties=mutual_parties(POLICE, CARE, REFUGE),
        clauses=(replace(clause, providers=(POLICE, CARE), recipients=(POLICE, CARE)),),
        governance=replace(sim.sample_policy().governance, dpo_advice=()),
    )
    await world.care.publish(world.federation.signed_policy(policy))
    police = {event.link.token: event.link for event in await world.police.link_events(LINKAGE)}
    care = {event.link.token: event.link for event in await world.care.link_events(LINKAGE)}
    assert len(police) == len(care) == 8
    assert not police.keys() & care.keys()
    assert {link.handle for link in police.values()} == set(handles(POLICE, range(8)))
    assert {link.handle for link in care.values()} == set(handles(CARE, range(8)))
    assert await refusal(world.refuge.link_events(LINKAGE)) is ErrorCode.NOT_A_PARTICIPANT
    mine, theirs = next(iter(police)), next(iter(care))
    assert await refusal(world.police.send(message(theirs))) is ErrorCode.TOKEN_UNKNOWN
    await world.police.send(message(mine))


async def test_a_hidden_agency_cannot_be_addressed(world: World) -> None:
    epoch = await world.open_epoch()
    clks = person_clks(4)
    for client in (world.police, world.nhs):
        await client.upload(epoch, LINKAGE, batch(client.agency, range(4), clks))
    await world.police.run(LINKAGE, 1)
    await world.care.publish(world.federation.signed_policy(world.federation.policy()))
    (first, *_) = await world.police.link_events(LINKAGE)
    assert (first.link.counterpart, first.link.policy_hash) == (None, "")
    assert await refusal(world.police.send(message(first.link.token))) is ErrorCode.NOT_ALLOWED


# audit ----------------------------------------------------------------------------------------------------


async def test_leaves_are_read_in_parts(world: World) -> None:
    async def read(count: int) -> list[bytes]:
        request = audit_pb2.ReadLeavesRequest(end=count)
        return [item.leaf async for item in world.nhs.audit.ReadLeaves(request)]

    assert await asked(read(LIMITS.leaves_per_read))
    assert await refusal(read(LIMITS.leaves_per_read + 1)) is ErrorCode.TOO_LARGE


async def test_the_log_can_be_witnessed(world: World) -> None:
    audit, key = world.nhs.audit, sim.key_of("broker").verify_key

    async def checkpoint() -> bytes:
        return (await asked(audit.GetCheckpoint(audit_pb2.GetCheckpointRequest()))).checkpoint

    origin = f"{world.federation.ca.federation}/broker/audit"
    old = verify_checkpoint(parse_checkpoint(await checkpoint()), origin, key)
    await world.open_epoch()
    new = verify_checkpoint(parse_checkpoint(await checkpoint()), origin, key)
    assert new.size > old.size > 0
    request = audit_pb2.GetConsistencyProofRequest(old_size=old.size, new_size=new.size)
    proof = (await asked(audit.GetConsistencyProof(request))).hashes
    verify_consistency(old.size, old.root, new.size, new.root, tuple(proof))
    name = f"{world.federation.ca.federation}/agency/{NHS}/witness"

    def cosigned(label: str, key_name: str) -> audit_pb2.AddCosignatureRequest:
        line = cosign(new, key_name, sim.key_of(label), world.federation.now).line
        return audit_pb2.AddCosignatureRequest(size=new.size, cosignature=line.encode())

    await asked(audit.AddCosignature(cosigned(f"node {NHS}", name)))
    assert name in (await checkpoint()).decode()
    impostor = cosigned(f"node {CARE}", name)
    assert await refusal(audit.AddCosignature(impostor)) is ErrorCode.SIGNATURE_INVALID
    other = name.replace(NHS, CARE)
    assert (
        await refusal(audit.AddCosignature(cosigned(f"node {CARE}", other))) is ErrorCode.ACTING_FOR_ANOTHER
    )
    beyond = audit_pb2.GetConsistencyProofRequest(old_size=1, new_size=10**6)
    assert await refusal(audit.GetConsistencyProof(beyond)) is ErrorCode.INVALID_ARGUMENT

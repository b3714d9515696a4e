"""The mailbox: durable, once, and not to be fooled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agency_node.deferred import DeferredMessages
from agency_node.errors import RetryLaterError
from agency_node.keys import NodeKeys, Wrapper
from agency_node.mailbox import Mailbox, OpenedMessage
from agency_node.model import CarriedRelease, OutboxItem
from agency_node.store.store import NodeStore, NodeTransaction
from crypto.audit import AuditAction
from crypto.envelope import Envelope, sign_envelope
from crypto.keys import generate_sealing_key
from policies.ids import AgencyId
from policies.registry import Registry
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.relay import IncomingMessage, ToAgency
from tests.nodes import until
from tests.simulator.databases import migrate
from tests.simulator.node_audit import RecordedAudit
from tests.simulator.policies import CARE, FEDERATION, NHS, NOW, POLICE, FederationSimulator, key_of
from tests.simulator.relay import RelayHub, RelayPort

PURPOSE = "disclosure-request"
TYPE = "application/vnd.tallystick.test.v1+json"


@dataclass
class Side:
    """One node's mailbox on a store of its own."""

    store: NodeStore
    mailbox: Mailbox
    audit: RecordedAudit
    got: list[OpenedMessage]

    async def post(self, text: bytes, to: AgencyId, signer: str | None = None, **options: datetime) -> str:
        envelope = sign_envelope(TYPE, text, [key_of(signer or "node police")])
        async with self.store.transaction() as tx:
            return await self.mailbox.post(tx, ToAgency(to), to, PURPOSE, envelope, **options)


class World:
    def __init__(self) -> None:
        self.now = NOW
        self.hub = RelayHub()
        self.sealing = {name: generate_sealing_key("x25519") for name in (POLICE, CARE, NHS)}
        base = FederationSimulator().registry()
        self.registry: Registry | None = replace(
            base,
            agencies=tuple(
                replace(item, sealing_key=self.sealing[item.id].public_key)
                if item.id in self.sealing
                else item
                for item in base.agencies
            ),
        )

    def registry_at(self, _now: datetime) -> Registry:
        if self.registry is None:
            raise RefusedError(ErrorCode.TRUST_EXPIRED, "expired")
        return self.registry

    async def side(self, agency: AgencyId, path: Path) -> Side:
        store = NodeStore.open(f"sqlite:///{path}")
        await migrate(store.engine)
        wrapper = Wrapper(bytes(32))
        keys = NodeKeys(
            FEDERATION, agency, key_of(f"node {agency}"), (self.sealing[agency],), wrapper, wrapper
        )
        audit = RecordedAudit()
        mailbox = Mailbox(store, keys, self.registry_at, audit, lambda: self.now)
        got: list[OpenedMessage] = []

        async def handler(_tx: NodeTransaction, message: OpenedMessage) -> None:
            got.append(message)

        mailbox.on(PURPOSE, handler)
        return Side(store, mailbox, audit, got)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[World, Side, Side]]:
    world = World()
    police, care = (
        await world.side(POLICE, tmp_path / "police.db"),
        await world.side(CARE, tmp_path / "care.db"),
    )
    yield world, police, care
    await police.store.close()
    await care.store.close()


async def drain(world: World, side: Side, agency: AgencyId) -> list[str]:
    port = world.hub.port(agency)
    await side.mailbox.receive_loop(port)
    return port.acknowledged


async def test_arrives_once_signed_and_acknowledged(pair: tuple[World, Side, Side]) -> None:
    world, police, care = pair
    message_id = await police.post(b"hello", CARE)
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 1
    (sealed,) = world.hub.waiting[CARE]
    assert b"hello" not in sealed.sealed
    assert await drain(world, care, CARE) == [message_id]
    assert await drain(world, care, CARE) == []
    (message,) = care.got
    assert (message.sender, message.envelope.payload) == (POLICE, b"hello")
    # delivered again by a relay that forgot the acknowledgement: acknowledged, without effect
    world.hub.waiting[CARE].append(sealed)
    assert await drain(world, care, CARE) == [message_id]
    assert len(care.got) == 1


async def test_waits_in_the_outbox_until_the_relay_can_be_reached(pair: tuple[World, Side, Side]) -> None:
    world, police, care = pair
    await police.post(b"later", CARE)
    world.hub.reachable = False
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 0
    world.hub.reachable = True
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 0  # not before its next try
    world.now += timedelta(minutes=1)
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 1
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 0
    await drain(world, care, CARE)
    assert [message.envelope.payload for message in care.got] == [b"later"]


async def test_nothing_leaves_when_the_transaction_is_undone(pair: tuple[World, Side, Side]) -> None:
    world, police, _ = pair
    envelope = sign_envelope(TYPE, b"never", [key_of("node police")])
    with pytest.raises(ZeroDivisionError):
        async with police.store.transaction() as tx:
            await police.mailbox.post(tx, ToAgency(CARE), CARE, PURPOSE, envelope)
            raise ZeroDivisionError
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 0


async def test_refused_for_good_tells_whoever_sent_it(pair: tuple[World, Side, Side]) -> None:
    world, police, _ = pair
    told: list[tuple[str, ErrorCode]] = []

    async def undeliverable(_tx: NodeTransaction, message: str, _purpose: str, refusal: RefusedError) -> None:
        told.append((message, refusal.code))

    police.mailbox.on_undeliverable(PURPOSE, undeliverable)
    message_id = await police.post(b"nobody", CARE)
    world.hub.refuses = ErrorCode.TOKEN_UNKNOWN
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 1
    expiring = await police.post(b"late", CARE, expires=world.now + timedelta(minutes=5))
    world.hub.refuses = ErrorCode.MAILBOX_FULL
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 0
    world.now += timedelta(minutes=6)
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 1
    assert told == [(message_id, ErrorCode.TOKEN_UNKNOWN), (expiring, ErrorCode.MESSAGE_EXPIRED)]


@dataclass
class Guard:
    """Lets a release leave, or not, or fails."""

    verdict: bool | Exception
    withdrawn: list[str] = field(default_factory=list)

    def carried(self, envelope: Envelope) -> CarriedRelease | None:
        return CarriedRelease("a" * 64, NOW, "c" * 64) if envelope.payload == b"release" else None

    async def stands(self, _tx: NodeTransaction, _item: OutboxItem, _release: CarriedRelease) -> bool:
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    async def withdraw(self, _tx: NodeTransaction, item: OutboxItem, _release: CarriedRelease) -> None:
        self.withdrawn.append(item.message_id)


@pytest.mark.parametrize(
    ("verdict", "leaves"), [(True, True), (False, False), (RuntimeError("broken"), False)]
)
async def test_a_release_leaves_only_where_its_guard_says_so(
    pair: tuple[World, Side, Side], verdict: bool | Exception, leaves: bool
) -> None:
    world, police, care = pair
    guard = Guard(verdict)
    police.mailbox.before_sending(PURPOSE, guard)
    message_id = await police.post(b"release", CARE)
    await police.post(b"refusal", CARE)
    await police.mailbox.send_due(world.hub.port(POLICE))
    await drain(world, care, CARE)
    sent = {message.envelope.payload for message in care.got}
    assert sent == ({b"release", b"refusal"} if leaves else {b"refusal"})
    assert guard.withdrawn == ([message_id] if verdict is False else [])
    async with police.store.transaction() as tx:
        assert await tx.outbox.count() == (1 if isinstance(verdict, Exception) else 0)


async def test_nothing_is_withdrawn_while_the_broker_is_out_of_reach(pair: tuple[World, Side, Side]) -> None:
    world, police, _ = pair
    guard = Guard(False)
    police.mailbox.before_sending(PURPOSE, guard)
    message_id = await police.post(b"release", CARE, expires=world.now + timedelta(minutes=5))
    world.hub.reachable = False
    for _ in range(9):
        assert await police.mailbox.send_due(world.hub.port(POLICE)) == 0
        world.now += timedelta(minutes=2)
    assert guard.withdrawn == []
    world.hub.reachable = True
    assert await police.mailbox.send_due(world.hub.port(POLICE)) == 1
    assert guard.withdrawn == [message_id] and CARE not in world.hub.waiting


def test_a_purpose_has_one_guard(pair: tuple[World, Side, Side]) -> None:
    _, police, _ = pair
    police.mailbox.before_sending(PURPOSE, Guard(True))
    for purpose in (PURPOSE, "no purpose"):
        with pytest.raises(AssertionError):
            police.mailbox.before_sending(purpose, Guard(True))


def _altered(message: IncomingMessage) -> IncomingMessage:
    return replace(message, sealed=message.sealed[:-1] + bytes([message.sealed[-1] ^ 1]))


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_altered, ErrorCode.MESSAGE_TAMPERED),
        (lambda m: replace(m, sender="care"), ErrorCode.MESSAGE_TAMPERED),
        (lambda m: replace(m, message_id="0" * 32), ErrorCode.MESSAGE_TAMPERED),
        (lambda m: replace(m, sealed=b""), ErrorCode.MESSAGE_TAMPERED),
        (lambda m: replace(m, sender="stranger"), ErrorCode.NOT_A_MEMBER),
        (lambda m: replace(m, sender="NOT AN ID"), ErrorCode.NOT_A_MEMBER),
        (lambda m: replace(m, purpose="erasure-notice"), ErrorCode.INVALID_ARGUMENT),
    ],
)
async def test_tampered_is_audited_acknowledged_and_dropped(
    pair: tuple[World, Side, Side], tamper: object, code: ErrorCode
) -> None:
    world, police, care = pair
    await police.post(b"bad", CARE)
    await police.post(b"good", CARE)
    await police.mailbox.send_due(world.hub.port(POLICE))
    assert callable(tamper)
    box = world.hub.waiting[CARE]
    box[0] = tamper(box[0])
    assert len(await drain(world, care, CARE)) == 2  # the bad one does not block the good one
    assert [message.envelope.payload for message in care.got] == [b"good"]
    assert [(action, body["code"]) for action, body in care.audit.entries] == [
        (AuditAction.IDENTITY_REFUSED, str(code))
    ]


async def test_sealed_right_but_signed_by_another_is_refused(pair: tuple[World, Side, Side]) -> None:
    """The broker, or a third agency, seals to care's public key: the signature inside decides."""
    world, police, care = pair
    await police.post(b"forged", CARE, signer="node nhs")
    await police.mailbox.send_due(world.hub.port(POLICE))
    await drain(world, care, CARE)
    assert care.got == []
    assert care.audit.actions() == [AuditAction.IDENTITY_REFUSED]


async def test_handler_and_note_are_one_transaction(pair: tuple[World, Side, Side], tmp_path: Path) -> None:
    world, police, _ = pair
    nhs_like = await world.side(CARE, tmp_path / "other.db")
    calls = 0

    async def failing(_tx: NodeTransaction, message: OpenedMessage) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("a fault")
        if calls == 2:
            raise RetryLaterError("too early")

    nhs_like.mailbox._handlers[PURPOSE] = failing
    await police.post(b"again", CARE)
    await police.mailbox.send_due(world.hub.port(POLICE))
    for acknowledged in (0, 0, 1, 0):
        assert len(await drain(world, nhs_like, CARE)) == acknowledged
    assert calls == 3
    assert nhs_like.audit.entries == []
    await nhs_like.store.close()


async def tried(side: Side, port: RelayPort, message: IncomingMessage, times: int = 10) -> None:
    for _ in range(times):
        await side.mailbox.take(port, message)


async def test_what_comes_too_early_is_refused_when_its_patience_is_over(
    pair: tuple[World, Side, Side],
) -> None:
    world, police, care = pair

    async def early(_tx: NodeTransaction, message: OpenedMessage) -> None:
        if message.envelope.payload == b"fault":
            raise RuntimeError("a fault")
        patience = {b"key": {"patience": timedelta(minutes=15)}}.get(message.envelope.payload, {})
        raise RetryLaterError("too early", **patience)

    care.mailbox._handlers[PURPOSE] = early
    ids = [await police.post(text, CARE) for text in (b"key", b"push", b"fault")]
    await police.mailbox.send_due(world.hub.port(POLICE))
    port, messages = world.hub.port(CARE), list(world.hub.waiting[CARE])
    refused: list[str] = []
    for passed, expected in (
        (timedelta(minutes=14), []),
        (timedelta(minutes=2), ids[:1]),
        (timedelta(hours=20), ids[:1]),
        (timedelta(hours=4), ids[:2]),
        (timedelta(days=3), ids),
    ):
        for message in messages:
            if message.message_id not in refused:
                await tried(care, port, message)
        world.now += passed
        for message in messages:
            if message.message_id not in refused:
                await tried(care, port, message, 1)
        refused = port.acknowledged
        assert refused == expected
    codes = [body["code"] for _, body in care.audit.entries]
    assert codes == [str(ErrorCode.MESSAGE_EXPIRED)] * 3
    assert len(care.mailbox._deferred) == 0


async def test_a_lost_connection_does_not_use_up_a_messages_patience(pair: tuple[World, Side, Side]) -> None:
    world, police, care = pair

    async def early(_tx: NodeTransaction, _message: OpenedMessage) -> None:
        raise RetryLaterError("too early", timedelta(minutes=15))

    care.mailbox._handlers[PURPOSE] = early
    await police.post(b"key", CARE)
    await police.mailbox.send_due(world.hub.port(POLICE))
    (message,) = world.hub.waiting[CARE]
    await tried(care, world.hub.port(CARE), message)
    assert await drain(world, care, CARE) == []  # the end of a connection
    world.now += timedelta(hours=1)
    assert await drain(world, care, CARE) == []
    await tried(care, world.hub.port(CARE), message)
    assert world.hub.waiting[CARE] == []


async def test_one_senders_early_messages_take_no_place_of_anothers(
    pair: tuple[World, Side, Side], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, police, care = pair
    assert world.registry is not None
    monkeypatch.setattr("agency_node.mailbox.DEFERRED_AT_MOST", 2 * len(world.registry.agencies))
    ready: list[bytes] = []

    async def handler(_tx: NodeTransaction, message: OpenedMessage) -> None:
        if not ready:
            raise RetryLaterError("too early")
        ready.append(message.envelope.payload)

    care.mailbox._handlers[PURPOSE] = handler
    nhs = await world.side(NHS, tmp_path / "nhs.db")
    for number in range(5):
        await police.post(b"flood %d" % number, CARE)
    await nhs.post(b"honest", CARE, signer="node nhs")
    await police.mailbox.send_due(world.hub.port(POLICE))
    await nhs.mailbox.send_due(world.hub.port(NHS))
    assert len(await drain(world, care, CARE)) == 3
    assert [body["code"] for _, body in care.audit.entries] == [str(ErrorCode.MAILBOX_FULL)] * 3
    ready.append(b"now")
    assert len(await drain(world, care, CARE)) == 3
    assert ready == [b"now", b"flood 0", b"flood 1", b"honest"]
    await nhs.store.close()


def messages_of(count: int) -> list[IncomingMessage]:
    return [IncomingMessage(f"{n:032x}", "police", PURPOSE, b"", None) for n in range(count)]


def test_each_deferred_message_is_tried_later_and_later_and_few_at_once() -> None:
    deferred = DeferredMessages()
    messages = messages_of(120)
    for message in messages:
        assert deferred.hold(message, NOW, 0.0, 200, 0) is not None
    assert deferred.due(0.4) == []
    assert deferred.due(0.5) == messages[:50]
    waits = []
    for _ in range(10):
        held = deferred.hold(messages[0], NOW, 100.0, 200, 0)
        assert held is not None
        waits.append(held.due - 100.0)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    deferred.release(messages[0])
    assert deferred.hold(messages[0], NOW, 0.0, 119, 0) is None
    assert len(deferred) == 119


def test_hurried_messages_take_their_turns() -> None:
    """However often they are hurried, none is tried a second time before the others were."""
    deferred = DeferredMessages()
    messages = messages_of(120)
    for message in messages:
        assert deferred.hold(message, NOW, 0.0, 200, 0)
    tried: list[IncomingMessage] = []
    for second in range(1, 4):
        deferred.hurry(float(second) / 10)
        for message in deferred.due(float(second) / 10):
            tried.append(message)
            assert deferred.hold(message, NOW, second / 10, 200, deferred.hurries)
    assert sorted(tried[:120], key=messages.index) == messages


def test_a_hurried_try_uses_up_no_patience() -> None:
    deferred = DeferredMessages()
    (message,) = messages_of(1)
    for _ in range(3):
        assert deferred.hold(message, NOW, 0.0, 200, 0)
    for hurries in range(1, 30):
        deferred.hurry(1.0)
        held = deferred.hold(message, NOW, 1.0, 200, hurries)
        assert held is not None and (held.tries, held.due) == (3, 3.0)


def test_what_comes_while_a_message_is_tried_makes_it_due_at_once() -> None:
    deferred = DeferredMessages()
    (message,) = messages_of(1)
    assert deferred.hold(message, NOW, 0.0, 200, 0)
    deferred.hurry(5.0)
    assert deferred.hold(message, NOW, 6.0, 200, 0)
    assert deferred.due(6.0) == [message]


class _StaysOpen(RelayPort):
    """A connection that goes on when nothing more waits, as a real one does."""

    async def receive(self) -> AsyncGenerator[IncomingMessage, None]:
        async for item in super().receive():
            yield item
        await asyncio.Event().wait()


async def test_what_was_too_early_is_tried_at_once_when_what_it_waits_for_has_come(
    pair: tuple[World, Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, police, care = pair
    monkeypatch.setattr("agency_node.mailbox._RETRY_SECONDS", 3_600.0)
    tries = asyncio.Queue[bool]()
    known = False

    async def handler(_tx: NodeTransaction, _message: OpenedMessage) -> None:
        tries.put_nowait(known)
        if not known:
            raise RetryLaterError("too early")

    async def waits() -> bool:
        return len(care.mailbox._deferred) > 0

    care.mailbox._handlers[PURPOSE] = handler
    await police.post(b"early", CARE)
    await police.mailbox.send_due(world.hub.port(POLICE))
    port = _StaysOpen(world.hub, CARE)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        receiving = group.create_task(care.mailbox.receive_loop(port))
        assert await tries.get() is False
        await until(waits)
        known = True
        care.mailbox.retry()
        assert await tries.get() is True
        receiving.cancel()


async def test_without_a_registry_in_force_messages_wait(pair: tuple[World, Side, Side]) -> None:
    world, police, care = pair
    await police.post(b"wait", CARE)
    await police.mailbox.send_due(world.hub.port(POLICE))
    held, world.registry = world.registry, None
    assert await drain(world, care, CARE) == []
    with pytest.raises(RefusedError) as refused:
        await police.post(b"no", CARE)
    assert refused.value.code is ErrorCode.TRUST_EXPIRED
    world.registry = held
    assert len(await drain(world, care, CARE)) == 1
    assert len(care.got) == 1


async def test_unknown_recipient_is_refused(pair: tuple[World, Side, Side]) -> None:
    _, police, _ = pair
    with pytest.raises(RefusedError, match="does not list"):
        await police.post(b"x", AgencyId("stranger"))

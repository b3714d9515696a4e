"""Sealed messages between nodes over the relay: a durable outbox, and an inbox where each counts once.

What goes out is stored in the transaction of whatever it reports; a background task hands it to the broker
until it is accepted. A release may have waited long: a guard is asked just before whether it still stands,
and takes it back where it does not. What comes in has its effect in one transaction with the note that it had
it, and is acknowledged to the broker after that transaction only. So a message may come twice and never acts
twice.

A message that does not open, or is not signed by whom the broker says, is put into the audit log,
acknowledged and dropped. One whose handler refuses it likewise. One that is too early (`RetryLaterError`) or
meets a fault waits aside and is tried again, while others pass; when it has waited for too long, or too many
of its sender's wait already, it is refused too.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from agency_node.deferred import DEFERRED_AT_MOST, DeferredMessages
from agency_node.errors import RetryLaterError
from agency_node.model import CarriedRelease, OutboxItem
from agency_node.ports import AuditSink, Clock, NodeIdentity
from agency_node.refusals import translate
from agency_node.store.store import NodeStore, NodeTransaction
from crypto.audit import AuditAction
from crypto.envelope import Envelope, require_signature
from crypto.errors import CryptoError, SealError
from crypto.seal import SealContext, open_sealed, seal_to
from policies.ids import AgencyId, IdError
from policies.registry import Registry
from protos.wire.errors import CATALOGUE, ErrorCode, RefusedError, UnavailableError
from protos.wire.limits import LIMITS
from protos.wire.relay import IncomingMessage, LinkReference, OutgoingMessage, ToAgency, ToLink

_log = structlog.get_logger("mailbox")

#: The purposes that nodes use; nothing else is sent or accepted.
PURPOSES = frozenset(
    {
        "key-commitment",
        "key-contribution",
        "key-dispute",
        "disclosure-request",
        "disclosure-answer",
        "disclosure-receipt",
        "link-recall",
        "erasure-notice",
        "erasure-receipt",
        "break-glass-notice",
        "push-offer",
        "push-evidence",
        "witness-request",
        "witness-answer",
    }
)
DEFAULT_LIFETIME = timedelta(days=7)
#: The broker keeps nothing longer, so that a copy of an older message can only be a replay that it refuses.
REMEMBERED = timedelta(seconds=2 * LIMITS.relay_ttl_seconds)
_RETRY_SECONDS = 0.5
_RETRY_MOST = 60.0
#: Before a message is refused for waiting too long it was tried so often, over some minutes of a connection.
_TRIES_AT_LEAST = 10
#: How long a message waits that meets a fault of this node.
_FAULT_PATIENCE = timedelta(days=3)
#: Refusals after which sending again could not help.
_HOPELESS = frozenset(
    {
        ErrorCode.TOKEN_UNKNOWN,
        ErrorCode.MESSAGE_EXPIRED,
        ErrorCode.MESSAGE_REPLAYED,
        ErrorCode.TOO_LARGE,
        ErrorCode.INVALID_ARGUMENT,
    }
)


@dataclass(frozen=True, slots=True)
class OpenedMessage:
    """A message that opened and whose envelope is signed by the sender's registry key."""

    message_id: str
    sender: AgencyId
    purpose: str
    envelope: Envelope = field(repr=False)
    #: Which of this agency's own subjects, for a message addressed by link token.
    link: LinkReference | None
    received: datetime


Handler = Callable[[NodeTransaction, OpenedMessage], Awaitable[None]]
#: Called when the broker will never accept a message: (transaction, message id, purpose, refusal).
Undeliverable = Callable[[NodeTransaction, str, str, RefusedError], Awaitable[None]]
#: The registry in force at a moment; raises RefusedError where there is none.
RegistryAt = Callable[[datetime], Registry]


class SendingGuard(Protocol):
    """Says of what waits to be sent whether it may still leave. Where it fails, nothing leaves."""

    def carried(self, envelope: Envelope) -> CarriedRelease | None:
        """The release in an envelope that is queued; None for one that may leave at any time."""
        ...

    async def stands(self, tx: NodeTransaction, item: OutboxItem, release: CarriedRelease) -> bool:
        """Whether a release may leave at this moment. An error is a delay."""
        ...

    async def withdraw(self, tx: NodeTransaction, item: OutboxItem, release: CarriedRelease) -> None:
        """Does what follows from its not leaving, in the transaction that takes it out of the queue."""
        ...


class Relay(Protocol):
    """The broker's relay as the mailbox uses it."""

    async def send(self, message: OutgoingMessage) -> bool: ...

    def receive(self) -> AsyncGenerator[IncomingMessage, None]: ...

    async def acknowledge(self, message_ids: Sequence[str]) -> None: ...


class Mailbox:
    """The node's outbox and inbox."""

    def __init__(
        self,
        store: NodeStore,
        identity: NodeIdentity,
        registry_at: RegistryAt,
        audit: AuditSink,
        clock: Clock,
    ) -> None:
        self._store = store
        self._identity = identity
        self._registry_at = registry_at
        self._audit = audit
        self._clock = clock
        self._handlers: dict[str, Handler] = {}
        self._undeliverable: dict[str, Undeliverable] = {}
        self._guards: dict[str, SendingGuard] = {}
        self._outgoing = asyncio.Event()
        self._deferred = DeferredMessages()
        self._again = asyncio.Event()

    def on(self, purpose: str, handler: Handler) -> None:
        """Hands messages of a purpose to `handler`, in the transaction that notes them as received."""
        if purpose not in PURPOSES or purpose in self._handlers:
            raise AssertionError(f"{purpose!r} is no purpose, or has a handler already")
        self._handlers[purpose] = handler

    def on_undeliverable(self, purpose: str, handler: Undeliverable) -> None:
        """Tells `handler` of messages of a purpose that the broker refuses for good."""
        self._undeliverable[purpose] = handler

    def before_sending(self, purpose: str, guard: SendingGuard) -> None:
        """Asks `guard` about every message of a purpose, just before it is handed to the broker."""
        if purpose not in PURPOSES or purpose in self._guards:
            raise AssertionError(f"{purpose!r} is no purpose, or has a guard already")
        self._guards[purpose] = guard

    async def post(
        self,
        tx: NodeTransaction,
        address: ToAgency | ToLink,
        recipient: AgencyId,
        purpose: str,
        envelope: Envelope,
        expires: datetime | None = None,
    ) -> str:
        """Seals a signed envelope to the recipient's registry key and queues it; returns the message id.

        It leaves only after the caller's transaction has committed: call `nudge` then, or wait a second.

        Raises:
            RefusedError: NOT_A_MEMBER for a recipient whom the registry does not list, TRUST_EXPIRED,
                TOO_LARGE.
        """
        if purpose not in PURPOSES:
            raise AssertionError(f"{purpose!r} is no purpose of a message")
        now = self._clock()
        agency = self._registry_at(now).agency(recipient)
        if agency is None:
            raise RefusedError(ErrorCode.NOT_A_MEMBER, f"the registry does not list {recipient}")
        message_id = secrets.token_hex(16)
        context = SealContext(purpose, str(self._identity.agency), str(recipient), message_id)
        sealed = seal_to(agency.sealing_key, envelope.to_bytes(), context)
        if len(sealed) > LIMITS.sealed_bytes:
            raise RefusedError(
                ErrorCode.TOO_LARGE, f"a message of {len(sealed)} bytes; {LIMITS.sealed_bytes} are allowed"
            )
        until = min(expires or now + DEFAULT_LIFETIME, now + timedelta(seconds=LIMITS.relay_ttl_seconds - 60))
        guard = self._guards.get(purpose)
        release = None if guard is None else guard.carried(envelope)
        await tx.outbox.add(OutboxItem(message_id, address, purpose, sealed, until, release=release))
        return message_id

    def nudge(self) -> None:
        """Something was queued and committed: send it now."""
        self._outgoing.set()

    def retry(self) -> None:
        """What a message waits for may have come: try those that were too early again now."""
        self._deferred.hurry(time.monotonic())
        self._again.set()

    # -- out

    async def send_loop(self, relay: Relay, poll_seconds: float = 1.0) -> None:
        """Hands queued messages to the broker, for ever. Errors of the connection are only delays."""
        while True:
            self._outgoing.clear()
            sent = await self.send_due(relay)
            if not sent:
                try:
                    async with asyncio.timeout(poll_seconds):
                        await self._outgoing.wait()
                except TimeoutError:
                    continue

    async def send_due(self, relay: Relay) -> int:
        """Tries every message that may be tried now; returns how many left the queue."""
        async with self._store.transaction() as tx:
            due = await tx.outbox.due(self._clock())
        gone = 0
        for item in due:
            gone += await self._send(relay, item)
        return gone

    async def _send(self, relay: Relay, item: OutboxItem) -> bool:
        guard = self._guards.get(item.purpose)
        if guard is not None and item.release is not None:
            try:
                if not await self._stands(guard, item, item.release):
                    return await self._withdraw(relay, guard, item, item.release)
            except Exception as error:  # noqa: BLE001 - an error keeps a release here, whatever it is
                if not isinstance(error, UnavailableError):
                    _log.warning("release not sent", error=type(error).__name__)
                await self._postpone(item)
                return False
        message = OutgoingMessage(item.message_id, item.address, item.purpose, item.sealed, item.expires)
        if item.expires <= self._clock():
            await self._give_up(
                item, RefusedError(ErrorCode.MESSAGE_EXPIRED, "it waited too long to be sent")
            )
            return True
        try:
            await relay.send(message)
        except RefusedError as refusal:
            if refusal.code in _HOPELESS:
                await self._give_up(item, refusal)
                return True
            await self._postpone(item)
            if not isinstance(refusal, UnavailableError):
                _log.warning("message not accepted", purpose=item.purpose, code=str(refusal.code))
            return False
        async with self._store.transaction() as tx:
            await tx.outbox.sent(item.message_id)
        return True

    async def _stands(self, guard: SendingGuard, item: OutboxItem, release: CarriedRelease) -> bool:
        async with self._store.transaction() as tx:
            return await guard.stands(tx, item, release)

    async def _withdraw(
        self, relay: Relay, guard: SendingGuard, item: OutboxItem, release: CarriedRelease
    ) -> bool:
        """Takes a release back unsent, once the broker answers: what takes its place would only wait too."""
        await relay.acknowledge([])
        async with self._store.transaction() as tx:
            await tx.outbox.sent(item.message_id)
            await guard.withdraw(tx, item, release)
        return True

    async def _postpone(self, item: OutboxItem) -> None:
        wait = min(_RETRY_MOST, 2.0 ** min(item.attempts, 10))
        async with self._store.transaction() as tx:
            await tx.outbox.postpone(item.message_id, self._clock() + timedelta(seconds=wait))

    async def _give_up(self, item: OutboxItem, refusal: RefusedError) -> None:
        _log.warning("message undeliverable", purpose=item.purpose, code=str(refusal.code))
        async with self._store.transaction() as tx:
            await tx.outbox.sent(item.message_id)
            handler = self._undeliverable.get(item.purpose)
            if handler is not None:
                await handler(tx, item.message_id, item.purpose, refusal)

    # -- in

    async def receive_loop(self, relay: Relay) -> None:
        """Takes messages until the connection ends; the caller connects again.

        Raises:
            RefusedError: the connection failed, or the broker refused it.
        """
        retry = asyncio.create_task(self._retry_loop(relay))
        try:
            async with aclosing(relay.receive()) as arriving:
                async for incoming in arriving:
                    await self.take(relay, incoming)
        finally:
            retry.cancel()
            await asyncio.gather(retry, return_exceptions=True)
            self._deferred.connection_ended()

    async def take(self, relay: Relay, incoming: IncomingMessage) -> None:
        """Lets one message have its effect, once, and acknowledges it; or puts it aside for later."""
        hurries = self._deferred.hurries
        try:
            await self._process(incoming)
        except Exception as error:  # noqa: BLE001 - a fault of this node must not lose the message
            if await self._waits(incoming, error, hurries):
                return
        self._deferred.release(incoming)
        await relay.acknowledge([incoming.message_id])

    async def _waits(self, incoming: IncomingMessage, error: Exception, hurries: int) -> bool:
        """Whether a message that came too early waits for another try; otherwise it was refused for good.

        One that finds no room stays at the broker and comes again with the next connection, if it is this
        node that cannot take it in; if it is too early, it is refused.
        """
        now = self._clock()
        patience = _patience(error)
        if not isinstance(error, (RetryLaterError, RefusedError)):
            _log.error("message failed", purpose=incoming.purpose, exc_info=error)
        held = self._deferred.hold(incoming, now, time.monotonic(), self._share(now), hurries)
        if held is None:
            if not isinstance(error, RetryLaterError):
                return True
            reason = RefusedError(ErrorCode.MAILBOX_FULL, "too many messages of its sender wait here")
        elif patience is None or held.tries < _TRIES_AT_LEAST or now - held.since < patience:
            return True
        else:
            reason = RefusedError(ErrorCode.MESSAGE_EXPIRED, "what it waited for did not come in time")
        await self._drop(incoming, _sender(incoming), reason, now)
        return False

    def _share(self, now: datetime) -> int:
        """How many messages of one sender may wait here."""
        try:
            return max(1, DEFERRED_AT_MOST // max(1, len(self._registry_at(now).agencies)))
        except RefusedError:
            return DEFERRED_AT_MOST

    async def _retry_loop(self, relay: Relay) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS):
                    await self._again.wait()
            self._again.clear()
            for incoming in self._deferred.due(time.monotonic()):
                try:
                    await self.take(relay, incoming)
                except RefusedError:
                    break  # the connection is gone; the receiving side notices too
                except Exception as error:  # noqa: BLE001 - one message's fault must not stop the others
                    _log.error("message failed", purpose=incoming.purpose, exc_info=error)

    async def _process(self, incoming: IncomingMessage) -> None:
        now = self._clock()
        sender = _sender(incoming)
        registry = self._registry_at(now)
        async with self._store.transaction() as tx:
            if await tx.inbox.seen(sender, incoming.message_id):
                return
        try:
            opened = self._open(incoming, sender, registry, now)
            async with self._store.transaction() as tx:
                # Noted first: of two deliveries at once, one fails on the key and is tried again.
                await tx.inbox.note(sender, incoming.message_id, now)
                await self._handlers[opened.purpose](tx, opened)
        except RetryLaterError:
            raise
        except Exception as error:
            refusal = translate(error)
            if refusal is None or refusal.code in (ErrorCode.TRUST_EXPIRED, ErrorCode.UNAVAILABLE):
                raise
            await self._drop(incoming, sender, refusal, now)
        else:
            self.nudge()

    def _open(
        self, incoming: IncomingMessage, sender: AgencyId, registry: Registry, now: datetime
    ) -> OpenedMessage:
        """The message, if it is sealed to this node and signed by its sender.

        Raises:
            RefusedError: MESSAGE_TAMPERED, NOT_A_MEMBER, INVALID_ARGUMENT for an unknown purpose.
        """
        agency = registry.agency(sender)
        if agency is None:
            raise RefusedError(ErrorCode.NOT_A_MEMBER, "the sender of a message is not in the registry")
        if incoming.purpose not in self._handlers:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "a message has a purpose that is not known here")
        context = SealContext(incoming.purpose, str(sender), str(self._identity.agency), incoming.message_id)
        try:
            envelope = Envelope.from_bytes(self._unsealed(incoming.sealed, context))
            require_signature(envelope, agency.node_verify_key, envelope.payload_type)
        except CryptoError as error:
            raise RefusedError(
                ErrorCode.MESSAGE_TAMPERED, f"{CATALOGUE[ErrorCode.MESSAGE_TAMPERED].meaning} ({error})"
            ) from None
        return OpenedMessage(incoming.message_id, sender, incoming.purpose, envelope, incoming.link, now)

    def _unsealed(self, sealed: bytes, context: SealContext) -> bytes:
        present, *former = self._identity.sealing_keys
        for key in former:
            try:
                return open_sealed(key, sealed, context)
            except SealError:
                continue
        return open_sealed(present, sealed, context)

    async def _drop(
        self, incoming: IncomingMessage, sender: AgencyId, refusal: RefusedError, now: datetime
    ) -> None:
        _log.warning("message refused", sender=str(sender), purpose=incoming.purpose, code=str(refusal.code))
        async with self._store.transaction() as tx:
            await tx.inbox.note(sender, incoming.message_id, now)
            await self._audit.append(
                tx,
                AuditAction.IDENTITY_REFUSED,
                actor=str(sender),
                body={
                    "message": incoming.message_id,
                    "purpose": incoming.purpose,
                    "code": str(refusal.code),
                },
            )

    async def forget_old(self) -> None:
        """Deletes the notes of messages that the broker could not deliver any more."""
        async with self._store.transaction() as tx:
            await tx.inbox.forget_before(self._clock() - REMEMBERED)


def _sender(incoming: IncomingMessage) -> AgencyId:
    try:
        return AgencyId(incoming.sender)
    except IdError:
        return AgencyId("unknown")


def _patience(error: Exception) -> timedelta | None:
    """How long a message may wait after an error; None: until its sender or the broker gives it up."""
    if isinstance(error, RetryLaterError):
        return error.patience
    return None if isinstance(error, RefusedError) else _FAULT_PATIENCE

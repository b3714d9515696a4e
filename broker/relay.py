"""Store-and-forward of sealed messages: kept until acknowledged or expired, and never opened."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from broker.audit import Clock
from broker.bell import Bell
from broker.links import LinkService
from broker.mailroom import has_room
from broker.store.model import Envelope
from broker.store.ports import BrokerStore, Transaction
from broker.trust import TrustService
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS, Limits
from protos.wire.relay import (
    URGENT_PURPOSES,
    IncomingMessage,
    LinkReference,
    OutgoingMessage,
    ToAgency,
    ToLink,
)

#: Sealed messages can be large: few are held in memory at once.
_MESSAGES_AT_ONCE = 16


class RelayService:
    """Takes, delivers and forgets messages."""

    def __init__(
        self,
        store: BrokerStore,
        trust: TrustService,
        links: LinkService,
        bell: Bell,
        clock: Clock,
        limits: Limits = LIMITS,
    ) -> None:
        self._store = store
        self._trust = trust
        self._links = links
        self._bell = bell
        self._clock = clock
        self._limits = limits
        self._receiving: dict[str, object] = {}

    async def send(self, sender: str, message: OutgoingMessage) -> bool:
        """Accepts a message durably; True if the very same one was accepted before.

        Raises:
            RefusedError: MESSAGE_REPLAYED for another message under the same id, by whomever it is,
                MESSAGE_EXPIRED, NOT_A_MEMBER or TOKEN_UNKNOWN for an address that nobody has, MAILBOX_FULL.
        """
        now = self._clock()
        digest = _digest(message)
        async with self._store.write() as tx:
            known = await tx.relay.seen(sender, message.message_id)
            if known is not None:
                if known != digest:
                    raise RefusedError(
                        ErrorCode.MESSAGE_REPLAYED,
                        "this message_id was used for another message; choose a new one",
                    )
                return True
            if message.expires <= now:
                raise RefusedError(ErrorCode.MESSAGE_EXPIRED, "the message had expired before it was sent")
            recipient, link = await self._addressed(tx, sender, message)
            if await tx.relay.is_waiting(recipient, message.message_id):
                # A recipient acknowledges by id: nobody may have its message go with another's.
                raise RefusedError(
                    ErrorCode.MESSAGE_REPLAYED,
                    "a message with this message_id waits already; choose a new one",
                )
            await self._require_room(tx, recipient, message, sender)
            latest = now + timedelta(seconds=self._limits.relay_ttl_seconds)
            await tx.relay.put(
                Envelope(
                    recipient=recipient,
                    message=IncomingMessage(
                        message.message_id, sender, message.purpose, message.sealed, link
                    ),
                    digest=digest,
                    expires=min(message.expires, latest),
                )
            )
        self._bell.ring(("mail", recipient))
        return False

    async def receive(self, agency: str) -> AsyncIterator[IncomingMessage]:
        """The agency's messages, oldest first, then as they arrive; each once in one call.

        Raises:
            RefusedError: CANCELLED, once the agency calls again: a node that was started anew takes over.
        """
        position, this = 0, object()
        self._receiving[agency] = this
        self._bell.ring(("mail", agency))
        try:
            while True:
                rung = self._bell.listen(("mail", agency))
                async with self._store.read() as tx:
                    waiting = await tx.relay.waiting(agency, position, self._clock(), _MESSAGES_AT_ONCE)
                for envelope in waiting:
                    self._require_newest(agency, this)
                    position = envelope.position
                    yield envelope.message
                self._require_newest(agency, this)
                if not waiting:
                    await rung.wait()
        finally:
            if self._receiving.get(agency) is this:
                del self._receiving[agency]

    async def acknowledge(self, agency: str, message_ids: Sequence[str]) -> int:
        """Forgets messages that the agency has stored; unknown ids are passed over."""
        if len(message_ids) > self._limits.acknowledgements_per_call:
            raise RefusedError(
                ErrorCode.TOO_LARGE,
                f"at most {self._limits.acknowledgements_per_call} messages in one acknowledgement",
            )
        async with self._store.write() as tx:
            return await tx.relay.acknowledge(agency, message_ids)

    async def forget_expired(self) -> int:
        """Deletes messages whose time is up; returns how many."""
        async with self._store.write() as tx:
            return await tx.relay.purge(self._clock())

    async def _addressed(
        self, tx: Transaction, sender: str, message: OutgoingMessage
    ) -> tuple[str, LinkReference | None]:
        match message.address:
            case ToAgency(agency):
                if self._trust.registry().agency(agency) is None:
                    raise RefusedError(
                        ErrorCode.NOT_A_MEMBER, "the recipient is not in the registry in force; check its id"
                    )
                if agency == sender:
                    raise RefusedError(ErrorCode.INVALID_ARGUMENT, "a message to oneself is not relayed")
                return agency, None
            case ToLink(token):
                record = await self._links.resolve(tx, sender, token)
                other = record.counterpart
                reference = LinkReference(other.handle, record.linkage, record.epoch, record.strength)
                return other.agency, reference

    async def _require_room(
        self, tx: Transaction, recipient: str, message: OutgoingMessage, sender: str
    ) -> None:
        everything = await tx.relay.load(recipient)
        own = await tx.relay.load(recipient, sender)
        urgent = message.purpose in URGENT_PURPOSES
        if not has_room(everything, own, len(message.sealed), urgent=urgent, limits=self._limits):
            raise RefusedError(
                ErrorCode.MAILBOX_FULL,
                "the recipient's mailbox, or this sender's share of it, is full until the recipient collects "
                "its messages; try again later",
            )

    def _require_newest(self, agency: str, this: object) -> None:
        if self._receiving.get(agency) is not this:
            raise RefusedError(ErrorCode.CANCELLED, f"a newer call of {agency} receives its messages")


def _digest(message: OutgoingMessage) -> str:
    """What makes two messages the same: address, purpose and body."""
    address = message.address
    to = b"a" + address.agency.encode() if isinstance(address, ToAgency) else b"t" + address.token
    parts = (to, message.purpose.encode(), message.sealed)
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()

"""Relay messages: domain types and the only conversion to and from their wire form."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from protos.relay.v1 import relay_pb2 as pb
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS
from protos.wire.linkage import HANDLE_BYTES, LINK_TOKEN_BYTES, Strength

_MESSAGE_ID = re.compile(r"[0-9a-f]{32}")
_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,39}")

#: What must arrive though a mailbox is full of everything else.
URGENT_PURPOSES = frozenset({"link-recall", "erasure-receipt", "break-glass-notice"})


@dataclass(frozen=True, slots=True)
class ToAgency:
    """An address: one agency by its id."""

    agency: str


@dataclass(frozen=True, slots=True)
class ToLink:
    """An address: whoever holds the other side of a link token told to the sender."""

    token: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A sealed message on its way to the broker."""

    message_id: str
    address: ToAgency | ToLink
    purpose: str
    sealed: bytes = field(repr=False)
    expires: datetime


@dataclass(frozen=True, slots=True)
class LinkReference:
    """What the broker adds for a message addressed by link token: which of the recipient's own subjects."""

    handle: bytes = field(repr=False)
    linkage_id: str
    epoch: int
    strength: Strength


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A sealed message as its recipient gets it. `sender` is the broker's word until the seal is opened."""

    message_id: str
    sender: str
    purpose: str
    sealed: bytes = field(repr=False)
    link: LinkReference | None


_STRENGTHS = {
    Strength.POSSIBLE: pb.STRENGTH_OF_LINK_POSSIBLE,
    Strength.PROBABLE: pb.STRENGTH_OF_LINK_PROBABLE,
    Strength.STRONG: pb.STRENGTH_OF_LINK_STRONG,
}
_BY_NUMBER = {number: strength for strength, number in _STRENGTHS.items()}


def outgoing_to_wire(message: OutgoingMessage) -> pb.SendRequest:
    """The wire form of a message to send."""
    wire = pb.SendRequest(
        message_id=message.message_id,
        purpose=message.purpose,
        sealed=message.sealed,
        expires_unix=int(message.expires.timestamp()),
    )
    match message.address:
        case ToAgency(agency):
            wire.recipient_agency = agency
        case ToLink(token):
            wire.link_token = token
    return wire


def outgoing_from_wire(wire: pb.SendRequest) -> OutgoingMessage:
    """The message of a send call.

    Raises:
        RefusedError: INVALID_ARGUMENT for a bad id, purpose or address, TOO_LARGE for its body.
    """
    if not _MESSAGE_ID.fullmatch(wire.message_id):
        raise RefusedError(ErrorCode.INVALID_ARGUMENT, "message_id: 32 lower-case hexadecimal digits")
    if not _PURPOSE.fullmatch(wire.purpose):
        raise RefusedError(ErrorCode.INVALID_ARGUMENT, "purpose: a short lower-case word")
    if not wire.sealed or len(wire.sealed) > LIMITS.sealed_bytes:
        raise RefusedError(ErrorCode.TOO_LARGE, f"a sealed message has 1 to {LIMITS.sealed_bytes} bytes")
    try:
        expires = datetime.fromtimestamp(wire.expires_unix, UTC)
    except (OverflowError, ValueError, OSError):
        raise RefusedError(ErrorCode.INVALID_ARGUMENT, "expires_unix is out of range") from None
    return OutgoingMessage(wire.message_id, _address(wire), wire.purpose, wire.sealed, expires)


def _address(wire: pb.SendRequest) -> ToAgency | ToLink:
    match wire.WhichOneof("address"):
        case "recipient_agency":
            return ToAgency(wire.recipient_agency)
        case "link_token" if len(wire.link_token) == LINK_TOKEN_BYTES:
            return ToLink(wire.link_token)
        case _:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "address: an agency, or a link token of 16 bytes")


def incoming_to_wire(message: IncomingMessage) -> pb.ReceiveResponse:
    """The wire form of a message to deliver."""
    wire = pb.ReceiveResponse(
        message_id=message.message_id,
        sender_agency=message.sender,
        purpose=message.purpose,
        sealed=message.sealed,
    )
    if message.link is not None:
        wire.handle = message.link.handle
        wire.linkage_id = message.link.linkage_id
        wire.epoch = message.link.epoch
        wire.strength = _STRENGTHS[message.link.strength]
    return wire


def incoming_from_wire(wire: pb.ReceiveResponse) -> IncomingMessage:
    """The message of a delivery."""
    link = None
    if wire.handle:
        strength = _BY_NUMBER.get(wire.strength)
        if len(wire.handle) != HANDLE_BYTES or strength is None:
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT, "a delivery by link token names a handle and a band"
            )
        link = LinkReference(wire.handle, wire.linkage_id, wire.epoch, strength)
    return IncomingMessage(wire.message_id, wire.sender_agency, wire.purpose, wire.sealed, link)

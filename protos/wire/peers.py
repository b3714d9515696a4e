"""Who is calling: from the TLS certificate, never from what the message says."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

import grpc

from protos.wire.access import Caller
from protos.wire.errors import ErrorCode, RefusedError


@dataclass(frozen=True, slots=True)
class Peer:
    """An authenticated caller. `agency` is None for a local process.

    `narrowed` says why an agency's certificate opens no more than what any member may call: it is the refusal
    of every other call.
    """

    callers: frozenset[Caller]
    agency: str | None
    narrowed: RefusedError | None = None


LOCAL_PEER = Peer(frozenset({Caller.LOCAL}), None)

_current: ContextVar[Peer] = ContextVar("tallystick_peer")


def current_peer() -> Peer:
    """The caller of the RPC that is being served. LookupError outside one."""
    return _current.get()


def calling_agency() -> str:
    """The agency whose certificate the current call came with."""
    agency = current_peer().agency
    if agency is None:
        raise RefusedError(ErrorCode.NOT_ALLOWED, "this call is for agencies, and the caller is not one")
    return agency


def set_current_peer(peer: Peer) -> None:
    """Called once for each RPC by `protos.wire.server.Gatekeeper`, before the servicer runs."""
    _current.set(peer)


def spiffe_uri(context: grpc.aio.ServicerContext[object, object]) -> str:
    """The single URI name of the caller's certificate.

    Raises:
        RefusedError: no certificate, or one with no URI name or more than one.
    """
    names = [bytes(value) for value in context.auth_context().get("peer_uri", ())]
    if len(names) != 1:
        raise RefusedError(
            ErrorCode.NO_CERTIFICATE,
            "the call came without a certificate of this federation; enrol the node and use its certificate",
        )
    try:
        return names[0].decode("ascii")
    except UnicodeDecodeError:
        raise RefusedError(ErrorCode.NO_CERTIFICATE, "the certificate's URI name is not ASCII") from None

"""This node vouches for the broker's log, and finds out when the broker shows others a different one.

Every few minutes the newest head is fetched. It is cosigned only if the broker signed it, if it is not
smaller than the one cosigned last, and if it is proven to follow from that (`crypto.witness`); what was seen
is durable before the cosignature leaves. Agencies also tell each other which head they cosigned last, under
seal, and the broker must prove that their heads are of one log. A broker that cannot is an alarm: on record
with both heads, which it signed itself, and in the overseers' queue.

A broker that must begin a new log, as after a disk was lost, gets a new key from the registry's signers:
heads under the old key count for nothing then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.supervision import Occasion, Supervision
from agency_node.rpc.ports import BrokerLog
from agency_node.store.store import NodeTransaction
from crypto import witness
from crypto.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    cosign,
    parse_checkpoint,
    verified_cosignatures,
)
from crypto.errors import CheckpointError
from crypto.keys import VerifyKey
from policies.audit_names import broker_log_origin, witness_name
from policies.ids import AgencyId
from protos.wire.errors import ErrorCode, RefusedError

_log = structlog.get_logger("broker-witness")

BROKER = AgencyId("broker")
BROKER_LOG = "broker-log"
#: Which head of the broker's is kept: the one that this node cosigned last, or that a peer says it did.
COSIGNED, TOLD_BY_PEER = "log", "broker"
_NO_HEAD = "unreadable"


@dataclass(frozen=True, slots=True)
class _Fault:
    """Two heads that cannot be of one log that only grows, and who was shown the first."""

    reason: str
    shown_to: AgencyId
    earlier: bytes
    later: bytes


class BrokerWitness:
    """Cosigns the broker's heads, and compares them with what others were shown."""

    def __init__(self, context: DisclosureContext, supervision: Supervision) -> None:
        self._context = context
        self._supervision = supervision
        self._agreed: dict[AgencyId, bytes] = {}

    async def look(self, broker: BrokerLog) -> None:
        """Fetches the newest head, cosigns it, and compares.

        Raises:
            RefusedError: the broker cannot be asked now, or there is no registry in force.
        """
        ctx = self._context
        now = ctx.now()
        registry = ctx.registry_at(now)
        key = registry.broker_verify_key
        note = await broker.checkpoint()
        seen = await self._kept(BROKER, COSIGNED)
        try:
            shown = parse_checkpoint(note)
        except CheckpointError:
            await self._alarm(_Fault(_NO_HEAD, ctx.me, _bytes(seen), note), now)
            return
        origin = broker_log_origin(registry.federation)
        before = seen.checkpoint if seen and _is_signed(seen, origin, key) else None
        proof = await _proof(broker, before, shown.checkpoint)
        verdict = witness.examine(before, shown, proof, origin=origin, key=key)
        if isinstance(verdict, witness.Refused):
            await self._alarm(_Fault(verdict.reason.value, ctx.me, _bytes(seen), note), now)
            return
        if verdict.checkpoint.size:
            await self._vouch(broker, shown, now)
        for agency in registry.agencies:
            if agency.id != ctx.me:
                await self._compare(broker, agency.id, shown, key, now)

    async def heads(self, broker: BrokerLog) -> tuple[bytes, ...]:
        """Every head of the broker's log that is known here, its newest last: they must be of one log.

        Raises:
            RefusedError: the broker cannot be asked now, or shows nothing that it signed.
        """
        ctx = self._context
        registry = ctx.registry_at(ctx.now())
        origin, key = broker_log_origin(registry.federation), registry.broker_verify_key
        newest = await broker.checkpoint()
        try:
            signed = _is_signed(parse_checkpoint(newest), origin, key)
        except CheckpointError:
            signed = False
        if not signed:
            raise RefusedError(ErrorCode.SIGNATURE_INVALID, "the broker shows no head that it signed")
        kept = [await self._kept(BROKER, COSIGNED)]
        kept += [await self._kept(agency.id, TOLD_BY_PEER) for agency in registry.agencies]
        earlier = {item.to_bytes(): None for item in kept if item and _is_signed(item, origin, key)}
        return (*(item for item in earlier if item != newest), newest)

    async def _vouch(self, broker: BrokerLog, shown: SignedCheckpoint, now: datetime) -> None:
        ctx = self._context
        name = witness_name(ctx.identity.federation, ctx.me)
        if verified_cosignatures(shown, {name: ctx.identity.signer.verify_key}):
            return
        size = shown.checkpoint.size
        async with ctx.store.transaction() as tx:
            await tx.audit.put_witnessed(BROKER, COSIGNED, size, shown.to_bytes())
        # Only now, when this node can never again vouch for another history.
        line = cosign(shown.checkpoint, name, ctx.identity.signer, now).line
        await broker.cosign(size, line.encode("utf-8"))

    async def _compare(
        self, broker: BrokerLog, peer: AgencyId, mine: SignedCheckpoint, key: VerifyKey, now: datetime
    ) -> None:
        """Whether the head that a peer cosigned and this node's are heads of one log."""
        told = await self._kept(peer, TOLD_BY_PEER)
        if told is None or self._agreed.get(peer) == told.to_bytes():
            return
        origin = mine.checkpoint.origin
        if not _is_signed(told, origin, key):
            return  # not the broker's word: it says nothing about the broker
        first, second = sorted((told, mine), key=lambda item: item.checkpoint.size)
        proof = await _proof(broker, first.checkpoint, second.checkpoint)
        verdict = witness.examine(first.checkpoint, second, proof, origin=origin, key=key)
        if isinstance(verdict, witness.Refused):
            fault = _Fault(f"split view: {verdict.reason.value}", peer, told.to_bytes(), mine.to_bytes())
            await self._alarm(fault, now)
            return
        self._agreed[peer] = told.to_bytes()

    async def _kept(self, peer: AgencyId, whose: str) -> SignedCheckpoint | None:
        async with self._context.store.transaction() as tx:
            held = await tx.audit.witnessed(peer, whose)
        return parse_checkpoint(held[1]) if held else None

    async def _alarm(self, fault: _Fault, now: datetime) -> None:
        """Says so loudly: in the log for operators each time; on record and in the queue once a day."""
        _log.error("the broker's log is not what it was", reason=fault.reason, shown_to=str(fault.shown_to))
        occasion = Occasion("", "", BROKER, "", now)
        async with self._context.store.transaction() as tx:
            await self._supervision.alarm(
                tx,
                BROKER_LOG,
                occasion,
                f"{fault.reason} {fault.shown_to}",
                evidence={
                    "reason": fault.reason,
                    "shown_to": str(fault.shown_to),
                    "earlier": fault.earlier.decode("utf-8", "replace"),
                    "later": fault.later.decode("utf-8", "replace"),
                },
            )


async def broker_head_to_tell(tx: NodeTransaction) -> str | None:
    """The broker's head that this node cosigned last, for its peers to compare."""
    held = await tx.audit.witnessed(BROKER, COSIGNED)
    return held[1].decode("utf-8") if held else None


async def keep_told_head(tx: NodeTransaction, peer: AgencyId, note: str) -> None:
    """Keeps what a peer says that the broker showed it; what cannot be read says nothing."""
    try:
        told = parse_checkpoint(note.encode("utf-8"))
    except CheckpointError:
        return
    await tx.audit.put_witnessed(peer, TOLD_BY_PEER, told.checkpoint.size, told.to_bytes())


async def _proof(broker: BrokerLog, old: Checkpoint | None, new: Checkpoint) -> Sequence[bytes]:
    """The broker's proof, or none where there is nothing to prove, or the broker says that it cannot."""
    if old is None or not 0 < old.size < new.size:
        return ()
    try:
        return await broker.consistency_proof(old.size, new.size)
    except RefusedError as refusal:
        if refusal.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.INTERNAL):
            return ()
        raise


def _is_signed(signed: SignedCheckpoint, origin: str, key: VerifyKey) -> bool:
    return isinstance(witness.examine(None, signed, (), origin=origin, key=key), witness.Consistent)


def _bytes(signed: SignedCheckpoint | None) -> bytes:
    return b"" if signed is None else signed.to_bytes()

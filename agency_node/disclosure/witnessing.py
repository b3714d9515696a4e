"""Other agencies vouch for this node's log, and this node for theirs.

A witness keeps the newest head of each log that it cosigned, in the same transaction in which its cosignature
is queued. So it can never be brought to vouch for two histories, not even by a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import structlog

from agency_node.audit import log_origin, witness_name
from agency_node.disclosure.broker_witness import broker_head_to_tell, keep_told_head
from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.supervision import Occasion, Supervision
from agency_node.mailbox import OpenedMessage
from agency_node.store.store import NodeTransaction
from crypto import witness
from crypto.audit import AuditAction
from crypto.checkpoint import (
    add_cosignature,
    cosign,
    parse_checkpoint,
    parse_cosignature,
    verified_cosignatures,
)
from crypto.errors import CheckpointError, SignatureError
from policies.codec import open_document
from policies.ids import AgencyId, FieldValue, HexBytes
from policies.registry import Agency
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.relay import ToAgency

_log = structlog.get_logger("witness")
PEER_LOG = "peer-log"
#: A head that did not change is cosigned anew after so long, so that a quiet log looks quiet and not cut off.
AGAIN = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class WitnessRequest:
    """`witness-request/v1`: a signed head, and the proof that it follows from the one last cosigned.

    With it comes the broker's head that the sender cosigned last, for the recipient to compare with its own.
    """

    KIND: ClassVar[str] = "witness-request/v1"

    checkpoint: FieldValue
    proof: tuple[HexBytes, ...]
    broker_checkpoint: FieldValue | None = None


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """`witness-answer/v1`: the cosignature of the head of `size` entries, or why there is none.

    With a refusal comes the size that the witness last cosigned, so that the next proof can begin there.
    """

    KIND: ClassVar[str] = "witness-answer/v1"

    size: int
    seen_size: int
    cosignature: FieldValue | None = None
    refusal: FieldValue | None = None


class Witnessing:
    """Asks for cosignatures and gives them."""

    def __init__(self, context: DisclosureContext, supervision: Supervision) -> None:
        self._context = context
        self._supervision = supervision

    async def ask(self) -> int:
        """Signs the head if the log grew and shows it to each other agency that has not cosigned it lately.

        Returns how many were asked.
        """
        ctx = self._context
        now = ctx.now()
        registry = ctx.registry_at(now)
        asked = 0
        async with ctx.store.transaction() as tx:
            signed = await ctx.log.checkpoint(tx)
            size = signed.checkpoint.size
            head = await broker_head_to_tell(tx)
            for agency in registry.agencies:
                if agency.id == ctx.me or size == 0:
                    continue
                seen = await tx.audit.witnessed(agency.id, "ours")
                old = seen[0] if seen else 0
                if seen and old == size and now - self._cosigned_at(seen[1], agency) < AGAIN:
                    continue
                request = WitnessRequest(
                    FieldValue(signed.to_bytes().decode("utf-8")),
                    tuple(HexBytes(item.hex()) for item in await ctx.log.consistency(tx, old, size)),
                    None if head is None else FieldValue(head),
                )
                address = ToAgency(agency.id)
                await ctx.mailbox.post(tx, address, agency.id, "witness-request", ctx.signed(request))
                asked += 1
        if asked:
            ctx.mailbox.nudge()
        return asked

    def _cosigned_at(self, note: bytes, agency: Agency) -> datetime:
        """When a witness last cosigned a head of this log; long ago where its line is not there."""
        keys = {witness_name(self._context.identity.federation, agency.id): agency.node_verify_key}
        given = verified_cosignatures(parse_checkpoint(note), keys)
        return max((item.time for item in given), default=datetime.min.replace(tzinfo=UTC))

    async def take_request(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Cosigns another agency's head, or says why not."""
        ctx = self._context
        now = message.received.replace(microsecond=0)
        request = open_document(WitnessRequest, message.envelope)
        agency = ctx.registry_at(now).agency(message.sender)
        if agency is None:
            raise RefusedError(ErrorCode.NOT_A_MEMBER, "the registry does not list the sender")
        if request.broker_checkpoint is not None:
            await keep_told_head(tx, message.sender, request.broker_checkpoint)
        signed = parse_checkpoint(request.checkpoint.encode("utf-8"))
        held = await tx.audit.witnessed(message.sender, "theirs")
        seen = parse_checkpoint(held[1]).checkpoint if held else None
        verdict = witness.examine(
            seen,
            signed,
            [bytes.fromhex(item) for item in request.proof],
            origin=log_origin(ctx.identity.federation, message.sender),
            key=agency.node_verify_key,
        )
        size, seen_size = signed.checkpoint.size, seen.size if seen else 0
        if isinstance(verdict, witness.Refused):
            _log.warning("head refused", log=str(message.sender), reason=verdict.reason.value)
            await self._note(tx, message, AuditAction.WITNESS_REFUSED, size, verdict.reason.value)
            if verdict.reason is witness.Refusal.FORK and held is not None:
                await self._raise_alarm(tx, message.sender, held[1], signed.to_bytes(), now)
            answer = WitnessAnswer(size, seen_size, refusal=FieldValue(verdict.reason.value))
        else:
            name = witness_name(ctx.identity.federation, ctx.me)
            line = cosign(verdict.checkpoint, name, ctx.identity.signer, now)
            cosigned = add_cosignature(signed, line)
            await tx.audit.put_witnessed(message.sender, "theirs", size, cosigned.to_bytes())
            answer = WitnessAnswer(size, size, cosignature=FieldValue(line.line))
        peer = message.sender
        await ctx.mailbox.post(tx, ToAgency(peer), peer, "witness-answer", ctx.signed(answer))

    async def _raise_alarm(
        self, tx: NodeTransaction, peer: AgencyId, earlier: bytes, later: bytes, now: datetime
    ) -> None:
        """Two heads of one size, both signed by their log: no crash and no delay explains that."""
        await self._supervision.alarm(
            tx,
            PEER_LOG,
            Occasion("", "", peer, "", now),
            str(peer),
            evidence={"earlier": earlier.decode("utf-8"), "later": later.decode("utf-8")},
        )

    async def take_answer(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Keeps a cosignature of one of this log's heads.

        Raises:
            RefusedError: MESSAGE_TAMPERED for one that does not verify.
        """
        ctx = self._context
        answer = open_document(WitnessAnswer, message.envelope)
        if answer.cosignature is None:
            reason = str(answer.refusal or "")
            _log.warning("witness refused", witness=str(message.sender), reason=reason)
            await self._note(tx, message, AuditAction.WITNESS_REFUSED, answer.size, reason)
            await self._resume(tx, message.sender, answer.seen_size)
            return
        note = await tx.audit.checkpoint(answer.size)
        agency = ctx.registry_at(ctx.now()).agency(message.sender)
        if note is None or agency is None:
            return
        name = witness_name(ctx.identity.federation, message.sender)
        try:
            line = parse_cosignature(answer.cosignature)
            signed = add_cosignature(parse_checkpoint(note), line)
            counted = verified_cosignatures(signed, {name: agency.node_verify_key})
        except (CheckpointError, SignatureError) as error:
            raise RefusedError(ErrorCode.MESSAGE_TAMPERED, f"a cosignature is wrong: {error}") from None
        if not counted:
            raise RefusedError(ErrorCode.MESSAGE_TAMPERED, "a cosignature is not its sender's")
        await ctx.log.add_cosignature(tx, answer.size, line)
        held = await tx.audit.witnessed(message.sender, "ours")
        if held is None or held[0] <= answer.size:
            await tx.audit.put_witnessed(message.sender, "ours", answer.size, signed.to_bytes())

    async def _resume(self, tx: NodeTransaction, peer: AgencyId, seen_size: int) -> None:
        """The witness has seen another head than was thought, as after an answer that was lost."""
        note = await tx.audit.checkpoint(seen_size) if seen_size else None
        if note is not None:
            await tx.audit.put_witnessed(peer, "ours", seen_size, note)

    async def _note(
        self, tx: NodeTransaction, message: OpenedMessage, action: AuditAction, size: int, reason: str
    ) -> None:
        await self._context.log.append(
            tx,
            action,
            actor=str(message.sender),
            body={"log": str(message.sender), "size": size, "reason": reason},
        )

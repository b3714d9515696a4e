"""Other agencies vouch for this node's log, and this node for theirs.

A witness keeps the newest head of each log that it cosigned, in the same transaction in which its cosignature
is queued. So it can never be brought to vouch for two histories, not even by a crash.

A head is shown when the log has grown, and once a day, so that a log of which nothing is seen stands out: its
keeper may be ending it, or have something to hide. One refusal may have an innocent reason (an answer was
lost, and the proof began elsewhere), after which the next head is sound. A second one in a row is an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import structlog

from agency_node.disclosure.broker_witness import broker_head_to_tell, keep_told_head
from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.supervision import Occasion, Supervision
from agency_node.mailbox import OpenedMessage
from agency_node.model import PeerLog
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
from policies.audit_names import log_origin, witness_name
from policies.codec import open_document
from policies.ids import AgencyId, FieldValue, HexBytes
from policies.registry import Agency, Registry
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.relay import ToAgency

_log = structlog.get_logger("witness")
PEER_LOG = "peer-log"
#: A head that did not change is cosigned anew after so long, so that a quiet log looks quiet and not cut off.
AGAIN = timedelta(hours=12)
#: A head that was not answered is shown again after this.
SHOW_AGAIN = timedelta(days=1)
#: A log of which no sound head was seen for so long is an alarm: longer than a weekend with public holidays.
SILENT_AFTER = timedelta(days=5)
#: How long this node must have listened itself before it calls another one silent.
_LISTENED = timedelta(days=1)
_REWRITTEN = frozenset({witness.Refusal.REWRITTEN, witness.Refusal.SHRUNK})
_SILENT = "silent"


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
        self._began: datetime | None = None
        self._asked: dict[AgencyId, datetime] = {}
        self._unanswered: set[AgencyId] = set()

    async def ask(self) -> int:
        """Signs the head if the log grew and shows it to each other agency that has not cosigned it lately.

        Looks for those that show none themselves, too.

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
                if agency.id in self._unanswered and now - self._asked[agency.id] < SHOW_AGAIN:
                    continue
                self._asked[agency.id] = now
                self._unanswered.add(agency.id)
                request = WitnessRequest(
                    FieldValue(signed.to_bytes().decode("utf-8")),
                    tuple(HexBytes(item.hex()) for item in await ctx.log.consistency(tx, old, size)),
                    None if head is None else FieldValue(head),
                )
                address = ToAgency(agency.id)
                await ctx.mailbox.post(tx, address, agency.id, "witness-request", ctx.signed(request))
                asked += 1
            await self._look_for_silence(tx, registry, now)
        if asked:
            ctx.mailbox.nudge()
        return asked

    def _cosigned_at(self, note: bytes, agency: Agency) -> datetime:
        """When a witness last cosigned a head of this log; long ago where its line is not there."""
        keys = {witness_name(self._context.identity.federation, agency.id): agency.node_verify_key}
        given = verified_cosignatures(parse_checkpoint(note), keys)
        return max((item.time for item in given), default=datetime.min.replace(tzinfo=UTC))

    async def _look_for_silence(self, tx: NodeTransaction, registry: Registry, now: datetime) -> None:
        """Raises an alarm, once a day, for every agency that has shown no sound head for days."""
        self._began = self._began or now
        for agency in registry.agencies:
            if agency.id == self._context.me:
                continue
            log = await tx.peer_logs.get(agency.id)
            if log is None:
                await tx.peer_logs.put(PeerLog(agency.id, now))
            elif now - log.valid >= SILENT_AFTER and now - self._began >= _LISTENED:
                held = await tx.audit.witnessed(agency.id, "theirs")
                await self._raise_alarm(tx, agency.id, _SILENT, held[1] if held else b"", b"", now)

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
            log = await tx.peer_logs.get(message.sender) or PeerLog(message.sender, now)
            await tx.peer_logs.put(replace(log, refused=log.refused + 1))
            again = verdict.reason in _REWRITTEN and log.refused > 0
            if held is not None and (again or verdict.reason is witness.Refusal.FORK):
                reason = verdict.reason.value
                await self._raise_alarm(tx, message.sender, reason, held[1], signed.to_bytes(), now)
            answer = WitnessAnswer(size, seen_size, refusal=FieldValue(verdict.reason.value))
        else:
            name = witness_name(ctx.identity.federation, ctx.me)
            line = cosign(verdict.checkpoint, name, ctx.identity.signer, now)
            cosigned = add_cosignature(signed, line)
            await tx.audit.put_witnessed(message.sender, "theirs", size, cosigned.to_bytes())
            await tx.peer_logs.put(PeerLog(message.sender, now))
            answer = WitnessAnswer(size, size, cosignature=FieldValue(line.line))
        peer = message.sender
        await ctx.mailbox.post(tx, ToAgency(peer), peer, "witness-answer", ctx.signed(answer))

    async def _raise_alarm(
        self, tx: NodeTransaction, peer: AgencyId, reason: str, earlier: bytes, later: bytes, now: datetime
    ) -> None:
        """On record with the head cosigned last and the one refused, both signed by their log."""
        await self._supervision.alarm(
            tx,
            PEER_LOG,
            Occasion("", "", peer, "", now),
            f"{reason} {peer}",
            evidence={"reason": reason, "earlier": earlier.decode("utf-8"), "later": later.decode("utf-8")},
        )

    async def take_answer(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Keeps a cosignature of one of this log's heads.

        Raises:
            RefusedError: MESSAGE_TAMPERED for one that does not verify.
        """
        ctx = self._context
        answer = open_document(WitnessAnswer, message.envelope)
        self._unanswered.discard(message.sender)
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

"""Epochs: the life of one linkage key, which the broker never learns."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from broker.audit import AuditLog, Clock
from broker.catalogue import Catalogue
from broker.config import WatchConfig
from broker.linkages import Linkage
from broker.store.model import Confirmation, EpochRecord
from broker.store.ports import BrokerStore, Transaction
from crypto.audit import AuditAction
from crypto.canonical import JsonInput
from crypto.envelope import Envelope
from policies.agreement import LinkageAgreement
from policies.codec import open_document
from protos.wire.errors import ErrorCode, RefusedError, UnavailableError
from protos.wire.linkage import Epoch, EpochState, RotationReason

_HASH_BYTES = 32
#: How many epochs further than this broker an agency may know of.
_AHEAD_AT_MOST = 1_000
_DAY = timedelta(days=1)
#: Whoever sees harm is heard at once, the first time in a day, whatever was asked for before.
_ALARMS = (RotationReason.SUSPICION, RotationReason.KEY_MISMATCH)
#: A refused rotation is put on record once in this time for each agency and linkage.
_REFUSALS_APART = timedelta(hours=1)


class EpochService:
    """Opens epochs, compares key confirmations and rotates."""

    def __init__(
        self,
        store: BrokerStore,
        catalogue: Catalogue,
        audit: AuditLog,
        rotated: Callable[[str], None],
        watch: WatchConfig,
        clock: Clock,
    ) -> None:
        """`rotated` is called with a linkage's id once a new epoch is durable."""
        self._store = store
        self._rotated = rotated
        self._catalogue = catalogue
        self._audit = audit
        self._watch = watch
        self._clock = clock
        self._refused: dict[tuple[str, str], datetime] = {}

    async def ensure(self, tx: Transaction, linkage: Linkage) -> EpochRecord:
        """The current epoch; a first one for a new linkage, a further one for a new agreement.

        Raises:
            UnavailableError: where `linkage` is of an agreement that a newer one has just replaced:
                whoever still works by the old one must not bring it back.
        """
        current = await tx.epochs.current(linkage.id)
        if current is not None and current.agreement_hash == linkage.hash:
            return current
        if current is not None and await self._replaced(tx, linkage, current):
            raise UnavailableError(f"a newer agreement of {linkage.id} is being put into force; try again")
        return await self._open(tx, linkage, current.epoch + 1 if current else 1)

    async def require_open(self, tx: Transaction, linkage: Linkage, epoch: int) -> None:
        """Nothing is taken in, matched or looked up but in the current epoch, once everybody has its key.

        Raises:
            RefusedError: WRONG_EPOCH, EPOCH_NOT_OPEN.
        """
        current = await self.ensure(tx, linkage)
        if epoch != current.epoch:
            raise RefusedError(
                ErrorCode.WRONG_EPOCH, f"the current epoch of {linkage.id} is {current.epoch}, not {epoch}"
            )
        if current.state is not EpochState.OPEN:
            raise RefusedError(
                ErrorCode.EPOCH_NOT_OPEN, f"epoch {epoch} of {linkage.id} is {current.state.value}, not open"
            )

    async def current(self, agency: str, linkage_id: str) -> Epoch:
        """The current epoch and who confirmed its key."""
        linkage = self._catalogue.linkage_for(linkage_id, agency)
        async with self._store.write() as tx:
            record = await self.ensure(tx, linkage)
            confirmed = await tx.epochs.confirmations(linkage.id, record.epoch)
        return Epoch(
            record.epoch,
            record.state,
            tuple(item.agency for item in confirmed),
            record.agreement_hash,
            record.schema_hash,
        )

    async def rotate(
        self, agency: str, linkage_id: str, believed_current: int, reason: RotationReason
    ) -> int:
        """Opens the next epoch, unless somebody did so already; returns the current one.

        An agency that knows of a later epoch than this broker, which has lost its own, is believed: the next
        is the one after that. Nothing is ever encoded under a number a second time.

        After a suspicion the encodings of the old key are deleted at once. Links stand until the new epoch's
        first run.

        Raises:
            RefusedError: RATE_LIMITED where the agency asks too often, or too soon after the last rotation;
                WRONG_EPOCH for one that is too far ahead.
        """
        linkage = self._catalogue.linkage_for(linkage_id, agency)
        async with self._store.write() as tx:
            current = await self.ensure(tx, linkage)
            if believed_current > current.epoch + _AHEAD_AT_MOST:
                raise RefusedError(
                    ErrorCode.WRONG_EPOCH, f"the current epoch of {linkage.id} is {current.epoch}"
                )
            if believed_current < current.epoch:
                return current.epoch
            refusal = await self._too_often(tx, linkage, current, agency, reason, believed_current)
            if refusal:
                await self._note_refusal(tx, linkage, current, agency, reason)
            else:
                await self._rotate(tx, linkage, believed_current + 1, agency, reason)
        if refusal:
            raise RefusedError(ErrorCode.RATE_LIMITED, refusal)
        self._rotated(linkage.id)
        return believed_current + 1

    async def _rotate(
        self, tx: Transaction, linkage: Linkage, epoch: int, agency: str, reason: RotationReason
    ) -> None:
        record = await self._open(tx, linkage, epoch, agency, reason.value)
        if reason is RotationReason.SUSPICION:
            await tx.encodings.drop_before(linkage.id, record.epoch)
        body: dict[str, JsonInput] = {
            "linkage": linkage.id,
            "epoch": record.epoch,
            "reason": reason.value,
        }
        await self._audit.append(tx, AuditAction.EPOCH_ROTATED, body, actor=agency, policy=linkage.hash)

    async def _too_often(
        self,
        tx: Transaction,
        linkage: Linkage,
        current: EpochRecord,
        agency: str,
        reason: RotationReason,
        believed_current: int,
    ) -> str:
        """Why an agency gets no new epoch now, or nothing: one member must not end a linkage for all."""
        now = self._clock()
        earlier = [
            item for item in await tx.epochs.opened_since(linkage.id, now - _DAY) if item.opened_by == agency
        ]
        if reason in _ALARMS and not any(item.reason == reason.value for item in earlier):
            return ""
        most, young = self._watch.rotations_per_day, self._watch.young_key_minutes
        if len(earlier) >= most:
            return (
                f"{agency} has asked for {len(earlier)} new keys of {linkage.id} within a day; at most "
                f"{most} are made for one agency. Another participant may ask"
            )
        is_young = current.state is EpochState.KEYING and now - current.created < timedelta(minutes=young)
        if is_young and believed_current == current.epoch:
            return (
                f"the key of epoch {current.epoch} of {linkage.id} is being agreed; ask again "
                f"{young} minutes after it was begun"
            )
        return ""

    async def _note_refusal(
        self, tx: Transaction, linkage: Linkage, current: EpochRecord, agency: str, reason: RotationReason
    ) -> None:
        now = self._clock()
        last = self._refused.get((linkage.id, agency))
        if last is not None and now - last < _REFUSALS_APART:
            return
        self._refused[linkage.id, agency] = now
        body: dict[str, JsonInput] = {
            "linkage": linkage.id,
            "epoch": current.epoch,
            "rotation_refused": reason.value,
        }
        await self._audit.append(tx, AuditAction.MISUSE_SUSPECTED, body, actor=agency, policy=linkage.hash)

    async def confirm(
        self, agency: str, linkage_id: str, epoch: int, confirmation: Confirmation
    ) -> EpochState:
        """Takes a participant's confirmation; the last one decides whether the epoch opens.

        Raises:
            RefusedError: WRONG_EPOCH; KEY_MISMATCH where the epoch failed already, or the agency said
                something else before.
        """
        if not len(confirmation.transcript_hash) == len(confirmation.confirmation) == _HASH_BYTES:
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT, "a transcript hash and a confirmation have 32 bytes each"
            )
        linkage = self._catalogue.linkage_for(linkage_id, agency)
        async with self._store.write() as tx:
            record = await self.ensure(tx, linkage)
            if epoch != record.epoch:
                raise RefusedError(
                    ErrorCode.WRONG_EPOCH, f"the current epoch of {linkage.id} is {record.epoch}, not {epoch}"
                )
            held = {item.agency: item for item in await tx.epochs.confirmations(linkage.id, epoch)}
            known = held.get(agency)
            if known is not None and not _same(known, confirmation):
                raise RefusedError(
                    ErrorCode.KEY_MISMATCH,
                    f"{agency} confirmed another key in epoch {epoch}; ask for a new epoch",
                )
            if record.state is EpochState.FAILED:
                raise RefusedError(
                    ErrorCode.KEY_MISMATCH, f"the keys of epoch {epoch} differ; ask for a new epoch"
                )
            if known is None:
                await tx.epochs.add_confirmation(linkage.id, epoch, confirmation)
                held[agency] = confirmation
            if record.state is EpochState.KEYING and set(held) >= set(linkage.agencies):
                return await self._decide(tx, linkage, record, list(held.values()))
            return record.state

    async def _replaced(self, tx: Transaction, linkage: Linkage, current: EpochRecord) -> bool:
        """Whether the current epoch is of a newer agreement that is in force."""
        held = await tx.documents.get(current.agreement_hash)
        if held is None or held.version <= linkage.agreement.version:
            return False
        newer = open_document(LinkageAgreement, Envelope.from_bytes(held.document))
        return newer.in_force(self._clock())

    async def _open(
        self, tx: Transaction, linkage: Linkage, number: int, opened_by: str = "", reason: str = ""
    ) -> EpochRecord:
        record = EpochRecord(
            linkage.id,
            number,
            EpochState.KEYING,
            linkage.hash,
            linkage.agreement.schema_hash,
            self._clock(),
            opened_by,
            reason,
        )
        await tx.epochs.put(record)
        return record

    async def _decide(
        self, tx: Transaction, linkage: Linkage, record: EpochRecord, said: Sequence[Confirmation]
    ) -> EpochState:
        differing = dissenters(said)
        state = EpochState.FAILED if differing else EpochState.OPEN
        await tx.epochs.put(replace(record, state=state))
        body: dict[str, JsonInput] = {
            "linkage": linkage.id,
            "epoch": record.epoch,
            "differing": list(differing),
        }
        action = AuditAction.EPOCH_FAILED if differing else AuditAction.EPOCH_KEYED
        await self._audit.append(tx, action, body, policy=linkage.hash)
        return state


def dissenters(said: Sequence[Confirmation]) -> tuple[str, ...]:
    """Who said something else than most; all, where no key has more supporters than any other."""
    votes = Counter((item.transcript_hash, item.confirmation) for item in said)
    (majority, most), *others = votes.most_common(2)
    if not others:
        return ()
    tied = others[0][1] == most
    return tuple(
        sorted(item.agency for item in said if tied or (item.transcript_hash, item.confirmation) != majority)
    )


def _same(one: Confirmation, other: Confirmation) -> bool:
    return hmac.compare_digest(one.confirmation, other.confirmation) and hmac.compare_digest(
        one.transcript_hash, other.transcript_hash
    )

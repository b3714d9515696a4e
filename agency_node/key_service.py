"""Key agreements over the mailbox, and the keys that came of them.

The state machine is `agency_node.keying`. Here each of its steps and the messages that follow from it are one
transaction, so that a node may be killed at any point: it goes on with the same contribution.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from agency_node.documents import PolicyBook
from agency_node.errors import RetryLaterError
from agency_node.keying import (
    Fault,
    KeyAgreement,
    KeyCommitment,
    KeyContribution,
    KeyDispute,
    KeyDocument,
    Terms,
    begin,
)
from agency_node.keys import Wrapper
from agency_node.mailbox import Mailbox, OpenedMessage, RegistryAt
from agency_node.model import EpochKey, KeyState
from agency_node.ports import AuditSink, Clock, NodeIdentity
from agency_node.store.store import NodeStore, NodeTransaction
from crypto.audit import AuditAction
from crypto.derive import CONTRIBUTION_BYTES
from crypto.envelope import Envelope
from crypto.keys import VerifyKey
from policies.agreement import LinkageAgreement
from policies.codec import open_document
from policies.ids import AgencyId, LinkageId
from policies.registry import Registry
from policies.verified import VerifiedAgreement
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Epoch, EpochState, RotationReason
from protos.wire.relay import ToAgency

_log = structlog.get_logger("keying")
#: How soon to look again while a key is being agreed, at first.
_SOON_SECONDS = 0.25
#: How long another node may be ahead of this one: until trust, documents and epoch have been fetched.
_EARLY_AT_MOST = timedelta(minutes=15)
#: A step of `KeyAgreement` that takes in a message.
_Take = Callable[[KeyAgreement, Envelope, Mapping[AgencyId, VerifyKey]], KeyAgreement]


class EpochSource(Protocol):
    """The broker's epochs."""

    async def epoch(self, linkage_id: str) -> Epoch: ...

    async def rotate(self, linkage_id: str, current_epoch: int, reason: RotationReason) -> int: ...

    async def confirm_key(
        self, linkage_id: str, epoch: int, transcript_hash: bytes, confirmation: bytes
    ) -> EpochState: ...


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Where the newest epoch of a linkage is, for people."""

    linkage_id: LinkageId
    epoch: int
    state: KeyState
    waiting_for: tuple[AgencyId, ...]
    fault: Fault | None
    culprit: AgencyId | None
    #: Why the broker's epoch is refused; empty if it is not.
    refusal: str = ""

    @property
    def shown(self) -> str:
        """The state for people, and who is to blame where it failed."""
        if self.refusal:
            return f"{self.state.value} ({self.refusal})"
        if self.fault is None:
            return self.state.value
        blamed = f" by {self.culprit}" if self.culprit else ""
        return f"{self.state.value} ({self.fault.value}{blamed}; rotate the key to begin anew)"


class KeyRing:
    """Linkage keys by linkage and epoch, encrypted at rest.

    An epoch's key encodes only while no later epoch has begun. The one before is kept for the identity
    evidence of requests that are under way.
    """

    def __init__(self, wrapper: Wrapper) -> None:
        self._wrapper = wrapper

    async def key(self, tx: NodeTransaction, linkage_id: LinkageId, epoch: int) -> bytes:
        """The linkage key of an open epoch, 32 bytes.

        Raises:
            RefusedError: EPOCH_NOT_OPEN.
        """
        agreement = await self.agreement(tx, linkage_id, epoch)
        if agreement is None or agreement.state is not KeyState.OPEN:
            raise RefusedError(
                ErrorCode.EPOCH_NOT_OPEN, f"this node holds no key of epoch {epoch} of linkage {linkage_id}"
            )
        return agreement.key

    async def encoding_key(self, tx: NodeTransaction, verified: VerifiedAgreement, epoch: int) -> bytes:
        """The key to encode under: the newest epoch's, agreed on under the agreement in force.

        Raises:
            RefusedError: EPOCH_WENT_BACK, EPOCH_NOT_OPEN.
        """
        await self.require_not_over(tx, verified, epoch)
        return await self.key(tx, verified.agreement.id, epoch)

    async def require_not_over(self, tx: NodeTransaction, verified: VerifiedAgreement, epoch: int) -> None:
        """Refuses an epoch that a broker names again after it ended, or under another agreement.

        Its key may be suspected, or known to a participant who has left; and this node has signed a
        commitment for it, beside which another one would pass for a lie.

        Raises:
            RefusedError: EPOCH_WENT_BACK.
        """
        linkage_id = verified.agreement.id
        highest = await tx.epochs.highest(linkage_id)
        held = await tx.epochs.get(linkage_id, epoch)
        going_on = epoch == highest and held is not None and held.agreement_hash == verified.hash
        if epoch <= highest and not going_on:
            raise RefusedError(
                ErrorCode.EPOCH_WENT_BACK,
                f"the broker names epoch {epoch} of {linkage_id}, but that is over: {highest} was the last. "
                "Ask the broker's operator. Only if its database was lost or restored, run "
                f"`tallystick node rotate-key {linkage_id}`, which goes on to an epoch that was never used",
            )

    async def agreement(self, tx: NodeTransaction, linkage_id: LinkageId, epoch: int) -> KeyAgreement | None:
        """One epoch's key agreement."""
        entry = await tx.epochs.get(linkage_id, epoch)
        return None if entry is None else self._open(entry)

    async def newest(self, tx: NodeTransaction, linkage_id: LinkageId) -> KeyAgreement | None:
        """The newest epoch's key agreement."""
        entry = await tx.epochs.newest(linkage_id)
        return None if entry is None else self._open(entry)

    async def put(self, tx: NodeTransaction, agreement: KeyAgreement, now: datetime) -> None:
        """Keeps an agreement's newest state."""
        terms = agreement.terms
        wrapped = self._wrapper.wrap(agreement.to_bytes(), "epoch", str(terms.linkage), str(terms.epoch))
        await tx.epochs.put(
            EpochKey(terms.linkage, terms.epoch, agreement.state, terms.agreement_hash, wrapped, now)
        )

    def _open(self, entry: EpochKey) -> KeyAgreement:
        plain = self._wrapper.unwrap(entry.wrapped, "epoch", str(entry.linkage_id), str(entry.epoch))
        return KeyAgreement.from_bytes(plain)


class KeyingService:
    """Brings every linkage's current epoch to an open key."""

    def __init__(
        self,
        store: NodeStore,
        identity: NodeIdentity,
        registry_at: RegistryAt,
        book: PolicyBook,
        mailbox: Mailbox,
        ring: KeyRing,
        audit: AuditSink,
        clock: Clock,
    ) -> None:
        self._store = store
        self._identity = identity
        self._registry_at = registry_at
        self._book = book
        self._mailbox = mailbox
        self._ring = ring
        self._audit = audit
        self._clock = clock
        self._wake = asyncio.Event()
        self._went_back: dict[LinkageId, str] = {}
        for purpose, kind, take in (
            ("key-commitment", KeyCommitment, KeyAgreement.take_commitment),
            ("key-contribution", KeyContribution, KeyAgreement.take_contribution),
            ("key-dispute", KeyDispute, KeyAgreement.take_dispute),
        ):
            mailbox.on(purpose, partial(self._on_message, kind, take))

    # -- driving

    async def loop(self, broker: EpochSource, poll_seconds: float = 30.0) -> None:
        """Advances every linkage whenever something came in, and every `poll_seconds`.

        While a key is being agreed it looks again soon, then ever later: the last participant's confirmation
        opens the epoch at the broker, which sends no word of it.
        """
        soon = _SOON_SECONDS
        while True:
            self._wake.clear()
            soon = poll_seconds if await self.advance_all(broker) else min(poll_seconds, 2 * soon)
            try:
                async with asyncio.timeout(soon):
                    await self._wake.wait()
                soon = _SOON_SECONDS
            except TimeoutError:
                continue

    def nudge(self) -> None:
        """Something changed: look again now."""
        self._wake.set()

    async def advance_all(self, broker: EpochSource) -> bool:
        """Advances every linkage that this agency takes part in; a refusal stops only its own linkage.

        Returns whether every key is settled, so that nothing is soon to be expected.
        """
        now = self._clock()
        registry = self._registry_at(now)
        async with self._store.transaction() as tx:
            agreements = await self._book.agreements(tx, registry, now)
        settled = True
        for verified in agreements:
            try:
                state = await self.advance(broker, verified)
                settled &= state in (KeyState.OPEN, KeyState.FAILED)
            except RefusedError as refusal:
                if refusal.code is ErrorCode.UNAVAILABLE:
                    raise
                linkage = str(verified.agreement.id)
                _log.warning("key agreement refused", linkage=linkage, code=str(refusal.code))
                if refusal.code is ErrorCode.EPOCH_WENT_BACK:
                    await self._note_went_back(verified, refusal.detail)
        return settled

    async def _note_went_back(self, verified: VerifiedAgreement, detail: str) -> None:
        """For the status page as long as it lasts; on record once."""
        linkage_id = verified.agreement.id
        if self._went_back.get(linkage_id) == detail:
            return
        self._went_back[linkage_id] = detail
        _log.error("the broker names an epoch that is over", linkage=str(linkage_id), detail=detail)
        async with self._store.transaction() as tx:
            await self._audit.append(
                tx,
                AuditAction.EPOCH_FAILED,
                actor=str(self._identity.agency),
                policy=verified.hash,
                body={
                    "linkage": str(linkage_id),
                    "epoch": await tx.epochs.highest(linkage_id),
                    "fault": "epoch-went-back",
                    "culprit": "broker",
                },
            )

    async def advance(self, broker: EpochSource, verified: VerifiedAgreement) -> KeyState | None:
        """Does whatever can be done now for one linkage; returns the state, None while documents differ.

        Raises:
            RefusedError: EPOCH_WENT_BACK for an epoch that is over here; what the broker refuses.
        """
        linkage_id = verified.agreement.id
        current = await broker.epoch(linkage_id)
        if current.agreement_hash != verified.hash:
            _log.info("broker and node hold different agreements", linkage=str(linkage_id))
            return None
        agreement = await self._step(verified, current.epoch)
        self._went_back.pop(linkage_id, None)
        if agreement.complete and agreement.state is not KeyState.OPEN:
            agreement = await self._confirm(broker, agreement)
        if agreement.state is KeyState.OPEN:
            await self._rotate_if_old(broker, verified, current.epoch)
        return agreement.state

    async def rotate(self, broker: EpochSource, linkage_id: LinkageId, reason: RotationReason) -> int:
        """Asks for a new epoch and begins its key agreement; returns the epoch.

        A broker that lost its epochs counts from 1 again. It is told the highest that is known here, and
        opens the one after it.

        Raises:
            RefusedError: EPOCH_WENT_BACK for a broker that does not; what the broker refuses.
        """
        now = self._clock()
        registry = self._registry_at(now)
        async with self._store.transaction() as tx:
            verified = await self._book.agreement(tx, linkage_id, registry, now)
            highest = await tx.epochs.highest(linkage_id)
        known = max(highest, (await broker.epoch(linkage_id)).epoch)
        epoch = await broker.rotate(linkage_id, known, reason)
        if epoch <= highest:
            raise RefusedError(
                ErrorCode.EPOCH_WENT_BACK,
                f"the broker does not get beyond epoch {highest} of {linkage_id}, the last one here; "
                "ask its operator, and agree on a linkage with another id if that cannot be mended",
            )
        await self.advance(broker, verified)
        return epoch

    async def statuses(self) -> tuple[KeyStatus, ...]:
        """The newest epoch of every linkage."""
        now = self._clock()
        registry = self._registry_at(now)
        found: list[KeyStatus] = []
        async with self._store.transaction() as tx:
            for verified in await self._book.agreements(tx, registry, now):
                agreement = await self._ring.newest(tx, verified.agreement.id)
                if agreement is not None:
                    refusal = self._went_back.get(verified.agreement.id, "")
                    found.append(_status(agreement, refusal))
        return tuple(found)

    async def _step(self, verified: VerifiedAgreement, epoch: int) -> KeyAgreement:
        """Begins the epoch if it is new, and reveals once all have committed."""
        now = self._clock()
        registry = self._registry_at(now)
        linkage_id = verified.agreement.id
        begun = False
        async with self._store.transaction() as tx:
            await self._ring.require_not_over(tx, verified, epoch)
            agreement = await self._ring.agreement(tx, linkage_id, epoch)
            if agreement is None:
                terms = Terms(
                    registry.federation,
                    linkage_id,
                    epoch,
                    verified.hash,
                    tuple(sorted(verified.agreement.agencies)),
                )
                fresh = secrets.token_bytes(CONTRIBUTION_BYTES)
                agreement, envelope = begin(terms, self._identity.agency, fresh, self._identity.signer)
                await self._send(tx, agreement, "key-commitment", envelope)
                await self._ring.put(tx, agreement, now)
                begun = True
                _log.info("key agreement begun", linkage=str(linkage_id), epoch=epoch)
            if agreement.committed and not agreement.revealed and agreement.fault is None:
                agreement, envelope = agreement.reveal(self._identity.signer)
                await self._send(tx, agreement, "key-contribution", envelope)
                await self._ring.put(tx, agreement, now)
        self._mailbox.nudge()
        if begun:
            self._mailbox.retry()
        return agreement

    async def _send(
        self, tx: NodeTransaction, agreement: KeyAgreement, purpose: str, envelope: Envelope
    ) -> None:
        for member in agreement.others:
            await self._mailbox.post(tx, ToAgency(member), member, purpose, envelope)

    async def _confirm(self, broker: EpochSource, agreement: KeyAgreement) -> KeyAgreement:
        terms = agreement.terms
        try:
            state = await broker.confirm_key(
                terms.linkage, terms.epoch, agreement.transcript, agreement.confirmation
            )
        except RefusedError as refusal:
            if refusal.code is not ErrorCode.KEY_MISMATCH:
                raise
            state = EpochState.FAILED
        if state is EpochState.KEYING:
            return agreement
        async with self._store.transaction() as tx:
            held = await self._ring.agreement(tx, terms.linkage, terms.epoch)
            if held is None or held.state in (KeyState.OPEN, KeyState.FAILED):
                return held or agreement
            if state is EpochState.OPEN:
                held = held.confirmed_open()
                await self._audited(tx, AuditAction.EPOCH_KEYED, held)
                _log.info("epoch open", linkage=str(terms.linkage), epoch=terms.epoch)
            else:
                held = held.failed(Fault.KEY_MISMATCH, None)
                await self._audited(tx, AuditAction.EPOCH_FAILED, held)
                _log.error("keys differ", linkage=str(terms.linkage), epoch=terms.epoch)
            await self._ring.put(tx, held, self._clock())
        return held

    async def _rotate_if_old(self, broker: EpochSource, verified: VerifiedAgreement, epoch: int) -> None:
        linkage_id = verified.agreement.id
        async with self._store.transaction() as tx:
            entry = await tx.epochs.get(linkage_id, epoch)
        life = timedelta(days=verified.agreement.epoch_days)
        if entry is not None and self._clock() >= entry.updated + life:
            _log.info("epoch has reached its age", linkage=str(linkage_id), epoch=epoch)
            await broker.rotate(linkage_id, epoch, RotationReason.AGE)
            self.nudge()

    # -- messages

    async def _on_message(
        self, kind: type[KeyDocument], take: _Take, tx: NodeTransaction, message: OpenedMessage
    ) -> None:
        agreement, keys = await self._addressed(tx, message, open_document(kind, message.envelope))
        if agreement is not None:
            await self._keep(tx, agreement, take(agreement, message.envelope, keys))

    async def _addressed(
        self, tx: NodeTransaction, message: OpenedMessage, document: KeyDocument
    ) -> tuple[KeyAgreement | None, Mapping[AgencyId, VerifyKey]]:
        """The agreement that a message is about; None if that epoch is over.

        Raises:
            RefusedError: the sender is not the author, or none of it concerns this node. RetryLaterError:
                this node does not know of the epoch yet.
        """
        if document.agency != message.sender:
            raise RefusedError(
                ErrorCode.ACTING_FOR_ANOTHER,
                f"{message.sender} sent a key message in the name of {document.agency}",
            )
        registry = self._registry_at(self._clock())
        agreement = await self._ring.agreement(tx, document.linkage, document.epoch)
        if agreement is not None:
            return agreement, _keys(registry, agreement.terms.members)
        if document.epoch <= await tx.epochs.highest(document.linkage):
            return None, {}
        await self._require_concerned(tx, document)
        self.nudge()
        raise RetryLaterError(
            f"epoch {document.epoch} of {document.linkage} is not known here yet", _EARLY_AT_MOST
        )

    async def _require_concerned(self, tx: NodeTransaction, document: KeyDocument) -> None:
        """Refuses a message about a linkage in which its author, or this node, takes no part.

        An agreement that is not held here may have been published this minute.
        """
        bundle = await tx.documents.get(document.agreement_hash)
        if bundle is None:
            return
        agreement = open_document(LinkageAgreement, Envelope.from_bytes(bundle.document))
        if agreement.id != document.linkage:
            raise RefusedError(ErrorCode.LINKAGE_UNKNOWN, "a key message names another agreement's linkage")
        if not {document.agency, self._identity.agency} <= set(agreement.agencies):
            raise RefusedError(
                ErrorCode.NOT_A_PARTICIPANT,
                f"{document.agency} sent a key message about {document.linkage}, but is no participant",
            )

    async def _keep(self, tx: NodeTransaction, before: KeyAgreement, after: KeyAgreement) -> None:
        if after == before:
            return
        if after.fault is not None and before.fault is None:
            await self._audited(tx, AuditAction.EPOCH_FAILED, after)
            _log.error(
                "key agreement failed",
                linkage=str(after.terms.linkage),
                epoch=after.terms.epoch,
                fault=after.fault.value,
                culprit=str(after.culprit or ""),
            )
            await self._send(tx, after, "key-dispute", after.dispute(self._identity.signer))
        await self._ring.put(tx, after, self._clock())
        self.nudge()

    async def _audited(self, tx: NodeTransaction, action: AuditAction, agreement: KeyAgreement) -> None:
        await self._audit.append(
            tx,
            action,
            actor=str(self._identity.agency),
            policy=agreement.terms.agreement_hash,
            body={
                "linkage": str(agreement.terms.linkage),
                "epoch": agreement.terms.epoch,
                "fault": agreement.fault.value if agreement.fault else "",
                "culprit": str(agreement.culprit or ""),
            },
        )


def _keys(registry: Registry, members: tuple[AgencyId, ...]) -> dict[AgencyId, VerifyKey]:
    listed = {member: registry.agency(member) for member in members}
    return {member: agency.node_verify_key for member, agency in listed.items() if agency is not None}


def _status(agreement: KeyAgreement, refusal: str) -> KeyStatus:
    return KeyStatus(
        agreement.terms.linkage,
        agreement.terms.epoch,
        agreement.state,
        agreement.waiting_for,
        agreement.fault,
        agreement.culprit,
        refusal,
    )

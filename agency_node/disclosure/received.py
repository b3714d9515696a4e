"""Keeping what another agency released, whether it was asked for or pushed.

Audit entries, the note of the release and the receipt are one transaction with its keeping. What the
provider had taken back before it came is receipted and purged at once: the relay may deliver a recall first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.model import ReleaseSide, ReleaseState, StoredRelease
from agency_node.disclosure.provenance import note_received
from agency_node.disclosure.retention import Retention
from agency_node.mailbox import OpenedMessage
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction, reference
from crypto.canonical import JsonInput
from policies.codec import document_hash
from policies.disclosure import DisclosureReceipt, DisclosureRelease
from policies.ids import DocumentId, Hash256
from policies.sharing import SharingPolicy
from policies.signing import CLOCK_SKEW
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS
from protos.wire.relay import ToAgency

#: 128 random bits. A number that could be guessed might be one of this agency's own records.
_RANDOM_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST_WAY = timedelta(seconds=LIMITS.relay_ttl_seconds) + CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class Arrived:
    """A release that fits what was asked or offered, and where it belongs."""

    message: OpenedMessage
    release: DisclosureRelease = field(repr=False)
    subject: SubjectId = field(repr=False)
    link_mac: str
    #: Who is on record as having received it: the officer who asked, or this agency.
    actor: str
    request_id: DocumentId | None = None


def require_keepable(release: DisclosureRelease, policy: SharingPolicy, now: datetime) -> None:
    """Dates and record numbers that a provider could use against the recipient.

    Raises:
        RefusedError: REQUEST_INVALID for a release from the future or from before what the relay may hold,
            one that may be kept longer than the policy says, or records whose numbers are not random.
    """
    if not now - _LONGEST_WAY <= release.released_at <= now + CLOCK_SKEW:
        raise RefusedError(ErrorCode.REQUEST_INVALID, "a release is dated wrongly; it was not kept")
    longest = release.released_at + timedelta(days=max(1, policy.obligations.retention_days))
    if release.purge_after > longest or release.onward_sharing:
        raise RefusedError(
            ErrorCode.REQUEST_INVALID, "a release says otherwise than its policy what may be done with it"
        )
    if not all(_RANDOM_ID.fullmatch(record.id) for record in release.records):
        raise RefusedError(ErrorCode.REQUEST_INVALID, "the numbers of released records are 128 random bits")


async def keep_release(
    context: DisclosureContext, retention: Retention, tx: NodeTransaction, arrived: Arrived, now: datetime
) -> bool:
    """Keeps a release and sends its receipt; False where it was taken back before it came, and is purged.

    Raises:
        RefusedError: REQUEST_REPLAYED for one that came before.
    """
    release, message = arrived.release, arrived.message
    release_hash = document_hash(release)
    if await tx.releases.get(ReleaseSide.RECEIVED, release_hash) is not None:
        raise RefusedError(ErrorCode.REQUEST_REPLAYED, "a release came twice")
    stored = StoredRelease(
        side=ReleaseSide.RECEIVED,
        release_hash=release_hash,
        request_id=arrived.request_id,
        peer=message.sender,
        state=ReleaseState.OPEN,
        policy_hash=release.policy_hash,
        subject_mac=context.vault.subject_mac(arrived.subject),
        link_mac=arrived.link_mac,
        released=release.released_at,
        purge_after=release.purge_after,
        wrapped=context.vault.wrap_release(release_hash, message.envelope, arrived.subject),
    )
    await tx.releases.add(stored)
    await note_received(tx, context.vault, release)
    await _note(context, tx, arrived, release_hash)
    receipt = DisclosureReceipt(context.new_id(), Hash256(release_hash), context.me, now, release.purge_after)
    peer = message.sender
    await context.mailbox.post(tx, ToAgency(peer), peer, "disclosure-receipt", context.signed(receipt))
    reason = await tx.releases.recalled(peer, release_hash)
    if reason is None:
        return True
    await retention.purge(tx, stored, reason, now)
    return False


async def _note(context: DisclosureContext, tx: NodeTransaction, arrived: Arrived, release_hash: str) -> None:
    release = arrived.release
    body: dict[str, JsonInput] = {
        "provider": str(release.provider),
        "records": len(release.records),
        "purge_after": release.purge_after.isoformat(),
    }
    body |= {"pushed": True} if arrived.request_id is None else {"request": str(arrived.request_id)}
    for action, actor in (
        (AuditAction.DISCLOSURE_RECEIVED, arrived.actor),
        (AuditAction.RECEIPT_SENT, str(context.me)),
    ):
        await context.log.append(
            tx,
            action,
            actor=actor,
            subject=arrived.subject,
            policy=release.policy_hash,
            ref=reference(release_hash),
            body=body,
        )

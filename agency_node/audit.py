"""The node's audit log: RFC 6962 leaves, sealed details, signed heads.

An entry is appended in the caller's transaction, so it is durable exactly when the effect is that it reports.
Its details are encrypted under a key of its subject (or of the log, for entries about nobody); destroying
that key makes the details unreadable and leaves every proof valid. Subjects are found again by a keyed hash.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from agency_node.keys import NodeKeys, Wrapper
from agency_node.ports import Append, Clock, NodeIdentity
from agency_node.store.audit import DataKey, StoredEntry
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto import merkle
from crypto.audit import AuditAction, AuditDetails, AuditEntry, build_entry, new_data_key, open_details
from crypto.canonical import JsonInput
from crypto.checkpoint import (
    Checkpoint,
    NoteSignature,
    SignedCheckpoint,
    add_cosignature,
    parse_checkpoint,
    sign_checkpoint,
)
from crypto.derive import frame, hkdf
from crypto.errors import MerkleError
from policies.audit_names import log_origin

#: Stands for "nobody" among the subjects: the key of entries that are about no subject.
_LOG_ITSELF = ""


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """An entry with its details opened; None where they were erased."""

    entry: StoredEntry
    details: AuditDetails | None


class AuditLog:
    """Appends, signs heads, proves. Satisfies `agency_node.ports.AuditSink`."""

    def __init__(
        self,
        identity: NodeIdentity,
        wrapper: Wrapper,
        clock: Clock,
        rng_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.origin = log_origin(identity.federation, identity.agency)
        self._identity = identity
        self._wrapper = wrapper
        self._clock = clock
        self._rng_bytes = rng_bytes
        self._mac_key = hkdf(wrapper.secret, frame("tallystick/audit-subject/v1"), 32)

    # -- writing

    async def append(
        self,
        tx: NodeTransaction,
        action: AuditAction,
        *,
        actor: str,
        body: Mapping[str, JsonInput],
        subject: SubjectId | None = None,
        policy: str | None = None,
        ref: str | None = None,
    ) -> None:
        """One entry, durable when `tx` is."""
        await self.append_all(tx, [Append(action, actor, body, subject, policy, ref)])

    async def append_all(self, tx: NodeTransaction, items: Sequence[Append]) -> None:
        """Several entries in order; cheaper than one by one."""
        if not items:
            return
        head = await tx.audit.head()
        # Clocks are set back now and then; a log's times never go back.
        now = max(self._clock().replace(microsecond=0), head.last_time)
        macs = [self.subject_mac(item.subject or SubjectId(_LOG_ITSELF)) for item in items]
        keys = await self._data_keys(tx, macs)
        entries: list[tuple[AuditEntry, str]] = []
        for seq, (item, mac) in enumerate(zip(items, macs, strict=True), head.frontier.size):
            key_id, data_key = keys[mac]
            entry = build_entry(
                seq=seq,
                time=now,
                origin=self.origin,
                action=item.action,
                details=AuditDetails(item.actor, item.subject, item.body),
                data_key=data_key,
                policy=item.policy,
                ref=item.ref,
                rng_bytes=self._rng_bytes,
            )
            entries.append((entry, key_id))
        await tx.audit.append(entries, head)

    async def erase(self, tx: NodeTransaction, subject: SubjectId) -> bool:
        """Destroys the details of all entries about a subject; whether there were any. Proofs stay valid."""
        return await tx.audit.erase_key(self.subject_mac(subject))

    def subject_mac(self, subject: SubjectId) -> str:
        """The keyed hash under which a subject is found again: 64 hex digits."""
        return hmac.digest(self._mac_key, subject.encode("utf-8"), "sha256").hex()

    # -- reading

    async def size(self, tx: NodeTransaction) -> int:
        """How many entries there are."""
        return await tx.audit.size()

    async def about(self, tx: NodeTransaction, subject: SubjectId) -> tuple[ReadEntry, ...]:
        """The entries about a subject whose details have not been erased, in order."""
        key = await tx.audit.key_of(self.subject_mac(subject))
        if key is None:
            return ()
        return tuple([await self._read(tx, entry) for entry in await tx.audit.of_key(key.key_id)])

    async def read(
        self, tx: NodeTransaction, start: int = 0, end: int | None = None
    ) -> AsyncIterator[ReadEntry]:
        """Entries in order, opened."""
        async for entry in tx.audit.entries(start, end):
            yield await self._read(tx, entry)

    # -- heads and proofs

    async def checkpoint(self, tx: NodeTransaction) -> SignedCheckpoint:
        """The signed head of all entries so far, kept; the same again while nothing is appended."""
        frontier = (await tx.audit.head()).frontier
        held = await tx.audit.checkpoint(frontier.size)
        if held is not None:
            return parse_checkpoint(held)
        signed = sign_checkpoint(
            Checkpoint(self.origin, frontier.size, frontier.root()), self._identity.signer
        )
        await tx.audit.put_checkpoint(frontier.size, signed.to_bytes())
        return signed

    async def add_cosignature(self, tx: NodeTransaction, size: int, cosignature: NoteSignature) -> None:
        """Keeps a witness's line under the head of `size`; the caller has verified it."""
        held = await tx.audit.checkpoint(size)
        if held is not None:
            signed = add_cosignature(parse_checkpoint(held), cosignature)
            await tx.audit.put_checkpoint(size, signed.to_bytes())

    async def inclusion(self, tx: NodeTransaction, seq: int, size: int) -> tuple[bytes, ...]:
        """The RFC 6962 proof that entry `seq` is in the log of `size` entries. Raises MerkleError."""
        await _require_size(tx, size)
        return await _proved(tx, lambda nodes: merkle.inclusion_proof(nodes, seq, size))

    async def consistency(self, tx: NodeTransaction, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """The RFC 6962 proof that the log of `new_size` begins with that of `old_size`; MerkleError."""
        await _require_size(tx, new_size)
        return await _proved(tx, lambda nodes: merkle.consistency_proof(nodes, old_size, new_size))

    # -- keys

    async def _data_keys(self, tx: NodeTransaction, macs: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """The id and the data key of each subject; those that have none yet get one."""
        wanted = list(dict.fromkeys(macs))
        found: dict[str, tuple[str, bytes]] = {}
        for mac, held in (await tx.audit.keys_of(wanted)).items():
            if held.wrapped is not None:
                found[mac] = held.key_id, self._wrapper.unwrap(held.wrapped, "audit-key", held.key_id)
        fresh: dict[str, DataKey] = {}
        for mac in wanted:
            if mac not in found:
                key_id, data_key = self._rng_bytes(16).hex(), new_data_key(self._rng_bytes)
                fresh[mac] = DataKey(key_id, self._wrapper.wrap(data_key, "audit-key", key_id))
                found[mac] = key_id, data_key
        await tx.audit.add_keys(fresh)
        return found

    async def _read(self, tx: NodeTransaction, entry: StoredEntry) -> ReadEntry:
        key = await tx.audit.key(entry.key_id)
        if key is None or key.wrapped is None:
            return ReadEntry(entry, None)
        data_key = self._wrapper.unwrap(key.wrapped, "audit-key", key.key_id)
        return ReadEntry(entry, open_details(entry.leaf, entry.sealed, data_key))


def build_audit(keys: NodeKeys, clock: Clock) -> AuditLog:
    """The log of the node with these keys."""
    return AuditLog(keys, keys.audit_wrapper, clock)


class _MissingNodeError(Exception):
    """A proof needs a node that has not been fetched yet."""

    def __init__(self, level: int, index: int) -> None:
        super().__init__(f"level {level}, index {index}")
        self.place = (level, index)


class _Fetched:
    """Nodes fetched so far; the proof makers are synchronous, the store is not."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], bytes] = {}

    def node(self, level: int, index: int) -> bytes:
        try:
            return self.held[level, index]
        except KeyError:
            raise _MissingNodeError(level, index) from None


async def _require_size(tx: NodeTransaction, size: int) -> None:
    if size > await tx.audit.size():
        raise MerkleError(f"the log has fewer than {size} entries")


async def _proved(
    tx: NodeTransaction, make: Callable[[merkle.NodeReader], tuple[bytes, ...]]
) -> tuple[bytes, ...]:
    nodes = _Fetched()
    while True:
        try:
            return make(nodes)
        except _MissingNodeError as missing:
            found = await tx.audit.nodes([missing.place])
            if not found:
                raise MerkleError(f"the log holds no complete node at {missing}") from None
            nodes.held |= found

"""The broker's own audit log: what it accepted, matched, told and refused, for any member to witness.

An entry is part of the transaction of its effect: both are durable, or neither. The checkpoint over it is
signed in the same transaction. Nothing in a leaf names a subject; the details beside it hold counts and ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from broker.store.model import LogNode
from broker.store.ports import AuditStore, Transaction
from crypto import merkle
from crypto.audit import AuditAction, AuditDetails, build_entry
from crypto.canonical import JsonInput
from crypto.checkpoint import (
    Checkpoint,
    add_cosignature,
    parse_checkpoint,
    parse_cosignature,
    sign_checkpoint,
    verified_cosignatures,
)
from crypto.errors import CheckpointError, MerkleError, SignatureError
from crypto.keys import Signer, VerifyKey
from policies.audit_names import broker_log_origin, witness_name
from policies.ids import AgencyId, FederationId
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS

Clock = Callable[[], datetime]


class AuditLog:
    """Appends to the log and proves things about it.

    `details_key` (32 bytes) encrypts the details beside the leaves.
    """

    def __init__(self, signer: Signer, federation: str, details_key: bytes, clock: Clock) -> None:
        self._signer = signer
        self._federation = FederationId(federation)
        self._details_key = details_key
        self._clock = clock

    @property
    def verify_key(self) -> VerifyKey:
        """By which others verify the log's checkpoints."""
        return self._signer.verify_key

    @property
    def origin(self) -> str:
        """The log's name."""
        return broker_log_origin(self._federation)

    async def append(
        self,
        tx: Transaction,
        action: AuditAction,
        body: Mapping[str, JsonInput],
        *,
        actor: str = "broker",
        policy: str | None = None,
    ) -> None:
        """Adds an entry and the checkpoint over it to the transaction."""
        size = await tx.audit.size()
        entry = build_entry(
            seq=size,
            time=self._clock(),
            origin=self.origin,
            action=action,
            details=AuditDetails(actor, None, body),
            data_key=self._details_key,
            policy=policy,
        )
        frontier = await _frontier(tx.audit, size)
        leaf = entry.leaf.to_bytes()
        completed = [LogNode(node.level, node.index, node.hash) for node in frontier.append(leaf)]
        await tx.audit.append(size, leaf, entry.sealed, completed)
        note = sign_checkpoint(Checkpoint(self.origin, frontier.size, frontier.root()), self._signer)
        await tx.audit.put_checkpoint(frontier.size, note.to_bytes())

    async def checkpoint(self, tx: Transaction) -> bytes:
        """The newest signed checkpoint, with its cosignatures; of the empty log if nothing happened yet."""
        newest = await tx.audit.checkpoint()
        if newest is not None:
            return newest[1]
        return sign_checkpoint(Checkpoint(self.origin, 0, merkle.EMPTY_ROOT), self._signer).to_bytes()

    async def consistency(self, tx: Transaction, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """The proof that the log of `new_size` leaves begins with that of `old_size`."""
        size = await tx.audit.size()
        if not 0 <= old_size <= new_size <= size:
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT, f"the log has {size} leaves; ask for sizes up to that"
            )
        recorder = _Recorder()
        merkle.consistency_proof(recorder, old_size, new_size)
        nodes = await tx.audit.nodes(recorder.wanted)
        return merkle.consistency_proof(_Nodes(nodes), old_size, new_size)

    def check_range(self, first: int, end: int) -> None:
        """Refuses a range of leaves that is none, or too long."""
        if not 0 <= first <= end:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "leaves are asked for as first <= end")
        if end - first > LIMITS.leaves_per_read:
            raise RefusedError(ErrorCode.TOO_LARGE, f"at most {LIMITS.leaves_per_read} leaves in one call")

    async def add_cosignature(
        self, tx: Transaction, agency: str, key: VerifyKey, size: int, line: bytes
    ) -> None:
        """Adds an agency's word for the checkpoint of a size, after verifying it under the agency's key."""
        held = await tx.audit.checkpoint_at(size)
        if held is None:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"the log has no checkpoint of size {size}")
        name = witness_name(self._federation, AgencyId(agency))
        try:
            cosignature = parse_cosignature(line.decode("utf-8"))
            if cosignature.name != name:
                raise RefusedError(
                    ErrorCode.ACTING_FOR_ANOTHER, f"{agency} cosigns as {name}, not under another name"
                )
            signed = parse_checkpoint(held)
            alone = replace(signed, signatures=(cosignature,))
            if not verified_cosignatures(alone, {name: key}):
                raise SignatureError("the cosignature is by another key than the node's")
        except (CheckpointError, UnicodeDecodeError) as error:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"not a cosignature: {error}") from None
        except SignatureError as error:
            raise RefusedError(
                ErrorCode.SIGNATURE_INVALID, f"the cosignature does not hold: {error}"
            ) from None
        await tx.audit.put_checkpoint(size, add_cosignature(signed, cosignature).to_bytes())


class _Recorder:
    """Notes which nodes a proof needs; proofs never look at the hashes themselves."""

    def __init__(self) -> None:
        self.wanted: list[tuple[int, int]] = []

    def node(self, level: int, index: int) -> bytes:
        self.wanted.append((level, index))
        return bytes(merkle.HASH_BYTES)


class _Nodes:
    def __init__(self, nodes: Mapping[tuple[int, int], bytes]) -> None:
        self._nodes = nodes

    def node(self, level: int, index: int) -> bytes:
        try:
            return self._nodes[level, index]
        except KeyError:
            raise MerkleError(f"the log has lost its node at level {level}, index {index}") from None


async def _frontier(store: AuditStore, size: int) -> merkle.MerkleFrontier:
    recorder = _Recorder()
    merkle.frontier_from_nodes(recorder, size)
    return merkle.frontier_from_nodes(_Nodes(await store.nodes(recorder.wanted)), size)

"""What a witness checks before it cosigns, as a pure rule: a log only ever grows.

A witness remembers, for each log, the last checkpoint that it cosigned. It cosigns another only if that one
is signed by the log's key, is not smaller, and is proven to begin with what the witness has seen
(c2sp.org/tlog-witness). The caller stores the outcome durably *before* it sends its cosignature, or a crash
could make it vouch for two histories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from crypto import merkle
from crypto.checkpoint import Checkpoint, SignedCheckpoint, verify_checkpoint
from crypto.errors import CheckpointError, ProofError, SignatureError
from crypto.keys import VerifyKey


class Refusal(StrEnum):
    """Why a witness did not cosign; a closed list."""

    NOT_SIGNED = "not-signed"
    OTHER_LOG = "other-log"
    SHRUNK = "shrunk"
    FORK = "fork"
    REWRITTEN = "rewritten"


@dataclass(frozen=True, slots=True)
class Consistent:
    """The checkpoint may be cosigned, and is the one to remember."""

    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Refused:
    """The checkpoint must not be cosigned; `seen` is what the witness holds against it."""

    reason: Refusal
    seen: Checkpoint | None


def examine(
    seen: Checkpoint | None,
    signed: SignedCheckpoint,
    proof: Sequence[bytes],
    *,
    origin: str,
    key: VerifyKey,
) -> Consistent | Refused:
    """Whether a witness that last cosigned `seen` (None: nothing yet) may cosign `signed`.

    `proof` is the RFC 6962 consistency proof from `seen` to `signed`, empty where `seen` is None or of the
    same size. A first checkpoint is taken on trust of the log's signature, as every witness must.
    """
    try:
        checkpoint = verify_checkpoint(signed, origin, key)
    except CheckpointError:
        return Refused(Refusal.OTHER_LOG, seen)
    except SignatureError:
        return Refused(Refusal.NOT_SIGNED, seen)
    if seen is None:
        return Consistent(checkpoint)
    if seen.origin != origin:
        return Refused(Refusal.OTHER_LOG, seen)
    if checkpoint.size < seen.size:
        return Refused(Refusal.SHRUNK, seen)
    if checkpoint.size == seen.size and checkpoint.root != seen.root:
        return Refused(Refusal.FORK, seen)
    try:
        merkle.verify_consistency(seen.size, seen.root, checkpoint.size, checkpoint.root, proof)
    except ProofError:
        return Refused(Refusal.REWRITTEN, seen)
    return Consistent(checkpoint)

"""Signed tree heads: C2SP signed notes, tlog checkpoints and witness cosignatures.

Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature (Ed25519,
`cosignature/v1`). A note is::

    <origin>\\n<tree size in decimal>\\n<root hash, base64>\\n[<extension>\\n ...]\\n
    \\u2014 <key name> <base64(key id (4 bytes) || signature)>\\n ...

    log key id         = SHA-256(name || 0x0A || 0x01 || Ed25519 public key)[:4]      signs the text
    witness key id     = SHA-256(name || 0x0A || 0x04 || Ed25519 public key)[:4]
    witness signature  = u64 big-endian seconds since 1970 || Ed25519 of
                         "cosignature/v1\\ntime <seconds>\\n" || text

The text ends with its last newline, before the blank line. The log's key name is its origin. Neither text
can be mistaken for a DSSE encoding, which begins with "DSSEv1 " where an origin has no space, so one node
key may sign both.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from crypto.derive import u64
from crypto.errors import CheckpointError, SignatureError
from crypto.keys import Signer, VerifyKey

MAX_NOTE_BYTES = 65_536
MAX_SIGNATURES = 64
MAX_TREE_SIZE = 2**63 - 1
_LOG = b"\x01"
_WITNESS = b"\x04"
_DASH = "\u2014 "
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_COSIGNATURE_HEADER = "cosignature/v1"
_MAX_TIMESTAMP = 2**63 - 1
_LAST_SECOND = 253_402_300_799
# Control characters, which a note must not contain, other than the newline that ends each line.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line; `value` is what follows the key id."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line without its newline."""
        return f"{_DASH}{self.name} {_b64(self.key_id + self.value)}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: which log, how many leaves, and their RFC 6962 root (32 bytes)."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_key_name(self.origin)
        if not 0 <= self.size <= MAX_TREE_SIZE:
            raise CheckpointError("the tree size of a checkpoint is out of range")
        if len(self.root) != 32:
            raise CheckpointError("the root hash of a checkpoint has 32 bytes")
        if any(not line or "\n" in line or _CONTROL.search(line) for line in self.extensions):
            raise CheckpointError("an extension line of a checkpoint is empty or has control characters")

    @property
    def text(self) -> str:
        """The note text that is signed, with its final newline."""
        lines = (self.origin, str(self.size), _b64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with its signature lines.

    Nothing about it is trusted until `verify_checkpoint` says so.
    """

    checkpoint: Checkpoint
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        """The signed note, UTF-8."""
        lines = "".join(f"{signature.line}\n" for signature in self.signatures)
        return f"{self.checkpoint.text}\n{lines}".encode()


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's verified word that at `time` (UTC) this was the largest consistent tree it had seen."""

    witness: str
    time: datetime


def parse_checkpoint(data: bytes) -> SignedCheckpoint:
    """The inverse of `SignedCheckpoint.to_bytes`.

    Raises CheckpointError for anything else. Verifies no signature.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise CheckpointError(f"a checkpoint has at most {MAX_NOTE_BYTES} bytes")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise CheckpointError("the checkpoint is not UTF-8") from None
    if _CONTROL.search(note):
        raise CheckpointError("the checkpoint has control characters")
    text, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise CheckpointError("the checkpoint has no blank line before its signatures, or no final newline")
    signatures = tuple(_parse_signature(line) for line in lines[:-1].split("\n"))
    if len(signatures) > MAX_SIGNATURES:
        raise CheckpointError(f"a checkpoint has at most {MAX_SIGNATURES} signatures")
    if len(set(signatures)) != len(signatures):
        raise CheckpointError("the checkpoint has the same signature twice")
    return SignedCheckpoint(_parse_text(text), signatures)


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> SignedCheckpoint:
    """`checkpoint` signed by its log, under the origin as the key name."""
    key_id = note_key_id(checkpoint.origin, signer.verify_key, _LOG)
    value = signer.sign(checkpoint.text.encode())
    return SignedCheckpoint(checkpoint, (NoteSignature(checkpoint.origin, key_id, value),))


def verify_checkpoint(signed: SignedCheckpoint, origin: str, key: VerifyKey) -> Checkpoint:
    """The checkpoint, if it is of the log `origin` and signed by its key.

    CheckpointError or SignatureError otherwise.
    """
    checkpoint = signed.checkpoint
    if checkpoint.origin != origin:
        raise CheckpointError(f"the checkpoint is of another log than {origin}")
    key_id = note_key_id(origin, key, _LOG)
    found = [item for item in signed.signatures if (item.name, item.key_id) == (origin, key_id)]
    if not found:
        raise SignatureError(f"the checkpoint is not signed by the log {origin}")
    for item in found:
        key.verify(item.value, checkpoint.text.encode())
    return checkpoint


def cosign(checkpoint: Checkpoint, witness: str, signer: Signer, time: datetime) -> NoteSignature:
    """The line by which `witness` vouches for `checkpoint` at `time` (UTC aware, whole seconds are kept).

    The caller has verified the log's signature and the consistency with the last checkpoint that it cosigned.
    """
    require_key_name(witness)
    if time.tzinfo is None:
        raise CheckpointError("the time of a cosignature must be UTC aware")
    seconds = int(time.timestamp())
    if not 0 <= seconds <= _MAX_TIMESTAMP:
        raise CheckpointError("the time of a cosignature is out of range")
    value = u64(seconds) + signer.sign(_cosigned_message(checkpoint, seconds))
    return NoteSignature(witness, note_key_id(witness, signer.verify_key, _WITNESS), value)


def add_cosignature(signed: SignedCheckpoint, cosignature: NoteSignature) -> SignedCheckpoint:
    """`signed` with a further line, in place of an older one of the same witness key."""
    same_key = (cosignature.name, cosignature.key_id)
    kept = tuple(item for item in signed.signatures if (item.name, item.key_id) != same_key)
    if len(kept) >= MAX_SIGNATURES:
        raise CheckpointError(f"a checkpoint has at most {MAX_SIGNATURES} signatures")
    return replace(signed, signatures=(*kept, cosignature))


def parse_cosignature(line: str) -> NoteSignature:
    """One signature line, with or without its newline, as a witness sends it; raises CheckpointError."""
    return _parse_signature(line.removesuffix("\n"))


def verified_cosignatures(
    signed: SignedCheckpoint, witnesses: Mapping[str, VerifyKey]
) -> tuple[Cosignature, ...]:
    """The cosignatures of known witnesses (key by name), each key counted once even under two names.

    Lines of unknown keys are left out of account; one under a known name and key id that does not verify is
    a SignatureError.
    """
    known = {(name, note_key_id(name, key, _WITNESS)): key for name, key in witnesses.items()}
    found: dict[bytes, Cosignature] = {}
    for item in signed.signatures:
        key = known.get((item.name, item.key_id))
        if key is not None:
            time = _verify_cosignature(signed.checkpoint, item, key)
            found.setdefault(key.raw, Cosignature(item.name, time))
    return tuple(found.values())


def claimed_times(signed: SignedCheckpoint) -> frozenset[datetime]:
    """The times that cosignatures on a head give, none of them verified."""
    seconds = [
        int.from_bytes(item.value[:8], "big") for item in signed.signatures if len(item.value) == 8 + 64
    ]
    return frozenset(datetime.fromtimestamp(item, UTC) for item in seconds if item <= _LAST_SECOND)


def note_key_id(name: str, key: VerifyKey, signature_type: bytes) -> bytes:
    """The four bytes that stand for (name, type, key) in a signature line."""
    return hashlib.sha256(name.encode() + b"\n" + signature_type + key.raw).digest()[:4]


def require_key_name(name: str) -> None:
    """Return if `name` can be an origin or key name; CheckpointError otherwise."""
    plain = (
        bool(name) and "+" not in name and not any(char.isspace() or not char.isprintable() for char in name)
    )
    # An origin of that name would let a log sign what reads as a witness's statement.
    if not plain or name == _COSIGNATURE_HEADER:
        raise CheckpointError("the name of a log or witness is not empty and has no spaces or plus signs")


def _verify_cosignature(checkpoint: Checkpoint, item: NoteSignature, key: VerifyKey) -> datetime:
    if len(item.value) != 8 + 64:
        raise SignatureError(f"the cosignature of {item.name} has not 72 bytes")
    seconds = int.from_bytes(item.value[:8], "big")
    key.verify(item.value[8:], _cosigned_message(checkpoint, seconds))
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise SignatureError(f"the cosignature of {item.name} has a time out of range") from None


def _cosigned_message(checkpoint: Checkpoint, seconds: int) -> bytes:
    return f"{_COSIGNATURE_HEADER}\ntime {seconds}\n{checkpoint.text}".encode()


def _parse_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) < 3:
        raise CheckpointError("a checkpoint has an origin, a tree size and a root hash, each on its line")
    origin, size, root, *extensions = lines
    if not _SIZE.fullmatch(size):
        raise CheckpointError("the tree size of the checkpoint is not a decimal number")
    return Checkpoint(origin, int(size), _unb64(root), tuple(extensions))


def _parse_signature(line: str) -> NoteSignature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator:
        raise CheckpointError("a signature line of the checkpoint is malformed")
    require_key_name(name)
    raw = _unb64(encoded)
    if len(raw) <= 4:
        raise CheckpointError("a signature line of the checkpoint is malformed")
    return NoteSignature(name, raw[:4], raw[4:])


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise CheckpointError("a value of the checkpoint is not base64") from None
    if _b64(raw) != text:
        raise CheckpointError("a value of the checkpoint is not base64 in its one canonical form")
    return raw

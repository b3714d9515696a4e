"""Audit leaves: what an append-only log says for ever, and the details beside it that can be erased.

A leaf is canonical JSON and holds hashes and salted commitments only, no personal data::

    {"action": name, "actor": hex32, "details": hex32, "origin": text, "policy": hex32 | null,
     "ref": hex32 | null, "seq": n, "subject": hex32 | null, "time": "2025-01-31T12:00:00Z", "v": 1}

    actor   = HMAC-SHA-256(salt, frame("tallystick/audit/actor/v1", actor))
    subject = HMAC-SHA-256(salt, frame("tallystick/audit/subject/v1", subject))
    ref     = SHA-256(frame("tallystick/audit/ref/v1", id))   for ids that are random and at least 128 bits
    details = SHA-256(sealed details)
    sealed  = nonce (12 bytes) || AES-256-GCM(data key, nonce, canonical JSON of
              {"actor": text, "body": object, "salt": 32 random bytes as base64url, "subject": text | null},
              aad = frame("tallystick/audit/details/v1", origin, u64(seq), action))

`seq` counts from 0 and is the leaf's index in the tree; `policy` is the digest of the policy envelope that
decided; `ref` lets a verifier pair the entries of one exchange (a release with its receipt) without reading
details. The data key belongs to one subject (or to the log, for entries about nobody): erasing it makes the
details unreadable and the commitments unguessable, since the salt is inside, while every proof stays valid.
Nothing here stores anything.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crypto import merkle
from crypto.canonical import (
    JsonInput,
    JsonValue,
    b64u,
    canonical_json,
    parse_canonical,
    require_integer,
    require_object,
    require_text,
    sha256_hex,
    unb64u,
)
from crypto.checkpoint import require_key_name
from crypto.derive import frame, u64
from crypto.errors import AuditErasedError, AuditError, CanonicalError, CheckpointError

MAX_LEAF_BYTES = 4_096
MAX_DETAILS_BYTES = 1_048_576
DATA_KEY_BYTES = 32
_SALT = 32
_NONCE = 12
_VERSION = 1
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_FIELDS = frozenset({"v", "seq", "time", "origin", "action", "actor", "subject", "policy", "ref", "details"})


class AuditAction(StrEnum):
    """Everything that is worth an entry; a closed list, so that a verifier knows what it reads."""

    NODE_ENROLLED = "node-enrolled"
    REGISTRY_ACCEPTED = "registry-accepted"
    POLICY_ACCEPTED = "policy-accepted"
    POLICY_SUSPENDED = "policy-suspended"
    POLICY_REVOKED = "policy-revoked"
    POLICY_REACTIVATED = "policy-reactivated"
    AGREEMENT_ACCEPTED = "agreement-accepted"
    IDENTITY_REFUSED = "identity-refused"
    EPOCH_KEYED = "epoch-keyed"
    EPOCH_FAILED = "epoch-failed"
    EPOCH_ROTATED = "epoch-rotated"
    RUN_DONE = "run-done"
    UPLOAD_COMMITTED = "upload-committed"
    PROBING_SUSPECTED = "probing-suspected"
    MATCH_RATE_ALARM = "match-rate-alarm"
    HOLD_RELEASED = "hold-released"
    LINKS_TOLD = "links-told"
    LINKS_RECALLED = "links-recalled"
    DISCLOSURE_REQUESTED = "disclosure-requested"
    DISCLOSURE_DECIDED = "disclosure-decided"
    DISCLOSURE_RELEASED = "disclosure-released"
    DISCLOSURE_REFUSED = "disclosure-refused"
    DISCLOSURE_RECEIVED = "disclosure-received"
    RECEIPT_SENT = "receipt-sent"
    RECEIPT_RECEIVED = "receipt-received"
    APPROVAL_GIVEN = "approval-given"
    BREAK_GLASS_INVOKED = "break-glass-invoked"
    BREAK_GLASS_REVIEWED = "break-glass-reviewed"
    PURGED = "purged"
    ERASED = "erased"
    WITHDRAWN = "withdrawn"
    REQUEST_EXPIRED = "request-expired"
    ORDER_GIVEN = "order-given"
    CONSULTED = "consulted"
    MISUSE_SUSPECTED = "misuse-suspected"
    WITNESS_COSIGNED = "witness-cosigned"
    WITNESS_REFUSED = "witness-refused"


@dataclass(frozen=True, slots=True)
class AuditLeaf:
    """One leaf of an audit log.

    The hashes are 64 lower-case hex digits, `time` is UTC aware with whole seconds.
    """

    seq: int
    time: datetime
    origin: str
    action: AuditAction
    actor: str
    subject: str | None
    policy: str | None
    ref: str | None
    details: str

    def __post_init__(self) -> None:
        if self.seq < 0 or self.time.utcoffset() != UTC.utcoffset(None) or self.time.microsecond:
            raise AuditError("an audit leaf has a sequence number from 0 and a UTC time in whole seconds")
        try:
            require_key_name(self.origin)
        except CheckpointError:
            raise AuditError("the origin of an audit leaf is not the name of a log") from None
        hashes = (self.actor, self.details, self.subject, self.policy, self.ref)
        if not all(value is None or _HASH.fullmatch(value) for value in hashes):
            raise AuditError("the hashes of an audit leaf are 64 lower-case hex digits")

    def to_bytes(self) -> bytes:
        """The leaf bytes, canonical JSON."""
        return canonical_json(
            {
                "v": _VERSION,
                "seq": self.seq,
                "time": self.time.strftime(_TIME),
                "origin": self.origin,
                "action": self.action.value,
                "actor": self.actor,
                "subject": self.subject,
                "policy": self.policy,
                "ref": self.ref,
                "details": self.details,
            }
        )

    @property
    def leaf_hash(self) -> bytes:
        """The RFC 6962 hash of the leaf bytes."""
        return merkle.leaf_hash(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> "AuditLeaf":
        """The inverse of `to_bytes`; raises AuditError for anything else."""
        try:
            fields = require_object(parse_canonical(data, max_bytes=MAX_LEAF_BYTES), _FIELDS, "an audit leaf")
            if fields["v"] != _VERSION or isinstance(fields["v"], bool):
                raise AuditError(f"the audit leaf is not of version {_VERSION}")
            return cls(
                seq=require_integer(fields["seq"], "seq"),
                time=_parse_time(require_text(fields["time"], "time")),
                origin=require_text(fields["origin"], "origin"),
                action=_parse_action(require_text(fields["action"], "action")),
                actor=require_text(fields["actor"], "actor"),
                subject=_optional_text(fields["subject"], "subject"),
                policy=_optional_text(fields["policy"], "policy"),
                ref=_optional_text(fields["ref"], "ref"),
                details=require_text(fields["details"], "details"),
            )
        except CanonicalError as error:
            raise AuditError(f"the audit leaf is malformed: {error}") from None


@dataclass(frozen=True, slots=True, repr=False)
class AuditDetails:
    """Who did it, about whom, and the particulars. Personal data: the `repr` is redacted."""

    actor: str
    subject: str | None
    body: Mapping[str, JsonInput]

    def __repr__(self) -> str:
        return "AuditDetails(...)"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A leaf with the sealed details that are kept beside it."""

    leaf: AuditLeaf
    sealed: bytes


def new_data_key(rng_bytes: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """A fresh 32-byte data key for a subject.

    Erasing it erases the details of all entries about that subject.
    """
    return rng_bytes(DATA_KEY_BYTES)


def build_entry(
    *,
    seq: int,
    time: datetime,
    origin: str,
    action: AuditAction,
    details: AuditDetails,
    data_key: bytes,
    policy: str | None = None,
    ref: str | None = None,
    rng_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> AuditEntry:
    """The entry number `seq` of the log `origin`; `time` is UTC aware and cut to the second.

    `policy` is an envelope digest, `ref` comes from `reference`, `data_key` is that of the subject (or of
    the log, where `details.subject` is None). Raises AuditError.
    """
    salt = rng_bytes(_SALT)
    sealed = _seal_details(details, salt, data_key, _aad(origin, seq, action), rng_bytes(_NONCE))
    leaf = AuditLeaf(
        seq=seq,
        time=time.replace(microsecond=0),
        origin=origin,
        action=action,
        actor=_commit("actor", salt, details.actor),
        subject=None if details.subject is None else _commit("subject", salt, details.subject),
        policy=policy,
        ref=ref,
        details=sha256_hex(sealed),
    )
    return AuditEntry(leaf, sealed)


def open_details(leaf: AuditLeaf, sealed: bytes, data_key: bytes | None) -> AuditDetails:
    """The details of a leaf, checked against its commitments.

    Raises AuditErasedError where `data_key` is None, AuditError where the sealed bytes are not those of the
    leaf, do not open or do not say what the leaf committed to.
    """
    check_sealed(leaf, sealed)
    if data_key is None:
        raise AuditErasedError(f"the details of entry {leaf.seq} were erased with their subject's key")
    try:
        plain = AESGCM(data_key).decrypt(
            sealed[:_NONCE], sealed[_NONCE:], _aad(leaf.origin, leaf.seq, leaf.action)
        )
    except (InvalidTag, ValueError):
        raise AuditError(f"the details of entry {leaf.seq} do not open with this key") from None
    details, salt = _parse_details(plain)
    subject = None if details.subject is None else _commit("subject", salt, details.subject)
    if (leaf.actor, leaf.subject) != (_commit("actor", salt, details.actor), subject):
        raise AuditError(f"the details of entry {leaf.seq} are not what its leaf committed to")
    return details


def check_sealed(leaf: AuditLeaf, sealed: bytes) -> None:
    """Return if the sealed bytes are those of the leaf, which needs no key; AuditError otherwise."""
    if sha256_hex(sealed) != leaf.details:
        raise AuditError(f"the sealed details of entry {leaf.seq} were altered")


def reference(identifier: str) -> str:
    """The `ref` of an exchange.

    `identifier` must be random (128 bits or more) or no secret, for a hash does not hide what can be guessed.
    """
    return sha256_hex(frame("tallystick/audit/ref/v1", identifier))


def _seal_details(details: AuditDetails, salt: bytes, data_key: bytes, aad: bytes, nonce: bytes) -> bytes:
    if len(data_key) != DATA_KEY_BYTES:
        raise AuditError(f"a data key has {DATA_KEY_BYTES} bytes")
    try:
        plain = canonical_json(
            {
                "actor": details.actor,
                "subject": details.subject,
                "body": details.body,
                "salt": b64u(salt),
            }
        )
    except CanonicalError as error:
        raise AuditError(f"the details of an audit entry are not canonical JSON: {error}") from None
    if len(plain) > MAX_DETAILS_BYTES:
        raise AuditError(f"the details of an audit entry have at most {MAX_DETAILS_BYTES} bytes")
    return nonce + AESGCM(data_key).encrypt(nonce, plain, aad)


def _parse_details(plain: bytes) -> tuple[AuditDetails, bytes]:
    try:
        value = parse_canonical(plain, max_bytes=MAX_DETAILS_BYTES)
        fields = require_object(value, frozenset({"actor", "subject", "body", "salt"}), "the details")
        body = fields["body"]
        if not isinstance(body, dict):
            raise AuditError("the body of audit details is an object")
        salt = unb64u(require_text(fields["salt"], "salt"))
        if len(salt) != _SALT:
            raise AuditError(f"the salt of audit details has {_SALT} bytes")
        actor = require_text(fields["actor"], "actor")
        return AuditDetails(actor, _optional_text(fields["subject"], "subject"), body), salt
    except CanonicalError as error:
        raise AuditError(f"the details of an audit entry are malformed: {error}") from None


def _commit(what: str, salt: bytes, value: str) -> str:
    return hmac.new(salt, frame(f"tallystick/audit/{what}/v1", value), hashlib.sha256).hexdigest()


def _aad(origin: str, seq: int, action: AuditAction) -> bytes:
    if seq < 0:
        raise AuditError("an audit leaf has a sequence number from 0")
    return frame("tallystick/audit/details/v1", origin, u64(seq), action.value)


def _parse_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)  # much faster than strptime, and laxer: hence the check below
    except ValueError:
        raise AuditError("the time of an audit leaf is not RFC 3339 UTC in whole seconds") from None
    if time.strftime(_TIME) != text:
        raise AuditError("the time of an audit leaf is not RFC 3339 UTC in whole seconds")
    return time.replace(tzinfo=UTC)


def _parse_action(text: str) -> AuditAction:
    try:
        return AuditAction(text)
    except ValueError:
        raise AuditError("the audit leaf has an action that this version does not know") from None


def _optional_text(value: JsonValue, what: str) -> str | None:
    return None if value is None else require_text(value, what)

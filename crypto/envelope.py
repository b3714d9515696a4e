"""Signed documents: DSSE envelopes as canonical JSON.

The source is https://github.com/secure-systems-lab/dsse, protocol v1.0.2.

What is signed is the pre-authentication encoding, so that the payload type is bound and nothing is parsed
before it is verified (lengths in ASCII decimal)::

    PAE(type, payload) = "DSSEv1" SP len(type) SP type SP len(payload) SP payload

The envelope is `{"payload": base64, "payloadType": type, "signatures": [{"keyid": hex, "sig": base64},
...]}` in RFC 8785 form, base64 with padding as DSSE has it, signatures in ascending order of key id without
repetition. Key ids are hints: `verified_keys` counts distinct public keys.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from securesystemslib.dsse import Envelope as DsseEnvelope

from crypto.canonical import (
    JsonValue,
    canonical_json,
    parse_canonical,
    require_object,
    require_text,
    sha256_hex,
)
from crypto.errors import CanonicalError, EnvelopeError, SignatureError
from crypto.keys import Signer, VerifyKey

MAX_ENVELOPE_BYTES = 16 * 1_048_576
MAX_SIGNATURES = 64
_KIND = re.compile(r"[a-z][a-z0-9-]{0,62}")
_TYPE = re.compile(r"[!-~]{1,200}")
_KEY_ID = re.compile(r"[!-~]{1,128}")


def payload_type(kind: str, version: int = 1) -> str:
    """`application/vnd.tallystick.<kind>.v<version>+json`."""
    if not _KIND.fullmatch(kind) or version < 1:
        raise EnvelopeError(f"{kind!r} is not a kind of document (lower-case letters, digits and hyphens)")
    return f"application/vnd.tallystick.{kind}.v{version}+json"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature and the id of the key that is said to have made it."""

    key_id: str
    value: bytes

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.key_id):
            raise EnvelopeError("a key id is from 1 to 128 printable ASCII characters")


@dataclass(frozen=True, slots=True, repr=False)
class Envelope:
    """A payload with its type and signatures; nothing about it is trusted until `verified_keys` says so.

    The payload may be a released record: the `repr` does not show it.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()

    def __post_init__(self) -> None:
        if not _TYPE.fullmatch(self.payload_type):
            raise EnvelopeError("the payload type must be printable ASCII without spaces")
        if len(self.signatures) > MAX_SIGNATURES:
            raise EnvelopeError(f"an envelope has at most {MAX_SIGNATURES} signatures")
        ids = [signature.key_id for signature in self.signatures]
        if len(set(ids)) != len(ids):
            raise EnvelopeError("the envelope has two signatures under the same key id")
        if ids != sorted(ids):
            raise EnvelopeError("the signatures of an envelope must be in order of key id")

    def __repr__(self) -> str:
        return f"Envelope({self.payload_type}, {len(self.payload)} bytes, {len(self.signatures)} signatures)"

    @property
    def pae(self) -> bytes:
        """The bytes that are signed."""
        encoded: bytes = DsseEnvelope(self.payload, self.payload_type, {}).pae()
        return encoded

    @property
    def digest(self) -> str:
        """SHA-256 hex of the signed bytes: the same however many have signed."""
        return sha256_hex(self.pae)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(
            {
                "payload": _b64(self.payload),
                "payloadType": self.payload_type,
                "signatures": [{"keyid": item.key_id, "sig": _b64(item.value)} for item in self.signatures],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, max_bytes: int = MAX_ENVELOPE_BYTES) -> "Envelope":
        """The inverse of `to_bytes`; raises EnvelopeError for anything else."""
        try:
            value = parse_canonical(data, max_bytes=max_bytes)
            fields = require_object(
                value, frozenset({"payload", "payloadType", "signatures"}), "the envelope"
            )
            return cls(
                require_text(fields["payloadType"], "payloadType"),
                _unb64(fields["payload"], "payload"),
                _signatures_from_json(fields["signatures"]),
            )
        except CanonicalError as error:
            raise EnvelopeError(f"the envelope is malformed: {error}") from None


def sign_envelope(payload_type: str, payload: bytes, signers: Sequence[Signer]) -> Envelope:
    """`payload` signed by each of `signers`; two of them with one key are an EnvelopeError."""
    envelope = Envelope(payload_type, payload)
    for signer in signers:
        envelope = add_signature(envelope, signer)
    return envelope


def add_signature(envelope: Envelope, signer: Signer) -> Envelope:
    """`envelope` with one more signature; EnvelopeError if that key has signed already."""
    signature = Signature(signer.verify_key.key_id, signer.sign(envelope.pae))
    signatures = sorted((*envelope.signatures, signature), key=lambda item: item.key_id)
    return replace(envelope, signatures=tuple(signatures))


def verified_keys(envelope: Envelope, keys: Iterable[VerifyKey]) -> frozenset[VerifyKey]:
    """The distinct keys among `keys` that signed `envelope`.

    Signatures under ids that belong to none of `keys` are left out of account. A signature under the id of
    one of `keys` that does not verify is an attack or a fault, never ignored: SignatureError.
    """
    by_id = {key.key_id: key for key in keys}
    pae = envelope.pae
    found: set[VerifyKey] = set()
    for signature in envelope.signatures:
        key = by_id.get(signature.key_id)
        if key is not None:
            key.verify(signature.value, pae)
            found.add(key)
    return frozenset(found)


def require_signature(envelope: Envelope, key: VerifyKey, payload_type: str) -> bytes:
    """The payload, if it is of that type and signed by `key`; EnvelopeError or SignatureError otherwise."""
    if envelope.payload_type != payload_type:
        raise EnvelopeError(f"expected a document of type {payload_type}, not {envelope.payload_type}")
    if key not in verified_keys(envelope, (key,)):
        raise SignatureError(f"the document is not signed by key {key.key_id[:16]}")
    return envelope.payload


def _signatures_from_json(value: JsonValue) -> tuple[Signature, ...]:
    if not isinstance(value, list):
        raise EnvelopeError("the signatures of an envelope must be a list")
    result = []
    for item in value:
        fields = require_object(item, frozenset({"keyid", "sig"}), "a signature")
        result.append(Signature(require_text(fields["keyid"], "keyid"), _unb64(fields["sig"], "sig")))
    return tuple(result)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(value: JsonValue, what: str) -> bytes:
    text = require_text(value, what)
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise EnvelopeError(f"the field {what!r} is not base64") from None
    if _b64(raw) != text:
        raise EnvelopeError(f"the field {what!r} is not base64 in its one canonical form")
    return raw

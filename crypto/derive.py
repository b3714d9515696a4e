"""Derivations of a linkage epoch: commitments, the linkage key K, its confirmation and its subkeys.

Everything hashed or used as HKDF `info` is *framed*, so that no two different inputs give the same bytes::

    frame(p1, ..., pn) = u32(n) || u32(len(p1)) || p1 || ... || u32(len(pn)) || pn

with `u32` and `u64` big-endian and text as UTF-8. Formats (SHA-256 and HKDF-SHA256, RFC 5869, throughout)::

    commitment    = SHA-256(frame("tallystick/contribution/v1", linkage, agency, u64(epoch), contribution))
    transcript    = SHA-256(frame("tallystick/transcript/v1", linkage, u64(epoch), agreement_hash,
                                  agency_1, commitment_1, ..., agency_n, commitment_n))
    K             = HKDF(ikm = contribution_1 || ... || contribution_n, salt = transcript,
                         info = frame("tallystick/linkage-key/v1", agency_1, ..., agency_n), length = 32)
    confirmation  = HMAC-SHA-256(key = HKDF(ikm = K, salt = "", info = frame("tallystick/confirm/v1"),
                                            length = 32), message = transcript)
    subkey        = HKDF(ikm = K, salt = "", info = frame("tallystick/subkey/v1", purpose, linkage,
                                                          schema_hash, u64(epoch)), length = length)

Agencies are in ascending order of the UTF-8 bytes of their ids. `agreement_hash` and `schema_hash` are 64
lower-case hex digits as text. A contribution is 32 random bytes, which is why a bare hash hides it.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.errors import DeriveError

CONTRIBUTION_BYTES = 32
KEY_BYTES = 32
SUBKEY_PURPOSES = frozenset({"clk", "harden", "exact", "dummy", "identity"})
_MAX_SUBKEY = 255 * 32
_HEX_HASH = re.compile(r"[0-9a-f]{64}")


def commit_contribution(contribution: bytes, agency: str, linkage: str, epoch: int) -> bytes:
    """The 32-byte commitment that an agency signs before anyone sends a contribution."""
    _require_length(contribution, CONTRIBUTION_BYTES, "a contribution")
    return _sha256(
        frame("tallystick/contribution/v1", _name(linkage), _name(agency), u64(epoch), contribution)
    )


def transcript_hash(linkage: str, epoch: int, agreement_hash: str, commitments: Mapping[str, bytes]) -> bytes:
    """The 32-byte hash of everything agreed before contributions are opened.

    `commitments` by agency id, at least two.
    """
    parts: list[str | bytes] = []
    for agency, commitment in _ordered(commitments):
        _require_length(commitment, 32, "a commitment")
        parts += [agency, commitment]
    return _sha256(
        frame(
            "tallystick/transcript/v1",
            _name(linkage),
            u64(epoch),
            _hash(agreement_hash, "the agreement hash"),
            *parts,
        )
    )


def combine_contributions(contributions: Mapping[str, bytes], transcript: bytes) -> bytes:
    """The 32-byte linkage key K of all contributions (by agency id, at least two, 32 bytes each)."""
    _require_length(transcript, 32, "a transcript hash")
    ordered = _ordered(contributions)
    for _, contribution in ordered:
        _require_length(contribution, CONTRIBUTION_BYTES, "a contribution")
    info = frame("tallystick/linkage-key/v1", *(agency for agency, _ in ordered))
    return hkdf(b"".join(value for _, value in ordered), info, KEY_BYTES, salt=transcript)


def key_confirmation(key: bytes, transcript: bytes) -> bytes:
    """The 32-byte proof of holding K that the broker compares across agencies without learning K."""
    _require_length(key, KEY_BYTES, "a linkage key")
    _require_length(transcript, 32, "a transcript hash")
    return hmac.digest(hkdf(key, frame("tallystick/confirm/v1"), 32), transcript, "sha256")


def subkey(
    key: bytes, purpose: str, linkage: str, schema_hash: str, epoch: int, length: int = KEY_BYTES
) -> bytes:
    """The subkey of K for one purpose (`SUBKEY_PURPOSES`), `length` bytes from 16 to 8,160."""
    _require_length(key, KEY_BYTES, "a linkage key")
    if purpose not in SUBKEY_PURPOSES:
        raise DeriveError(f"unknown subkey purpose {purpose!r}; known: {', '.join(sorted(SUBKEY_PURPOSES))}")
    if not 16 <= length <= _MAX_SUBKEY:
        raise DeriveError(f"a subkey has from 16 to {_MAX_SUBKEY} bytes, not {length}")
    info = frame(
        "tallystick/subkey/v1", purpose, _name(linkage), _hash(schema_hash, "the schema hash"), u64(epoch)
    )
    return hkdf(key, info, length)


def frame(*parts: str | bytes) -> bytes:
    """The injective encoding of a list of texts and byte strings (module docstring)."""
    encoded = [part.encode("utf-8") if isinstance(part, str) else part for part in parts]
    return u32(len(encoded)) + b"".join(u32(len(part)) + part for part in encoded)


def u32(number: int) -> bytes:
    """Four bytes, big-endian; DeriveError outside 0..2**32 - 1."""
    return _unsigned(number, 4)


def u64(number: int) -> bytes:
    """Eight bytes, big-endian; DeriveError outside 0..2**64 - 1."""
    return _unsigned(number, 8)


def hkdf(key: bytes, info: bytes, length: int, salt: bytes = b"") -> bytes:
    """HKDF-SHA256 (RFC 5869), extract and expand; an empty salt stands for 32 zero bytes as in the RFC."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt or None, info=info).derive(key)


def _ordered(values: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    if len(values) < 2:
        raise DeriveError("a linkage key needs the contributions of at least two agencies")
    return sorted(
        ((_name(agency), value) for agency, value in values.items()), key=lambda item: item[0].encode()
    )


def _unsigned(number: int, size: int) -> bytes:
    try:
        return number.to_bytes(size, "big")
    except OverflowError:
        raise DeriveError(f"a number is outside 0..2**{8 * size} - 1") from None


def _name(text: str) -> str:
    if not text:
        raise DeriveError("a linkage or agency id must not be empty")
    return text


def _hash(text: str, what: str) -> str:
    if not _HEX_HASH.fullmatch(text):
        raise DeriveError(f"{what} must be 64 lower-case hex digits")
    return text


def _require_length(value: bytes, length: int, what: str) -> None:
    if len(value) != length:
        raise DeriveError(f"{what} has {length} bytes, not {len(value)}")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()

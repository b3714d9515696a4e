"""Keys for encoding, derived from the linkage key K.

With ``subkey``, ``frame`` and ``hkdf`` of :mod:`crypto.derive`, and ``schema_hash`` the SHA-256 of the
canonical JSON of the agreement's ``encoding`` section::

    purpose key    = subkey(K, purpose, linkage, schema_hash, epoch)
                     for the purposes clk, harden, exact, dummy, identity
    projection key = HKDF(purpose key, info = frame("tallystick/projection/v1", purpose, projection name))
    exact key      = HKDF(purpose key, info = frame("tallystick/exact-token/v1", token name))

each 32 bytes. ``clk`` projection keys are the clkhash secret, ``harden`` projection keys the diffusion key.
No two projections share a key, so a value that occurs in both leaves no common trace.
"""

from dataclasses import dataclass

from crypto.canonical import JsonInput, canonical_json, sha256_hex
from crypto.derive import frame, hkdf, subkey


def schema_hash(encoding_section: JsonInput) -> str:
    """SHA-256 hex of the canonical JSON of an agreement's ``encoding`` section."""
    return sha256_hex(canonical_json(encoding_section))


@dataclass(frozen=True, slots=True, repr=False)
class EncodingKeys:
    """The purpose keys of one linkage, schema and epoch, 32 bytes each; ``repr`` shows none of them."""

    clk_root: bytes
    harden_root: bytes
    exact_root: bytes
    dummy: bytes
    identity: bytes

    @classmethod
    def derive(cls, key: bytes, linkage: str, epoch: int, encoding_section: JsonInput) -> "EncodingKeys":
        """Derive from K (32 bytes).  Raises crypto's DeriveError or CanonicalError for unusable arguments."""
        digest = schema_hash(encoding_section)
        clk, harden, exact, dummy, identity = (
            subkey(key, purpose, linkage, digest, epoch)
            for purpose in ("clk", "harden", "exact", "dummy", "identity")
        )
        return cls(clk, harden, exact, dummy, identity)

    def __repr__(self) -> str:
        return "EncodingKeys(<hidden>)"

    def clk(self, projection: str) -> bytes:
        """The clkhash secret of a projection."""
        return hkdf(self.clk_root, frame("tallystick/projection/v1", "clk", projection), 32)

    def harden(self, projection: str) -> bytes:
        """The hardening key of a projection."""
        return hkdf(self.harden_root, frame("tallystick/projection/v1", "harden", projection), 32)

    def exact(self, token: str) -> bytes:
        """The HMAC key of an exact token."""
        return hkdf(self.exact_root, frame("tallystick/exact-token/v1", token), 32)

"""Keys: Ed25519 to sign (RFC 8032), HPKE to receive (RFC 9180).

A key is named by its *key id*: the lower-case hex SHA-256 of `scheme || 0x00 || raw`, where `scheme` is the
ASCII name below and `raw` the public key bytes. The scheme is part of the id and of the JSON form, so that
a hybrid signature scheme can be added beside `ed25519` without changing any document format.

| scheme            | raw public key                               | raw private key                      |
|-------------------|----------------------------------------------|--------------------------------------|
| `ed25519`         | 32 bytes                                     | 32-byte seed                         |
| `mlkem768-x25519` | ML-KEM-768 (1,184 bytes) then X25519 (32)    | ML-KEM seed (64) then X25519 (32)    |
| `x25519`          | 32 bytes                                     | 32 bytes                             |
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from crypto.canonical import JsonValue, b64u, require_object, require_text, sha256_hex, unb64u
from crypto.errors import CanonicalError, KeyFormatError, SealError, SignatureError

ED25519 = "ed25519"
MLKEM768_X25519 = "mlkem768-x25519"
X25519 = "x25519"
SEALING_SUITES = (MLKEM768_X25519, X25519)

_MLKEM_PUBLIC = 1184
_MLKEM_SEED = 64
_PUBLIC_LENGTH = {ED25519: 32, X25519: 32, MLKEM768_X25519: _MLKEM_PUBLIC + 32}
_PRIVATE_LENGTH = {X25519: 32, MLKEM768_X25519: _MLKEM_SEED + 32}
_P = 2**255 - 19
# y coordinates of the eight points of small order: a signature under such a key proves nothing.
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _P - 1,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
        ),
    }
)


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key that verifies signatures.

    Raises KeyFormatError when malformed, not reduced or of small order.
    """

    raw: bytes
    scheme: str = ED25519

    def __post_init__(self) -> None:
        if self.scheme != ED25519:
            raise KeyFormatError(f"unknown signature scheme {self.scheme!r}; this version knows {ED25519!r}")
        _require_length(self.raw, self.scheme)
        y = int.from_bytes(self.raw, "little") & (2**255 - 1)
        if y >= _P or y in _SMALL_ORDER_Y:
            raise KeyFormatError("the Ed25519 public key is not a valid point for signatures")

    @property
    def key_id(self) -> str:
        """SHA-256 hex of `scheme || 0x00 || raw`."""
        return _key_id(self.scheme, self.raw)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if `signature` is this key's over `message`; raise SignatureError otherwise."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            raise SignatureError(f"the signature does not verify under key {self.key_id[:16]}") from None

    def to_json(self) -> dict[str, JsonValue]:
        """`{"public": base64url, "scheme": "ed25519"}`."""
        return {"scheme": self.scheme, "public": b64u(self.raw)}

    @classmethod
    def from_json(cls, value: JsonValue) -> "VerifyKey":
        """The inverse of `to_json`; raises KeyFormatError."""
        scheme, raw = _public_from_json(value, "scheme", "a verify key")
        return cls(raw, scheme)


class Signer(ABC):
    """Something that signs: a key from a file, or a handle to a key that never leaves its hardware."""

    __slots__ = ()

    @property
    @abstractmethod
    def verify_key(self) -> VerifyKey:
        """The public half."""

    @abstractmethod
    def sign(self, message: bytes) -> bytes:
        """The signature of `message` (64 bytes for Ed25519)."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key_id={self.verify_key.key_id[:16]})"


class SigningKey(Signer):
    """An Ed25519 private key held in memory."""

    __slots__ = ("_key", "_verify_key")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise KeyFormatError("an Ed25519 private key is a 32-byte seed")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._verify_key = VerifyKey(self._key.public_key().public_bytes_raw())

    @property
    def verify_key(self) -> VerifyKey:
        return self._verify_key

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def private_bytes(self) -> bytes:
        """The 32-byte seed, for a keystore."""
        return self._key.private_bytes_raw()


@dataclass(frozen=True, slots=True)
class SealingPublicKey:
    """An HPKE recipient key. Raises KeyFormatError when malformed."""

    suite: str
    raw: bytes

    def __post_init__(self) -> None:
        if self.suite not in SEALING_SUITES:
            raise KeyFormatError(
                f"unknown sealing suite {self.suite!r}; this version knows {', '.join(SEALING_SUITES)}"
            )
        _require_length(self.raw, self.suite)
        self._loaded()

    @property
    def key_id(self) -> str:
        """SHA-256 hex of `suite || 0x00 || raw`."""
        return _key_id(self.suite, self.raw)

    def encrypt(self, plaintext: bytes, info: bytes) -> bytes:
        """HPKE base mode, single shot, empty AAD: `enc || ciphertext`. Callers want `crypto.seal.seal_to`."""
        try:
            return _hpke_suite(self.suite).encrypt(plaintext, self._loaded(), info)
        except ValueError:
            raise SealError("the recipient's sealing key is not usable") from None

    def to_json(self) -> dict[str, JsonValue]:
        """`{"public": base64url, "suite": name}`."""
        return {"suite": self.suite, "public": b64u(self.raw)}

    @classmethod
    def from_json(cls, value: JsonValue) -> "SealingPublicKey":
        """The inverse of `to_json`; raises KeyFormatError."""
        suite, raw = _public_from_json(value, "suite", "a sealing key")
        return cls(suite, raw)

    def _loaded(self) -> X25519PublicKey | hpke.MLKEM768X25519PublicKey:
        if self.suite == X25519:
            return X25519PublicKey.from_public_bytes(self.raw)
        try:
            return hpke.MLKEM768X25519PublicKey(
                mlkem.MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC]),
                X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC:]),
            )
        except UnsupportedAlgorithm:
            raise KeyFormatError(
                "this build of OpenSSL has no ML-KEM; install cryptography's wheel"
            ) from None
        except ValueError:
            raise KeyFormatError("the ML-KEM public key is malformed") from None


class SealingPrivateKey:
    """An HPKE recipient's private key held in memory."""

    __slots__ = ("_key", "_private", "_public_key")

    def __init__(self, suite: str, private: bytes) -> None:
        if suite not in SEALING_SUITES:
            raise KeyFormatError(f"unknown sealing suite {suite!r}")
        if len(private) != _PRIVATE_LENGTH[suite]:
            raise KeyFormatError(f"a private key of {suite} has {_PRIVATE_LENGTH[suite]} bytes")
        self._private = private
        x25519 = X25519PrivateKey.from_private_bytes(private[-32:])
        x25519_public = x25519.public_key().public_bytes_raw()
        self._key: X25519PrivateKey | hpke.MLKEM768X25519PrivateKey
        if suite == X25519:
            self._key = x25519
            self._public_key = SealingPublicKey(suite, x25519_public)
            return
        try:
            mlkem_key = mlkem.MLKEM768PrivateKey.from_seed_bytes(private[:_MLKEM_SEED])
        except UnsupportedAlgorithm:
            raise KeyFormatError(
                "this build of OpenSSL has no ML-KEM; install cryptography's wheel"
            ) from None
        self._key = hpke.MLKEM768X25519PrivateKey(mlkem_key, x25519)
        self._public_key = SealingPublicKey(suite, mlkem_key.public_key().public_bytes_raw() + x25519_public)

    @property
    def public_key(self) -> SealingPublicKey:
        """The public half."""
        return self._public_key

    def open(self, ciphertext: bytes, info: bytes) -> bytes:
        """The inverse of `SealingPublicKey.encrypt`; raises SealError."""
        try:
            return _hpke_suite(self._public_key.suite).decrypt(ciphertext, self._key, info)
        except (InvalidTag, ValueError):
            raise SealError(
                "the sealed message does not open: it was altered, or sealed for another purpose, sender, "
                "recipient or message id"
            ) from None

    def private_bytes(self) -> bytes:
        """The private key bytes (table in the module docstring), for a keystore."""
        return self._private

    def __repr__(self) -> str:
        return f"SealingPrivateKey(key_id={self._public_key.key_id[:16]})"


def generate_signing_key() -> SigningKey:
    """A fresh Ed25519 key."""
    return SigningKey(Ed25519PrivateKey.generate().private_bytes_raw())


def generate_sealing_key(suite: str | None = None) -> SealingPrivateKey:
    """A fresh sealing key.

    Of `suite`, or hybrid post-quantum where this build of OpenSSL has ML-KEM, X25519 elsewhere.
    """
    x25519 = X25519PrivateKey.generate().private_bytes_raw()
    if suite == X25519:
        return SealingPrivateKey(X25519, x25519)
    try:
        seed = mlkem.MLKEM768PrivateKey.generate().private_bytes_raw()
    except UnsupportedAlgorithm:
        if suite is None:
            return SealingPrivateKey(X25519, x25519)
        raise KeyFormatError("this build of OpenSSL has no ML-KEM; install cryptography's wheel") from None
    return SealingPrivateKey(suite or MLKEM768_X25519, seed + x25519)


def _hpke_suite(suite: str) -> hpke.Suite:
    kem = hpke.KEM.X25519 if suite == X25519 else hpke.KEM.MLKEM768_X25519
    return hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def _key_id(scheme: str, raw: bytes) -> str:
    return sha256_hex(scheme.encode("ascii") + b"\x00" + raw)


def _require_length(raw: bytes, scheme: str) -> None:
    if len(raw) != _PUBLIC_LENGTH[scheme]:
        raise KeyFormatError(f"a public key of {scheme} has {_PUBLIC_LENGTH[scheme]} bytes, not {len(raw)}")


def _public_from_json(value: JsonValue, name: str, what: str) -> tuple[str, bytes]:
    try:
        fields = require_object(value, frozenset({name, "public"}), what)
        return (
            require_text(fields[name], f"{what}: {name}"),
            unb64u(require_text(fields["public"], f"{what}: public")),
        )
    except CanonicalError as error:
        raise KeyFormatError(str(error)) from None

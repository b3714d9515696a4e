"""Sealed messages: HPKE base mode (RFC 9180) with the context bound in `info`.

Base mode authenticates nobody: what is sealed must be signed first, and the signature inside names the
sender. Format::

    sealed = "TSS1" || suite (1 byte) || recipient key id (32 bytes) || enc || ciphertext
    info   = frame("tallystick/seal/v1", suite name, recipient key id (32 bytes),
                   purpose, sender, recipient, message_id)

`suite` is 1 for MLKEM768_X25519 and 2 for X25519, each with HKDF-SHA256 and AES-256-GCM and an empty AAD;
`enc` has 1,120 or 32 bytes; `frame` is that of `crypto.derive`. The key id lets a recipient that is
changing keys choose one; it is bound in `info` too.
"""

from dataclasses import dataclass

from crypto.derive import frame
from crypto.errors import SealError
from crypto.keys import MLKEM768_X25519, X25519, SealingPrivateKey, SealingPublicKey

_MAGIC = b"TSS1"
_SUITE_BYTE = {MLKEM768_X25519: 1, X25519: 2}
_HEADER = len(_MAGIC) + 1 + 32


@dataclass(frozen=True, slots=True)
class SealContext:
    """What a sealed message is for; opening needs exactly the same four values."""

    purpose: str
    sender: str
    recipient: str
    message_id: str

    def __post_init__(self) -> None:
        if not all((self.purpose, self.sender, self.recipient, self.message_id)):
            raise SealError("purpose, sender, recipient and message id of a sealed message must not be empty")


def seal_to(recipient: SealingPublicKey, plaintext: bytes, context: SealContext) -> bytes:
    """`plaintext` readable by `recipient` alone and only under `context`; never twice the same bytes."""
    header = _header(recipient)
    return header + recipient.encrypt(plaintext, _info(recipient, context))


def open_sealed(key: SealingPrivateKey, sealed: bytes, context: SealContext) -> bytes:
    """The plaintext; raises SealError when malformed, altered, for another key or under another context."""
    header = _header(key.public_key)
    if len(sealed) < _HEADER or sealed[: len(_MAGIC)] != _MAGIC:
        raise SealError("this is not a sealed message of version 1")
    if sealed[:_HEADER] != header:
        raise SealError("the message is sealed to another key; it may have been sent before a change of keys")
    return key.open(sealed[_HEADER:], _info(key.public_key, context))


def sealed_key_id(sealed: bytes) -> str:
    """The id of the key that a message says it is sealed to (a hint, checked by `open_sealed`)."""
    if len(sealed) < _HEADER or sealed[: len(_MAGIC)] != _MAGIC:
        raise SealError("this is not a sealed message of version 1")
    return sealed[len(_MAGIC) + 1 : _HEADER].hex()


def _header(key: SealingPublicKey) -> bytes:
    return _MAGIC + bytes([_SUITE_BYTE[key.suite]]) + bytes.fromhex(key.key_id)


def _info(key: SealingPublicKey, context: SealContext) -> bytes:
    return frame(
        "tallystick/seal/v1",
        key.suite,
        bytes.fromhex(key.key_id),
        context.purpose,
        context.sender,
        context.recipient,
        context.message_id,
    )

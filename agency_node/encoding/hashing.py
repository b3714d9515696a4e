"""Hash positions of a token, as clkhash 0.18.3 computes them.

For every token clkhash sets ``k`` bits; both of its constructions have the *prefix property*: the positions
for ``k`` are the first ``k`` of the positions for any larger ``k``. So one list per token serves every
``k``.
"""

import hmac
import math
from hashlib import blake2b

import numpy as np
from clkhash.field_formats import FieldHashingProperties
from numpy.typing import NDArray

_SHORTS_PER_DIGEST = 32


class TokenHasher:
    """Positions of tokens in a filter of ``bits`` bits for one feature.

    ``keys`` are the feature's two derived keys. ``positions`` raises what clkhash raises:
    ``UnicodeEncodeError`` for a token outside the feature's encoding, ``ValueError`` for BLAKE2 with a
    length that is no power of two or a key that is too long.
    """

    __slots__ = ("_bits", "_hash_type", "_keys", "_non_singular", "encoding")

    def __init__(self, properties: FieldHashingProperties, keys: tuple[bytes, ...], bits: int) -> None:
        self._bits = bits
        self._keys = keys
        self.encoding: str = properties.encoding
        self._hash_type: str = properties.hash_type
        self._non_singular = bool(properties.prevent_singularity)

    def positions(self, token: str, k: int) -> NDArray[np.uint32]:
        """The first ``k`` positions of ``token``, repetitions included; shape ``(k,)``."""
        message = token.encode(self.encoding)
        if self._hash_type == "blakeHash":
            return self._blake(message, k)
        return self._double(message, k)

    def _blake(self, message: bytes, k: int) -> NDArray[np.uint32]:
        if 2 ** int(math.log(self._bits, 2)) != self._bits:
            raise ValueError("the BLAKE2 construction needs a filter length that is a power of two")
        digests = -(-k // _SHORTS_PER_DIGEST)
        key = self._keys[0]
        stream = b"".join(
            blake2b(message, key=key, salt=str(block).encode()).digest() for block in range(digests)
        )
        # clkhash unpacks native 16-bit integers, so the positions follow the machine's byte order, as its do.
        shorts = np.frombuffer(stream, dtype=np.uint16)[:k].astype(np.int64)
        return (shorts % self._bits).astype(np.uint32)

    def _double(self, message: bytes, k: int) -> NDArray[np.uint32]:
        sha1_key, md5_key = self._keys[0], self._keys[1]
        start = int.from_bytes(hmac.digest(sha1_key, message, "sha1"), "big") % self._bits
        step = int.from_bytes(hmac.digest(md5_key, message, "md5"), "big") % self._bits
        attempt = 0
        while self._non_singular and step == 0:
            suffix = chr(attempt).encode()
            step = int.from_bytes(hmac.digest(md5_key, message + suffix, "md5"), "big") % self._bits
            attempt += 1
        draws = np.arange(k, dtype=np.int64)
        return ((start + draws * step) % self._bits).astype(np.uint32)

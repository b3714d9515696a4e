"""Hash positions of a token, as clkhash 0.18.3 computes them.

For every token clkhash sets ``k`` bits; both of its constructions have the *prefix property*: the positions
for ``k`` are the first ``k`` of the positions for any larger ``k``. So one list per token serves every
``k``.
"""

import hmac
import math
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from clkhash.field_formats import FieldHashingProperties
from numpy.typing import NDArray

_SHORTS_PER_DIGEST = 32


class TokenHasher:
    """Positions of tokens in a filter of ``bits`` bits for one feature.

    ``keys`` are the feature's two derived keys. ``positions`` raises what clkhash raises:
    ``UnicodeEncodeError`` for a token outside the feature's encoding, ``ValueError`` for BLAKE2 with a length
    that is no power of two or a key that is too long.
    """

    __slots__ = ("_bits", "_blake_states", "_hash_type", "_keys", "_non_singular", "encoding")

    def __init__(self, properties: FieldHashingProperties, keys: tuple[bytes, ...], bits: int) -> None:
        self._bits = bits
        self._keys = keys
        self.encoding: str = properties.encoding
        self._hash_type: str = properties.hash_type
        self._non_singular = bool(properties.prevent_singularity)
        self._blake_states: list[blake2b] = []

    def positions(self, tokens: Sequence[str], k: int) -> NDArray[np.uint32]:
        """The first ``k`` positions of each token, repetitions included; shape ``(tokens, k)``."""
        messages = [token.encode(self.encoding) for token in tokens]
        if self._hash_type == "blakeHash":
            return self._blake(messages, k)
        return self._double(messages, k)

    def _blake(self, messages: list[bytes], k: int) -> NDArray[np.uint32]:
        if 2 ** int(math.log(self._bits, 2)) != self._bits:
            raise ValueError("the BLAKE2 construction needs a filter length that is a power of two")
        digests = -(-k // _SHORTS_PER_DIGEST)
        for block in range(len(self._blake_states), digests):
            self._blake_states.append(blake2b(key=self._keys[0], salt=str(block).encode()))
        stream = bytearray()
        for message in messages:
            for begun in self._blake_states[:digests]:
                state = begun.copy()
                state.update(message)
                stream += state.digest()
        # clkhash unpacks native 16-bit integers, so the positions follow the machine's byte order, as its do.
        shorts = np.frombuffer(stream, dtype=np.uint16).reshape(len(messages), digests * _SHORTS_PER_DIGEST)
        return shorts[:, :k].astype(np.uint32) % np.uint32(self._bits)

    def _double(self, messages: list[bytes], k: int) -> NDArray[np.uint32]:
        starts = [self._hmac(0, "sha1", message) for message in messages]
        steps = [self._step(message) for message in messages]
        draws = np.arange(k, dtype=np.int64)
        found = np.array(starts, dtype=np.int64)[:, None] + np.array(steps, dtype=np.int64)[:, None] * draws
        return (found % self._bits).astype(np.uint32)

    def _step(self, message: bytes) -> int:
        step = self._hmac(1, "md5", message)
        attempt = 0
        while self._non_singular and step == 0:
            step = self._hmac(1, "md5", message + chr(attempt).encode())
            attempt += 1
        return step

    def _hmac(self, key: int, digest: str, message: bytes) -> int:
        return int.from_bytes(hmac.digest(self._keys[key], message, digest), "big") % self._bits

"""Hardening: what is done to a CLK after clkhash, by an explicit, versioned choice in the linkage agreement.

Two kinds exist.  Both are deterministic per row, so new and changed rows are encoded on their own.

``plain/v1``
    Nothing.  The CLK is clkhash's, byte for byte.

``sparse-diffusion/v1`` with ``taps`` t
    The schema's ``bitsPerFeature`` are chosen so that filters are sparse (mean fill .20 to .25 at l =
    1024), then every output bit is the XOR of t distinct input bits::

        out[j] = in[T[j][0]] ^ in[T[j][1]] ^ ... ^ in[T[j][t-1]]        for 0 <= j < l

    Source: Armknecht, Heng, Schnell, 'Strengthening Privacy-Preserving Record Linkage using Diffusion',
    PoPETs 2023.  Bit i of a CLK is bit 7 - (i mod 8), counted from the least significant, of byte i div 8.

How the table T (l rows of t bit numbers) follows from the 32-byte projection key H (``EncodingKeys.harden``):

1. *Keystream*: ChaCha20 (RFC 8439) under key H, nonce of 12 zero bytes, block counter from 0, cut into 32-bit
   little-endian words w0, w1, w2 ...
2. *draw(n)*, uniform in 0 .. n-1: take the next word w; if w >= 2^32 - (2^32 mod n), discard it and take the
   next; the result is w mod n.
3. *Deck*: the numbers 0 .. l-1 in order, then for i = l-1 down to 1 swap places i and draw(i + 1)
   (Fisher-Yates).
4. The t decks, one after the other, are dealt into the rows of T: row j gets cards t*j .. t*j + t - 1. So
   every input bit is used exactly t times. Where a row straddles two decks it might get the same bit twice:
   if so, the later deck is made again (step 3 from a fresh ordered deck, continuing the keystream) until it
   does not.

t is from 2 to l/2.  Vectors: ``tests/vectors/encoding.json``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from agency_node.encoding.errors import HardeningError
from agency_node.encoding.kernels import diffuse_rows

PLAIN = "plain/v1"
SPARSE_DIFFUSION = "sparse-diffusion/v1"

_KEY_BYTES = 32
_KEYSTREAM_BLOCK = bytes(1 << 14)
_WORD_RANGE = 1 << 32


@dataclass(frozen=True, slots=True)
class Hardening:
    """A hardening as the agreement names it; ``taps`` is 0 for ``plain/v1``."""

    kind: str
    taps: int = 0

    @classmethod
    def from_json(cls, value: object) -> "Hardening":
        """Read ``{"kind": "plain/v1"}`` or ``{"kind": "sparse-diffusion/v1", "taps": 5}``; HardeningError
        otherwise."""
        if not isinstance(value, Mapping):
            raise HardeningError("a hardening must be an object with a 'kind'")
        kind, taps = value.get("kind"), value.get("taps")
        if kind == PLAIN and set(value) == {"kind"}:
            return cls(PLAIN)
        if kind == SPARSE_DIFFUSION and set(value) == {"kind", "taps"}:
            if isinstance(taps, int) and not isinstance(taps, bool) and taps >= 2:
                return cls(SPARSE_DIFFUSION, taps)
            raise HardeningError(f"{SPARSE_DIFFUSION} needs 'taps', an integer of at least 2")
        raise HardeningError(
            f"unknown hardening: use {{'kind': '{PLAIN}'}} or {{'kind': '{SPARSE_DIFFUSION}', 'taps': 5}}"
        )

    def to_json(self) -> dict[str, str | int]:
        """The form in the agreement."""
        return {"kind": self.kind} if self.kind == PLAIN else {"kind": self.kind, "taps": self.taps}


class Hardener:
    """Applies one hardening to CLKs of ``bits`` bits under one projection key."""

    def __init__(self, hardening: Hardening, key: bytes, bits: int) -> None:
        self._bits = bits
        self._word_taps: NDArray[np.int32] | None = None
        if hardening.kind == SPARSE_DIFFUSION:
            self._word_taps = word_order(diffusion_taps(key, bits, hardening.taps), bits)
        elif hardening.kind != PLAIN:
            raise HardeningError(f"unknown hardening {hardening.kind!r}")

    def __repr__(self) -> str:
        return f"<Hardener: {self._bits} bits, key hidden>"

    def apply(self, clks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Hardened copies of ``clks`` (n, l / 8), row by row independent; plain hands back its argument."""
        if clks.ndim != 2 or clks.shape[1] != -(-self._bits // 8):
            raise HardeningError(f"expected CLKs of {self._bits} bits, got an array of shape {clks.shape}")
        if self._word_taps is None:
            return clks
        rows, row_bytes = clks.shape
        padded_bytes = -(-row_bytes // 8) * 8
        if padded_bytes == row_bytes:
            padded = np.ascontiguousarray(clks)
        else:
            padded = np.zeros((rows, padded_bytes), dtype=np.uint8)
            padded[:, :row_bytes] = clks
        out = np.empty((rows, padded_bytes), dtype=np.uint8)
        diffuse_rows(padded.view(np.dtype("<u8")), self._word_taps, out.view(np.dtype("<u8")))
        return out if padded_bytes == row_bytes else out[:, :row_bytes].copy()


def diffusion_taps(key: bytes, bits: int, taps: int) -> NDArray[np.int32]:
    """The table T of the module docstring, shape ``(bits, taps)``."""
    if len(key) != _KEY_BYTES:
        raise HardeningError(f"a hardening key has {_KEY_BYTES} bytes, not {len(key)}")
    if not 2 <= taps <= bits // 2:
        raise HardeningError(f"diffusion of {bits} bits takes from 2 to {bits // 2} taps, not {taps}")
    words = _keystream(key)
    dealt: list[int] = []
    for _ in range(taps):
        begun = dealt[len(dealt) - len(dealt) % taps :]
        while True:
            deck = _shuffled(bits, words)
            # A row that was begun with the last deck's cards must not meet one of them again.
            if not begun or not set(begun) & set(deck[: taps - len(begun)]):
                break
        dealt += deck
    return np.array(dealt, dtype=np.int32).reshape(bits, taps)


def word_order(taps: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    """The table T with rows and entries renumbered for 64-bit little-endian words; -1 pads rows past
    ``bits``.

    Bit i (most significant first in its byte) is bit ``(i % 64) ^ 7`` of word ``i // 64``.
    """
    ordered = np.full((-(-bits // 64) * 64, taps.shape[1]), -1, dtype=np.int32)
    ordered[np.arange(bits) ^ 7] = taps ^ 7
    return ordered


def _shuffled(size: int, words: Iterator[int]) -> list[int]:
    deck = list(range(size))
    for place in range(size - 1, 0, -1):
        other = _draw(place + 1, words)
        deck[place], deck[other] = deck[other], deck[place]
    return deck


def _draw(size: int, words: Iterator[int]) -> int:
    limit = _WORD_RANGE - _WORD_RANGE % size
    while True:
        word = next(words)
        if word < limit:
            return word % size


def _keystream(key: bytes) -> Iterator[int]:
    # cryptography's 16-byte nonce is the 32-bit block counter followed by the RFC's 12-byte nonce.
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    while True:
        yield from np.frombuffer(stream.update(_KEYSTREAM_BLOCK), dtype=np.dtype("<u4")).tolist()

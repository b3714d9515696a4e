"""Compiled: turning bits on their side, 64 by 64 at a time (see :mod:`broker.matching.transpose`)."""

import numpy as np
import numpy.typing as npt

from broker.matching.vertical import LANE_WORDS, LANES
from protos.wire.jit import compiled


@compiled
def _transpose_64(square: npt.NDArray[np.uint64]) -> None:
    """Transpose 64 x 64 bits in place, bit 63 of a word being column 0 (Warren, Hacker's Delight, 7-3)."""
    width = 32
    mask = np.uint64(0x0000_0000_FFFF_FFFF)
    while width:
        shift = np.uint64(width)
        k = 0
        while k < 64:
            for i in range(k, k + width):
                swap = (square[i] ^ (square[i + width] >> shift)) & mask
                square[i] ^= swap
                square[i + width] ^= swap << shift
            k += 2 * width
        width >>= 1
        mask ^= mask << np.uint64(width)


@compiled
def _read_square(
    packed: npt.NDArray[np.uint8], first: int, held: int, bit: int, square: npt.NDArray[np.uint64]
) -> None:
    """64 bits of ``held`` encodings, upside down, so that the first one becomes bit 0; then zeros."""
    start = bit >> 3
    size = min(8, packed.shape[1] - start)
    for i in range(64):
        word = np.uint64(0)
        if i < held:
            for byte in range(size):
                word |= np.uint64(packed[first + i, start + byte]) << np.uint64(56 - 8 * byte)
        square[63 - i] = word


@compiled
def write_planes(
    packed: npt.NDArray[np.uint8], rank: npt.NDArray[np.uint16], planes: npt.NDArray[np.uint64]
) -> None:
    """:func:`broker.matching.transpose.write_planes`, 64 lanes by 64 bits at a time.

    :param rank: the row of each bit: the inverse of the order of bits.
    """
    bits = rank.shape[0]
    square = np.empty(64, np.uint64)
    for block in range(planes.shape[0]):
        for lane_word in range(LANE_WORDS):
            planes[block, bits, lane_word] = 0
        for lane_word in range(LANE_WORDS):
            first = block * LANES + lane_word * 64
            for bit in range(0, bits, 64):
                _read_square(packed, first, max(0, min(64, packed.shape[0] - first)), bit, square)
                _transpose_64(square)
                for i in range(min(64, bits - bit)):
                    planes[block, rank[bit + i], lane_word] = ~square[i]


@compiled
def rank_words(
    packed: npt.NDArray[np.uint8], rank: npt.NDArray[np.uint16], words: npt.NDArray[np.uint64]
) -> None:
    """Write ``words`` (n, words): bit ``r % 64`` of word ``r // 64`` is the bit of rank r of ``packed``."""
    bits = rank.shape[0]
    square = np.empty(64, np.uint64)
    rows = np.zeros((bits + 63) // 64 * 64, np.uint64)
    for first in range(0, packed.shape[0], 64):
        held = min(64, packed.shape[0] - first)
        for bit in range(0, bits, 64):
            _read_square(packed, first, held, bit, square)
            _transpose_64(square)
            for i in range(min(64, bits - bit)):
                rows[rank[bit + i]] = square[i]
        for word in range(words.shape[1]):
            for i in range(64):
                square[63 - i] = rows[64 * word + i]
            _transpose_64(square)
            for i in range(held):
                words[first + i, word] = square[63 - i]

"""The compiled scan: a tile of queries against a span of blocks.

Blocks are the outer loop and queries the inner one, so that a block stays in the first- or second-level
cache while every query of the tile visits it. A visit counts misses (:mod:`broker.matching.vertical`) and
ends as soon as every record of the block has missed too many bits. For the few records left, the counters
*are* the exact answer: all rows of the query's bits were added, so overlap = bits of the query - misses,
and the score follows with no second look.

Everything here needs numba; :mod:`broker.matching.scan` chooses between this and the NumPy path.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from broker.matching.vertical import (
    LANE_WORDS,
    LANES,
    LONG_PLANES,
    ROWS_PER_STEP,
    SHORT_PLANES,
    count_block_long,
    count_block_short,
    trailing_zeros,
)

_F = TypeVar("_F", bound=Callable[..., Any])
_GUESS_UNIT = 8
_EVERY_LANE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


def _compiled(function: _F) -> _F:
    """``numba.njit`` without the GIL, cached on disk where any place for the cache is writable."""
    try:
        return cast(_F, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        return cast(_F, numba.njit(nogil=True)(function))


@_compiled
def list_rows(
    packed: npt.NDArray[np.uint8],
    order: npt.NDArray[np.uint16],
    rows: npt.NDArray[np.uint16],
    steps: npt.NDArray[np.int64],
) -> None:
    """Write for each query of ``packed`` the row offsets of its set bits, rarest bit first.

    ``rows`` is (queries, l + 1 rounded up to 16) and ``steps`` (queries,) counts sixteens of rows. The last
    sixteen are filled up with the row of no misses, which follows the rows of the bits in each block.
    """
    bits = order.shape[0]
    for q in range(packed.shape[0]):
        n = 0
        for rank in range(bits):
            bit = order[rank]
            # Written always and kept if set: a branch here would be mispredicted every other time.
            rows[q, n] = rank * LANE_WORDS
            n += (packed[q, bit >> 3] >> (7 - (bit & 7))) & 1
        steps[q] = max(1, -(-n // ROWS_PER_STEP))
        rows[q, n : steps[q] * ROWS_PER_STEP] = bits * LANE_WORDS


@_compiled
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


@_compiled
def write_planes(
    packed: npt.NDArray[np.uint8], rank: npt.NDArray[np.uint16], planes: npt.NDArray[np.uint64]
) -> None:
    """:func:`broker.matching.transpose.write_planes`, 64 lanes by 64 bits at a time.

    :param rank: the row of each bit: the inverse of the order of bits.
    """
    bits = rank.shape[0]
    square = np.empty(64, np.uint64)
    for block in range(planes.shape[0]):
        planes[block, bits] = 0
        for lane_word in range(LANE_WORDS):
            first = block * LANES + lane_word * 64
            for bit in range(0, bits, 64):
                held = min(64, bits - bit)
                for i in range(64):
                    word = np.uint64(0)
                    if first + i < packed.shape[0]:
                        for byte in range(held >> 3):
                            word |= np.uint64(packed[first + i, (bit >> 3) + byte]) << np.uint64(
                                56 - 8 * byte
                            )
                    square[63 - i] = word  # so that lane i becomes bit i
                _transpose_64(square)
                for i in range(held):
                    planes[block, rank[bit + i], lane_word] = ~square[i]


@_compiled
def scan_tile(
    blocks: npt.NDArray[np.uint64],
    gone: npt.NDArray[np.uint64],
    lane_popcount: npt.NDArray[np.int32],
    lane_row: npt.NDArray[np.int64],
    lowest: npt.NDArray[np.int32],
    highest: npt.NDArray[np.int32],
    rows: npt.NDArray[np.uint16],
    steps: npt.NDArray[np.int64],
    popcount: npt.NDArray[np.int32],
    needed: npt.NDArray[np.int32],
    position: npt.NDArray[np.int64],
    end_block: int,
    found_query: npt.NDArray[np.int32],
    found_row: npt.NDArray[np.int64],
    found_overlap: npt.NDArray[np.int32],
    found_sum: npt.NDArray[np.int32],
) -> int:
    """Scan from ``position`` (block, query) to ``end_block``; return the number of pairs written to
    ``found_*``.

    Returns early, with ``position`` at the next visit, when fewer than 256 places are left in ``found_*``.

    :param needed: least overlap that reaches the threshold, by the sum of both popcounts (2 l + 1 entries).
    """
    n = 0
    capacity = found_query.shape[0]
    queries = popcount.shape[0]
    counters = np.empty((LONG_PLANES + 2, LANE_WORDS), np.uint64)
    out = counters.ctypes.data
    blocks_address = blocks.ctypes.data
    block_bytes = blocks.shape[1] * LANE_WORDS * 8
    rows_address = rows.ctypes.data
    rows_bytes = rows.shape[1] * 2
    gone_address = gone.ctypes.data
    first_query = position[1]
    guess = _GUESS_UNIT
    for block in range(position[0], end_block):
        low = lowest[block]
        high = highest[block]
        address = blocks_address + block * block_bytes
        ignore = gone_address + block * LANE_WORDS * 8
        for q in range(first_query, queries):
            a = popcount[q]
            least = needed[a + low]
            allowed = a - least
            # Even full overlap with the block's sparsest, or densest, records would not do.
            if allowed < 0 or needed[a + high] > high:
                continue
            if capacity - n < LANES:
                position[0] = block
                position[1] = q
                return n
            untested = min(guess // _GUESS_UNIT, steps[q])
            if allowed < (1 << SHORT_PLANES):
                planes = SHORT_PLANES
                start = (1 << SHORT_PLANES) - 1 - allowed
                taken = count_block_short(
                    address, rows_address + q * rows_bytes, untested, steps[q], start, ignore, out
                )
            else:
                planes = LONG_PLANES
                start = (1 << LONG_PLANES) - 1 - allowed
                taken = count_block_long(
                    address, rows_address + q * rows_bytes, untested, steps[q], start, ignore, out
                )
            # Where visits end is hard to predict, and a wrong prediction costs as much as two steps. So the
            # first test comes where about four visits in five have ended already: one test, well predicted.
            guess = max(_GUESS_UNIT, guess - 1) if taken == untested else guess + _GUESS_UNIT // 2
            dropped = counters[planes]
            if dropped[0] & dropped[1] & dropped[2] & dropped[3] == _EVERY_LANE:
                continue
            for word in range(LANE_WORDS):
                alive = ~dropped[word]
                while alive:
                    bit = trailing_zeros(alive)
                    alive &= alive - np.uint64(1)
                    misses = -start
                    for i in range(planes):
                        misses += np.int64((counters[i, word] >> np.uint64(bit)) & np.uint64(1)) << i
                    lane = block * LANES + word * 64 + bit
                    overlap = a - misses
                    both = a + lane_popcount[lane]
                    if overlap >= needed[both]:
                        found_query[n] = q
                        found_row[n] = lane_row[lane]
                        found_overlap[n] = overlap
                        found_sum[n] = both
                        n += 1
        first_query = 0
    position[0] = end_block
    position[1] = 0
    return n

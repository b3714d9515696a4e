"""Packed encodings to blocks of rows, and back.

Encodings are packed most significant bit first, as bitarray and clkhash store them: bit j is bit ``7 - j %
8`` of byte ``j // 8``. A block holds 256 records ("lanes"); its row r says which lanes *lack* bit
``order[r]``, lane i being bit ``i % 64`` of word ``i // 64``. One more row, of zeros, is what short lists
of rows are filled up with.
"""

import numpy as np
import numpy.typing as npt

from broker.matching.backend import kernel_available
from broker.matching.errors import MatchInputError

LANES = 256
LANE_WORDS = LANES // 64
_BLOCKS_AT_ONCE = 32
_ALIGNMENT = 64
_COUNTED_AT_ONCE = 32_768
_SAMPLE = 4096

Packed = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.uint64]


def checked_packed(encodings: Packed, bits: int | None = None) -> Packed:
    """``encodings`` as a C-contiguous (n, bits / 8) uint8 array.

    :raises MatchInputError: another type or shape, or not ``bits`` bits long.
    """
    packed = np.asarray(encodings)
    if packed.dtype != np.uint8 or packed.ndim != 2:
        raise MatchInputError(
            f"encodings should be an (n, bytes) array of uint8, not {packed.ndim}-dimensional {packed.dtype}"
        )
    if packed.shape[1] == 0:
        raise MatchInputError("encodings should have at least 8 bits")
    if bits is not None and packed.shape[1] * 8 != bits:
        raise MatchInputError(f"encodings have {packed.shape[1] * 8} bits where {bits} are expected")
    return np.ascontiguousarray(packed)


def popcounts(packed: Packed) -> npt.NDArray[np.int32]:
    """Set bits of each encoding."""
    counts = np.empty(len(packed), np.int32)
    for at in range(0, len(packed), _COUNTED_AT_ONCE):
        part = packed[at : at + _COUNTED_AT_ONCE]
        counts[at : at + len(part)] = np.bitwise_count(part).sum(axis=1, dtype=np.int32)
    return counts


def rarest_first(packed: Packed) -> npt.NDArray[np.uint16]:
    """Bit numbers by rising frequency, judged by an even sample; any order is correct, this one is fast."""
    sample = packed[:: max(1, len(packed) // _SAMPLE)]
    frequency = np.unpackbits(sample, axis=1).sum(axis=0, dtype=np.int64)
    return np.argsort(frequency, kind="stable").astype(np.uint16)


def aligned_planes(blocks: int, bits: int) -> Planes:
    """Uninitialised (blocks, bits + 1, 4) uint64, starting on a cache line so that no row crosses one."""
    size = blocks * (bits + 1) * LANE_WORDS
    raw = np.empty(size + _ALIGNMENT // 8, np.uint64)
    skip = (-raw.ctypes.data % _ALIGNMENT) // 8
    return raw[skip : skip + size].reshape(blocks, bits + 1, LANE_WORDS)


def write_planes(packed: Packed, order: npt.NDArray[np.uint16], planes: Planes) -> None:
    """Fill ``planes`` from ``packed``, 256 records a block in their order; lanes beyond the last lack every
    bit."""
    bits = len(order)
    if kernel_available():
        from broker.matching import turning  # compiling is slow to import and not always there

        turning.write_planes(np.ascontiguousarray(packed), np.argsort(order).astype(np.uint16), planes)
        return
    for first in range(0, len(planes), _BLOCKS_AT_ONCE):
        into = planes[first : first + _BLOCKS_AT_ONCE]
        lanes = np.zeros((len(into) * LANES, bits), np.uint8)
        part = packed[first * LANES : (first + len(into)) * LANES]
        lanes[: len(part)] = np.unpackbits(part, axis=1)[:, order]
        by_row = np.ascontiguousarray(lanes.reshape(len(into), LANES, bits).transpose(0, 2, 1))
        into[:, :bits] = ~np.packbits(by_row, axis=2, bitorder="little").view("<u8")
        into[:, bits] = 0


def read_bits(planes: Planes) -> npt.NDArray[np.uint8]:
    """(blocks * 256, bits) zeros and ones, bits in the blocks' own order."""
    rows = np.ascontiguousarray(~planes[:, :-1]).view(np.uint8)
    by_row = np.unpackbits(rows, axis=2, bitorder="little")
    return by_row.transpose(0, 2, 1).reshape(len(planes) * LANES, planes.shape[1] - 1)


def read_packed(planes: Planes, order: npt.NDArray[np.uint16]) -> Packed:
    """(blocks * 256, bits / 8) packed encodings: the inverse of :func:`write_planes`."""
    packed = np.empty((len(planes) * LANES, len(order) // 8), np.uint8)
    back = np.argsort(order)
    for first in range(0, len(planes), _BLOCKS_AT_ONCE):
        part = planes[first : first + _BLOCKS_AT_ONCE]
        packed[first * LANES : (first + len(part)) * LANES] = np.packbits(read_bits(part)[:, back], axis=1)
    return packed

"""A run of blocks: the columns that a scan reads, and the lanes that records come into and leave."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from broker.matching.bounds import stricter_bounds
from broker.matching.likeness import likeness_order
from broker.matching.transpose import (
    LANE_WORDS,
    LANES,
    Packed,
    Planes,
    aligned_planes,
    popcounts,
    read_packed,
    write_planes,
)

NO_ROW = -1
_ALL_GONE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(slots=True)
class Segment:
    """Columns of B blocks of 256 lanes; only the first ``lanes`` lanes have been given out.

    ``planes`` (B, bits + 1, 4) and ``gone`` (B, 4) uint64 (see :mod:`broker.matching.transpose`);
    ``lane_popcount`` int32 and ``lane_row`` int64 (B * 256,); ``lowest`` and ``highest`` int32 (B,) bound
    the popcounts of each block. Its repr shows sizes, never encodings.
    """

    planes: Planes
    gone: npt.NDArray[np.uint64]
    lane_popcount: npt.NDArray[np.int32]
    lane_row: npt.NDArray[np.int64]
    lowest: npt.NDArray[np.int32]
    highest: npt.NDArray[np.int32]
    lanes: int
    _starts: tuple[float, Planes] | None = field(default=None, init=False)

    def __repr__(self) -> str:
        return f"Segment({self.count} blocks of {self.bits} bits, {self.lanes} lanes given out)"

    @classmethod
    def empty(cls, bits: int, capacity: int) -> Self:
        """No lane given out, room for ``capacity`` blocks."""
        return cls(
            planes=aligned_planes(capacity, bits),
            gone=np.full((capacity, LANE_WORDS), _ALL_GONE),
            lane_popcount=np.zeros(capacity * LANES, np.int32),
            lane_row=np.full(capacity * LANES, NO_ROW, np.int64),
            lowest=np.full(capacity, bits, np.int32),
            highest=np.zeros(capacity, np.int32),
            lanes=0,
        )

    @property
    def bits(self) -> int:
        return int(self.planes.shape[1]) - 1

    @property
    def lane_count(self) -> int:
        """Lanes of the blocks in use."""
        return self.count * LANES

    @property
    def count(self) -> int:
        """Blocks in use, the last perhaps in part."""
        return -(-self.lanes // LANES)

    def extend(
        self, packed: Packed, rows: npt.NDArray[np.int64], order: npt.NDArray[np.uint16]
    ) -> npt.NDArray[np.int64]:
        """Add records in whole new blocks, like beside like.

        :return: the lane of each record, in the order given.
        """
        counts = popcounts(packed)
        by_likeness = likeness_order(packed, LANES)
        first, fresh = self.count, -(-len(packed) // LANES)
        self._reserve(first + fresh)
        # Sorting copies; a piece at a time keeps the copy small.
        step = 256
        for at in range(0, fresh, step):
            to = min(fresh, at + step)
            write_planes(
                packed[by_likeness[at * LANES : to * LANES]], order, self.planes[first + at : first + to]
            )
        start, end = first * LANES, first * LANES + len(packed)
        self.lane_popcount[start:end] = counts[by_likeness]
        self.lane_row[start:end] = rows[by_likeness]
        for block in range(first, first + fresh):
            held = self.lane_popcount[block * LANES : min(end, (block + 1) * LANES)]
            self.lowest[block], self.highest[block] = held.min(), held.max()
        free = np.ones(fresh * LANES, np.uint8)
        free[: len(packed)] = 0
        self.gone[first : first + fresh] = (
            np.packbits(free, bitorder="little").view("<u8").reshape(fresh, LANE_WORDS)
        )
        self.lanes = end
        self._starts = None
        lanes = np.empty(len(packed), np.int64)
        lanes[by_likeness] = np.arange(start, end)
        return lanes

    def put(self, encoding: npt.NDArray[np.uint8], row: int, order: npt.NDArray[np.uint16]) -> int:
        """Add one record in the next free lane, and return that lane."""
        lane = self.lanes
        block, word, bit = _place(lane)
        if lane % LANES == 0:
            self._reserve(block + 1)
            self.planes[block] = _ALL_GONE
            self.planes[block, -1] = 0
        present = np.unpackbits(encoding)[order].astype(np.uint64)
        self.planes[block, :-1, word] &= ~(present << bit)
        self.gone[block, word] &= ~(np.uint64(1) << bit)
        count = int(present.sum())
        self.lane_popcount[lane] = count
        self.lane_row[lane] = row
        self.lowest[block] = min(int(self.lowest[block]), count)
        self.highest[block] = max(int(self.highest[block]), count)
        self.lanes = lane + 1
        self._starts = None
        return lane

    def head_starts(self, threshold: float) -> Planes:
        """What the compiled kernel's counters start from; kept until records or the threshold change."""
        from broker.matching import kernel  # compiling is slow to import and not always there

        kept = self._starts
        if kept is None or kept[0] != threshold:
            stricter = stricter_bounds(self.bits, threshold)
            kept = threshold, kernel.head_starts(self.lane_popcount, self.lowest, self.count, stricter)
            self._starts = kept
        return kept[1]

    def clear(self, lanes: npt.NDArray[np.int64]) -> None:
        """Delete records: their bits are overwritten, not only marked."""
        for block in np.unique(lanes // LANES):
            mask = np.zeros(LANES, np.uint8)
            mask[lanes[lanes // LANES == block] % LANES] = 1
            words = np.packbits(mask, bitorder="little").view("<u8")
            self.planes[block, :-1] |= words
            self.gone[block] |= words
        self.lane_popcount[lanes] = 0
        self.lane_row[lanes] = NO_ROW

    def packed(self, first: int, last: int, order: npt.NDArray[np.uint16]) -> Packed:
        """Packed encodings of the lanes of blocks ``first`` to ``last`` (exclusive), cleared lanes as
        zeros."""
        return read_packed(self.planes[first:last], order)

    def _reserve(self, blocks: int) -> None:
        held = len(self.planes)
        if blocks <= held:
            return
        # Half as much again, so that many small additions copy each record a bounded number of times.
        larger = Segment.empty(self.bits, blocks if self.lanes == 0 else max(blocks, held + held // 2))
        larger.planes[:held] = self.planes
        larger.gone[:held] = self.gone
        larger.lane_popcount[: held * LANES] = self.lane_popcount
        larger.lane_row[: held * LANES] = self.lane_row
        larger.lowest[:held], larger.highest[:held] = self.lowest, self.highest
        self.planes, self.gone = larger.planes, larger.gone
        self.lane_popcount, self.lane_row = larger.lane_popcount, larger.lane_row
        self.lowest, self.highest = larger.lowest, larger.highest


def _place(lane: int) -> tuple[int, int, np.uint64]:
    return lane // LANES, lane % LANES // 64, np.uint64(lane % 64)

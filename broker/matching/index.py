"""The bit-sliced index: exact Dice search over many encodings (``docs/MATCHING-KERNEL.md``)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from broker.matching.errors import MatchInputError
from broker.matching.index_file import read_index, write_index
from broker.matching.scan import CHUNK_QUERIES, Matches, Progress, Scan
from broker.matching.segment import NO_ROW, Segment
from broker.matching.transpose import LANES, Packed, checked_packed, rarest_first

DEFAULT_MAX_PAIRS = 20_000_000
"""Pairs a query returns at most unless told otherwise: half a gigabyte of arrays."""
MAX_BITS = 65_536
_BULK_BLOCKS = 4
_COPY_BLOCKS = 64
_GONE_LANE = -1

Rows = npt.NDArray[np.int64]


class BitslicedIndex:
    """Encodings of one length, searchable by Dice threshold.

    Every record added gets the next *row* number, counted from 0 and never used again. A query returns
    record rows. Calls that change the index (``append``, ``delete``, ``compact``) must not run while others
    use it; any number of queries may run at once.
    """

    def __init__(
        self, order: npt.NDArray[np.uint16], segments: tuple[Segment, Segment], row_lane: Rows
    ) -> None:
        self._order = order
        # The base is sorted as a whole, and may be a memory map; what is appended later goes to the tail.
        self._base, self._tail = segments
        self._row_lane = row_lane
        self._rows = len(row_lane)
        self._held = int(np.count_nonzero(row_lane != _GONE_LANE))

    @classmethod
    def empty(cls, bits: int) -> Self:
        """An index of encodings of ``bits`` bits, a multiple of 8."""
        if not 0 < bits <= MAX_BITS or bits % 8:
            raise MatchInputError(f"encodings have a multiple of 8 bits up to {MAX_BITS:,}, not {bits:,}")
        order = np.arange(bits, dtype=np.uint16)
        return cls(order, (Segment.empty(bits, 0), Segment.empty(bits, 0)), np.empty(0, np.int64))

    @classmethod
    def build(cls, encodings: Packed) -> Self:
        """Index ``encodings``, (n, bits / 8) uint8; record i has row i.

        :raises MatchInputError: the array has another type or shape.
        """
        packed = checked_packed(encodings)
        index = cls.empty(packed.shape[1] * 8)
        index.append(packed)
        return index

    def __len__(self) -> int:
        return self._held

    def __repr__(self) -> str:
        return f"BitslicedIndex({self._held:,} records of {self.bits} bits)"

    @property
    def bits(self) -> int:
        """Length of an encoding."""
        return len(self._order)

    @property
    def rows_given(self) -> int:
        """Row numbers given out so far: the next record's row."""
        return self._rows

    @property
    def nbytes(self) -> int:
        """Memory of the blocks, or size of their map."""
        return self._base.planes.nbytes + self._tail.planes.nbytes

    def append(self, encodings: Packed) -> Rows:
        """Add records, and return their rows.

        :raises MatchInputError: the array has another type or shape.
        """
        packed = checked_packed(encodings, self.bits)
        rows = np.arange(self._rows, self._rows + len(packed), dtype=np.int64)
        if not len(packed):
            return rows
        if self._base.lanes == self._tail.lanes == 0:
            self._order = rarest_first(packed)
            lanes = self._base.extend(packed, rows, self._order)
        else:
            lanes = self._base.lane_count + self._append_tail(packed, rows)
        self._grow_rows(rows, lanes)
        return rows

    def _append_tail(self, packed: Packed, rows: Rows) -> Rows:
        if len(packed) >= _BULK_BLOCKS * LANES:
            # A large batch keeps to its own, narrowly bounded blocks; a small one fills what is open.
            return self._tail.extend(packed, rows, self._order)
        return np.array(
            [
                self._tail.put(encoding, int(row), self._order)
                for encoding, row in zip(packed, rows, strict=True)
            ],
            np.int64,
        )

    def _grow_rows(self, rows: Rows, lanes: Rows) -> None:
        end = self._rows + len(rows)
        if end > len(self._row_lane):
            larger = np.full(max(end, self._rows + self._rows // 8), _GONE_LANE, np.int64)
            larger[: self._rows] = self._row_lane[: self._rows]
            self._row_lane = larger
        self._row_lane[rows] = lanes
        self._rows = end
        self._held += len(rows)

    def delete(self, rows: Rows) -> int:
        """Overwrite the encodings of ``rows``; rows not held are ignored. Return how many were held."""
        wanted = np.unique(np.asarray(rows, np.int64))
        wanted = wanted[(wanted >= 0) & (wanted < self._rows)]
        wanted = wanted[self._row_lane[wanted] != _GONE_LANE]
        lanes = self._row_lane[wanted]
        in_base = lanes < self._base.lane_count
        self._base.clear(lanes[in_base])
        self._tail.clear(lanes[~in_base] - self._base.lane_count)
        self._row_lane[wanted] = _GONE_LANE
        self._held -= len(wanted)
        return len(wanted)

    def query(
        self,
        encodings: Packed,
        threshold: float,
        *,
        max_pairs: int | None = DEFAULT_MAX_PAIRS,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Matches:
        """All pairs of a query and a record whose Dice score is at least ``threshold``.

        :param encodings: (q, bits / 8) uint8, or (bits / 8,) for one query.
        :param max_pairs: how many pairs to accept; ``None`` for no limit.
        :param threads: how many threads to use; ``None`` for one a core.
        :param progress: called with (pairs compared, pairs in all) about once in 10**8 pairs; what it
            raises ends the query.
        :raises PairLimitError: the threshold yields more than ``max_pairs`` pairs.
        :raises MatchInputError: the queries have another type, shape or length.
        """
        chunks = self.stream(encodings, threshold, max_pairs=max_pairs, threads=threads, progress=progress)
        return Matches.concatenate(list(chunks))

    def stream(
        self,
        encodings: Packed,
        threshold: float,
        *,
        max_pairs: int | None = DEFAULT_MAX_PAIRS,
        threads: int | None = None,
        progress: Progress | None = None,
        chunk_queries: int = CHUNK_QUERIES,
    ) -> Iterator[Matches]:
        """As :meth:`query`, but the pairs of ``chunk_queries`` queries at a time, so that memory stays
        bounded.

        The chunks joined together are what :meth:`query` returns. ``max_pairs`` counts the pairs of all
        chunks.
        """
        packed = checked_packed(np.atleast_2d(encodings), self.bits)
        segments = (self._base, self._tail)
        scan = Scan(
            packed, segments, self._order, threshold, max_pairs=max_pairs, threads=threads, progress=progress
        )
        return scan.chunks(chunk_queries)

    def encodings(self) -> Iterator[tuple[Rows, Packed]]:
        """The records held, some thousands at a time: rows (n,) and packed encodings (n, bits / 8)."""
        for segment in (self._base, self._tail):
            for block in range(0, segment.count, _COPY_BLOCKS):
                end = min(block + _COPY_BLOCKS, segment.count)
                rows = segment.lane_row[block * LANES : end * LANES]
                held = rows != NO_ROW
                yield rows[held], segment.packed(block, end, self._order)[held]

    def compact(self) -> None:
        """Rebuild in one sorted segment: faster after many additions, smaller after many deletions. Rows
        stay."""
        packed = np.empty((self._held, self.bits // 8), np.uint8)
        rows = np.empty(self._held, np.int64)
        at = 0
        for part_rows, part in self.encodings():
            rows[at : at + len(part)], packed[at : at + len(part)] = part_rows, part
            at += len(part)
        by_row = np.argsort(rows)
        rows, packed = rows[by_row], packed[by_row]
        self._base, self._tail = Segment.empty(self.bits, 0), Segment.empty(self.bits, 0)
        self._row_lane[:] = _GONE_LANE
        if len(rows):
            self._order = rarest_first(packed)
            self._row_lane[rows] = self._base.extend(packed, rows, self._order)

    def save(self, path: Path) -> None:
        """Write the index to one file, replacing the old one in a single step, readable by its owner only."""
        write_index(path, self._order, (self._base, self._tail), self._row_lane[: self._rows])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Map a saved index into memory: ready at once, pages are read when a scan first needs them.

        Changes stay in memory until the next :meth:`save`.

        :raises IndexFileError: the file is missing, damaged or of another format.
        """
        return cls(*read_index(path))

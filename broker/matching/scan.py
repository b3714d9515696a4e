"""Many queries against many blocks: tiles, threads, limits, progress.

A *task* is a tile of up to 256 queries against a span of blocks. Tasks run on threads (the compiled kernel
holds no GIL) and their pairs are sorted, so the output does not depend on the number of threads.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from broker.matching.backend import kernel_available
from broker.matching.bounds import dice_scores, needed_overlaps, stricter_bounds
from broker.matching.errors import PairLimitError
from broker.matching.likeness import likeness_order
from broker.matching.segment import Segment
from broker.matching.transpose import LANES, Packed, popcounts, read_bits

TILE_QUERIES = 256
SPAN_BLOCKS = 4096
"""Blocks of one task: a million records, so that progress and cancelling have a fine grain."""
CHUNK_QUERIES = 65_536
"""Queries whose pairs are sorted and handed out together."""
KERNEL_MAX_BITS = 16_376
"""The compiled kernel addresses rows by 16-bit word offsets; longer encodings take the NumPy path."""
_BUFFER_PAIRS = 65_536

Progress = Callable[[int, int], None]
"""Called between tasks with (pairs compared, pairs in all); an exception that it raises ends the scan."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs that reach a threshold: three arrays of one length, sorted by query row, then record row."""

    query_row: npt.NDArray[np.int64]
    record_row: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def concatenate(cls, parts: Sequence["Matches"]) -> "Matches":
        """All pairs of ``parts`` in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([p.query_row for p in parts], dtype=np.int64) if parts else np.empty(0, np.int64),
            np.concatenate([p.record_row for p in parts], dtype=np.int64) if parts else np.empty(0, np.int64),
            np.concatenate([p.score for p in parts], dtype=np.float64) if parts else np.empty(0, np.float64),
        )


class _Found(NamedTuple):
    """Pairs of one task: query within the tile, record row, overlap, sum of popcounts."""

    query: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    overlap: npt.NDArray[np.int32]
    popcount_sum: npt.NDArray[np.int32]

    @classmethod
    def buffers(cls, size: int) -> "_Found":
        return cls(
            np.empty(size, np.int32),
            np.empty(size, np.int64),
            np.empty(size, np.int32),
            np.empty(size, np.int32),
        )

    def first(self, n: int) -> "_Found":
        return _Found(
            self.query[:n].copy(), self.row[:n].copy(), self.overlap[:n].copy(), self.popcount_sum[:n].copy()
        )


@dataclass(frozen=True, slots=True)
class _Task:
    tile: npt.NDArray[np.int64]  # query rows
    number: int  # of the segment
    first_block: int
    end_block: int


class _Stopped(Exception):  # noqa: N818 - a signal between threads, never seen by callers
    """Another task failed or the scan was cancelled."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Scan:
    """One scan of ``queries`` (n, bits / 8) against ``segments`` at ``threshold``.

    :param max_pairs: raise :class:`PairLimitError` beyond this many pairs in all; ``None`` for no limit.
    :param threads: ``None`` for every core.
    """

    def __init__(
        self,
        queries: Packed,
        segments: Sequence[Segment],
        order: npt.NDArray[np.uint16],
        threshold: float,
        *,
        max_pairs: int | None,
        threads: int | None,
        progress: Progress | None,
    ) -> None:
        self._queries = queries
        self._popcounts = popcounts(queries)
        self._segments = [s for s in segments if s.lanes]
        self._order = order
        self._rank = np.argsort(order).astype(np.uint16)
        self._needed = needed_overlaps(len(order), threshold)
        self._stricter = stricter_bounds(len(order), threshold)
        self._max_pairs = max_pairs
        self._threads = threads or usable_cores()
        self._progress = progress
        self._total = len(queries) * sum(s.lanes for s in self._segments)
        self._done = 0
        self._pairs = 0
        self._compared = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        compiled = len(order) <= KERNEL_MAX_BITS and kernel_available()
        self._scan_task = self._scan_compiled if compiled else self._scan_numpy
        self._starts = [s.head_starts(threshold) for s in self._segments] if compiled else []

    def chunks(self, chunk_queries: int = CHUNK_QUERIES) -> Iterator[Matches]:
        """Pairs of ``chunk_queries`` queries at a time, in query order."""
        for first in range(0, len(self._queries), chunk_queries):
            tasks = self._tasks(first, min(first + chunk_queries, len(self._queries)))
            found = [(task, part) for task, parts in self._run(tasks) for part in parts]
            yield _sorted_matches(found)

    def _tasks(self, first: int, end: int) -> list[_Task]:
        # Like queries share a tile, and rows within it.
        rows = first + likeness_order(self._queries[first:end], 2)
        tiles = [rows[at : at + TILE_QUERIES] for at in range(0, len(rows), TILE_QUERIES)]
        blocks = sum(s.count for s in self._segments)
        per_tile = max(1, -(-self._threads // len(tiles)))
        span = min(SPAN_BLOCKS, max(64, -(-blocks // per_tile)))
        return [
            _Task(tile, number, block, min(block + span, segment.count))
            for tile in tiles
            for number, segment in enumerate(self._segments)
            for block in range(0, segment.count, span)
        ]

    def _run(self, tasks: list[_Task]) -> Iterator[tuple[_Task, list[_Found]]]:
        if self._threads == 1 or len(tasks) <= 1:
            for task in tasks:
                yield task, self._scan_task(task)
                self._report(task)
            return
        waiting = iter(tasks)
        running: dict[Future[list[_Found]], _Task] = {}
        with ThreadPoolExecutor(min(self._threads, len(tasks)), "matching") as pool:
            try:
                while True:
                    for task in waiting:
                        running[pool.submit(self._scan_task, task)] = task
                        if len(running) >= 2 * self._threads:
                            break
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        task = running.pop(future)
                        yield task, future.result()
                        self._report(task)
            except BaseException:
                self._stop.set()
                for future in running:
                    future.cancel()
                raise

    def _report(self, task: _Task) -> None:
        lanes = min(task.end_block * LANES, self._segments[task.number].lanes) - task.first_block * LANES
        self._done += len(task.tile) * lanes
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _count(self, pairs: int, task: _Task, blocks: int) -> None:
        """Add to what was found and to what was compared: ``blocks`` more blocks of ``task``."""
        if self._stop.is_set():
            raise _Stopped
        with self._lock:
            self._pairs += pairs
            self._compared += blocks * LANES * len(task.tile)
            if self._max_pairs is not None and self._pairs > self._max_pairs:
                share = min(1.0, self._compared / self._total) or LANES / self._total
                raise PairLimitError(self._pairs, round(self._pairs / share), self._max_pairs, "matching")

    def _scan_compiled(self, task: _Task) -> list[_Found]:
        from broker.matching import kernel  # compiling is slow to import and not always there
        from broker.matching.plan import make_plan

        segment, popcount = self._segments[task.number], self._popcounts[task.tile]
        plan = make_plan(self._queries[task.tile], popcount, self._rank)
        spare = LANES * len(popcount)
        buffers = _Found.buffers(spare + _BUFFER_PAIRS)
        position = np.array([task.first_block], np.int64)
        parts: list[_Found] = []
        while position[0] < task.end_block:
            block = int(position[0])
            n = kernel.scan_tile(
                segment.planes,
                segment.gone,
                self._starts[task.number],
                segment.lane_popcount,
                segment.lane_row,
                segment.lowest,
                segment.highest,
                plan.nodes,
                plan.rows,
                self._needed,
                self._stricter,
                spare,
                position,
                task.end_block,
                *buffers,
            )
            self._count(n, task, int(position[0]) - block)
            if n:
                parts.append(buffers.first(n))
        return parts

    def _scan_numpy(self, task: _Task) -> list[_Found]:
        """Counts as a matrix product of zeros and ones: exact in single precision up to 2**24 bits."""
        segment = self._segments[task.number]
        queries = np.unpackbits(self._queries[task.tile], axis=1)[:, self._order].astype(np.float32)
        popcount = self._popcounts[task.tile]
        parts: list[_Found] = []
        for block in range(task.first_block, task.end_block, 16):
            end = min(block + 16, task.end_block)
            lanes = slice(block * LANES, end * LANES)
            overlap = (queries @ read_bits(segment.planes[block:end]).astype(np.float32).T).astype(np.int32)
            both = popcount[:, None] + segment.lane_popcount[lanes][None, :]
            held = segment.lane_row[lanes] >= 0
            query, lane = np.nonzero((overlap >= self._needed[both]) & held)
            self._count(len(query), task, end - block)
            parts.append(
                _Found(
                    query.astype(np.int32),
                    segment.lane_row[lanes][lane],
                    overlap[query, lane],
                    both[query, lane],
                )
            )
        return parts


def _sorted_matches(found: list[tuple[_Task, _Found]]) -> Matches:
    if not found:
        return Matches.concatenate([])
    query = np.concatenate([task.tile[part.query] for task, part in found])
    row = np.concatenate([part.row for _, part in found])
    score = np.concatenate([dice_scores(part.overlap, part.popcount_sum) for _, part in found])
    if not len(row):
        return Matches.concatenate([])
    by_row = np.argsort(query * (row.max() + 1) + row)  # no pair comes twice
    return Matches(query[by_row], row[by_row], score[by_row])

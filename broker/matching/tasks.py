"""The unit of a long run: one block of rows compared with another, in bounded memory.

A full run is cut into tasks of equal shape, each independent of the others, so that threads or a cluster can take
them in any order, a restart can skip those whose results it kept, and somebody can stop in between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from broker.matching.errors import PairLimitError, RunCancelledError
from broker.matching.model import Bytes2d, Ints, Scores

FIRST_QUERIES = 64
QUERY_GROWTH = 8
PAIRS_PER_STEP = 4_000_000
"""Pairs that one step of a search should return at most, about; a step's size follows the rate seen so far."""


class CancelFlag(Protocol):
    """Set by somebody else to stop a run; ``threading.Event`` is one."""

    def is_set(self) -> bool:
        """Whether the run should stop."""


Search = Callable[[Bytes2d, float], tuple[Ints, Ints, Scores]]
"""Of queries and a threshold: positions of queries, numbers of encodings that reach it, Dice coefficients."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    """Rows ``start .. stop`` of those rows of a party that have an encoding of a projection."""

    party: int
    projection: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class BlockTask:
    """Compare every row of ``left`` with every row of ``right``.

    :param number: position in the run's list of tasks, which is the same on every run over the same rows.
    :param source: what a message calls this comparison.
    """

    number: int
    left: BlockRef
    right: BlockRef
    threshold: float
    source: str

    @property
    def mirrored(self) -> bool:
        """Whether a block is compared with itself, so that each pair would come twice."""
        return self.left == self.right

    @property
    def comparisons(self) -> int:
        """Row pairs: the unit of progress."""
        return len(self.left) * len(self.right)


@dataclass(frozen=True, slots=True)
class BlockPairs:
    """Positions within the left and the right block, and Dice coefficients, of the pairs that a task found."""

    left: Ints = field(repr=False)
    right: Ints = field(repr=False)
    dice: Scores = field(repr=False)

    def __len__(self) -> int:
        return len(self.dice)


def plan(
    row_counts: Sequence[Sequence[int]],
    thresholds: Sequence[float],
    names: Sequence[str],
    *,
    within: bool,
    block_rows: int,
) -> list[BlockTask]:
    """All tasks of a run.

    :param row_counts: by projection and party, the rows that have an encoding.
    :param within: also compare each party with itself.
    :return: tasks with the same right block next to each other, so that an engine can reuse what it built for it.
    """
    tasks: list[BlockTask] = []
    for projection, counts in enumerate(row_counts):
        source = f"projection {names[projection]!r}"
        blocks = [_cut(party, projection, count, block_rows) for party, count in enumerate(counts)]
        for party, rights in enumerate(blocks):
            others = [left for earlier in blocks[:party] for left in earlier]
            for position, right in enumerate(rights):
                own = rights[: position + 1] if within else []
                for left in (*others, *own):
                    tasks.append(BlockTask(len(tasks), left, right, thresholds[projection], source))
    return tasks


def search_bounded(
    search: Search,
    queries: Bytes2d,
    threshold: float,
    *,
    limit: int,
    source: str,
    cancel: CancelFlag | None = None,
    keep: Callable[[Ints, Ints], NDArray[np.bool_]] | None = None,
) -> BlockPairs:
    """All pairs of ``queries`` and indexed encodings at or above ``threshold``.

    Queries go in steps that start small and grow while few pairs come back, so that a careless threshold meets the
    limit before it meets the end of memory.

    :param keep: which of the found (query, encoding) pairs count.
    :raises PairLimitError: more than ``limit`` pairs.
    :raises RunCancelledError: ``cancel`` was set.
    """
    parts: list[BlockPairs] = []
    start, step, found, total = 0, FIRST_QUERIES, 0, len(queries)
    while start < total:
        if cancel is not None and cancel.is_set():
            raise RunCancelledError("the matching run was cancelled")
        stop = min(total, start + step)
        left, right, dice = search(queries[start:stop], threshold)
        affordable = PAIRS_PER_STEP * (stop - start) // max(1, len(dice))
        left = left + start
        if keep is not None:
            kept = keep(left, right)
            left, right, dice = left[kept], right[kept], dice[kept]
        parts.append(BlockPairs(left, right, dice))
        found += len(dice)
        if found > limit:
            raise PairLimitError(found, found * total // stop, limit, source)
        start, step = stop, max(1, min(step * QUERY_GROWTH, affordable))
    return joined(parts)


def compare(
    task: BlockTask, left: Bytes2d, right: Search, *, limit: int, cancel: CancelFlag | None = None
) -> BlockPairs:
    """Do one task. Raises as :func:`search_bounded`."""
    return search_bounded(
        right,
        left,
        task.threshold,
        limit=limit,
        source=task.source,
        cancel=cancel,
        keep=np.less if task.mirrored else None,
    )


def joined(parts: Sequence[BlockPairs]) -> BlockPairs:
    """All pairs of ``parts`` in order."""
    if not parts:
        return BlockPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    return BlockPairs(
        np.concatenate([part.left for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.dice for part in parts]),
    )


def _cut(party: int, projection: int, count: int, block_rows: int) -> list[BlockRef]:
    borders = [*range(0, count, block_rows), count]
    return [BlockRef(party, projection, start, stop) for start, stop in pairwise(borders)]

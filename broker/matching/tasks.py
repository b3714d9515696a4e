"""The unit of a long run: one block of rows compared with another, in bounded memory.

A full run is cut into tasks of equal shape, each independent of the others, so that threads or a cluster
can take them in any order, a restart can skip those whose results it kept, and somebody can stop in
between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from broker.matching.errors import PairLimitError, RunCancelledError
from broker.matching.index import BitslicedIndex
from broker.matching.model import Bytes2d, Ints, Scores


class CancelFlag(Protocol):
    """Set by somebody else to stop a run; ``threading.Event`` is one."""

    def is_set(self) -> bool:
        """Whether the run should stop."""


Progress = Callable[[int, int], None]
"""Called with (done, total) row comparisons, from the thread that runs the search."""


class Watch:
    """Adds up the progress of several searches, and ends them when somebody cancels.

    :param total: row comparisons of all searches together.
    """

    def __init__(self, progress: Progress, cancel: CancelFlag, total: int) -> None:
        self._progress = progress
        self._cancel = cancel
        self._total = total
        self._before = 0

    def search(self, comparisons: int) -> Progress:
        """What the next search, of so many comparisons, should call.

        :raises RunCancelledError: (the result, when called) somebody cancelled.
        """
        before = self._before
        self._before += comparisons

        def report(done: int, total: int) -> None:
            if self._cancel.is_set():
                raise RunCancelledError("the matching run was cancelled")
            self._progress(before + comparisons * done // max(1, total), self._total)

        return report


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
    """Positions within the left and the right block, and Dice coefficients, of the pairs that a task
    found."""

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
    :return: tasks with the same right block next to each other, so that an engine can reuse what it built
        for it.
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


def compare(
    task: BlockTask,
    left: Bytes2d,
    right: BitslicedIndex,
    *,
    limit: int,
    cancel: CancelFlag | None = None,
    threads: int | None = 1,
) -> BlockPairs:
    """Do one task.

    :raises PairLimitError: more than ``limit`` pairs.
    :raises RunCancelledError: ``cancel`` was set.
    """

    def stop_if_cancelled(_done: int = 0, _total: int = 0) -> None:
        if cancel is not None and cancel.is_set():
            raise RunCancelledError("the matching run was cancelled")

    stop_if_cancelled()
    # A block against itself finds each pair twice, and each record itself.
    allowed = 2 * limit + len(left) if task.mirrored else limit
    try:
        found = right.query(
            left, task.threshold, max_pairs=allowed, threads=threads, progress=stop_if_cancelled
        )
    except PairLimitError as error:
        raise PairLimitError(error.found, error.estimated, limit, task.source) from error
    if task.mirrored:
        once = found.query_row < found.record_row
        return BlockPairs(found.query_row[once], found.record_row[once], found.score[once])
    return BlockPairs(found.query_row, found.record_row, found.score)


def _cut(party: int, projection: int, count: int, block_rows: int) -> list[BlockRef]:
    borders = [*range(0, count, block_rows), count]
    return [BlockRef(party, projection, start, stop) for start, stop in pairwise(borders)]

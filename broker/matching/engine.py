"""Where block tasks run: on this machine's cores, or on a cluster (``broker.matching.dask_engine``).

An engine changes how long a run takes and nothing else: results are equal, whatever it is and however often
it had to repeat a task.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Protocol

from broker.matching.index import BitslicedIndex
from broker.matching.model import Bytes2d
from broker.matching.tasks import BlockPairs, BlockRef, BlockTask, CancelFlag, compare

BlockSource = Callable[[BlockRef], Bytes2d]
"""The encodings of a block, ``(len(block), length_bits // 8)``."""


class Engine(Protocol):
    """Runs block tasks."""

    def compare(
        self, tasks: Sequence[BlockTask], encodings: BlockSource, *, limit: int, cancel: CancelFlag
    ) -> Iterator[tuple[BlockTask, BlockPairs]]:
        """Every task with its result, as they finish, in any order.

        :param limit: pairs that a single task may find.
        :raises PairLimitError: a task found more.
        :raises RunCancelledError: ``cancel`` was set.
        :raises EngineError: a task could not be done.
        """


class ThreadsEngine:
    """All cores of this machine: tasks one after the other, each on every core (the kernel holds no GIL).

    :param threads: how many; by default one for each core that this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads

    def compare(
        self, tasks: Sequence[BlockTask], encodings: BlockSource, *, limit: int, cancel: CancelFlag
    ) -> Iterator[tuple[BlockTask, BlockPairs]]:
        """See :meth:`Engine.compare`."""
        # Tasks with the same right block come next to each other, so one index at a time is enough.
        for block, same_block in groupby(tasks, lambda task: task.right):
            index = BitslicedIndex.build(encodings(block))
            for task in same_block:
                left = encodings(task.left)
                yield task, compare(task, left, index, limit=limit, cancel=cancel, threads=self._threads)

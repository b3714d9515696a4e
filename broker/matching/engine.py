"""Where block tasks run: on this machine's cores, or on a cluster (``broker.matching.dask_engine``).

An engine changes how long a run takes and nothing else: results are equal, whatever it is and however
often it
had to repeat a task.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Lock
from typing import Protocol

from broker.matching.errors import RunCancelledError
from broker.matching.index import BitslicedIndex
from broker.matching.model import Bytes2d
from broker.matching.tasks import BlockPairs, BlockRef, BlockTask, CancelFlag, compare

BlockSource = Callable[[BlockRef], Bytes2d]
"""The encodings of a block, ``(len(block), length_bits // 8)``."""

TASKS_AHEAD = 2
"""Tasks handed out beyond those that are running: enough to keep workers busy, few enough to stop soon."""


class Engine(Protocol):
    """Runs block tasks."""

    def compare(
        self, tasks: Sequence[BlockTask], encodings: BlockSource, *, limit: int, cancel: CancelFlag
    ) -> Iterator[tuple[BlockTask, BlockPairs]]:
        """Every task with its result, as they finish, in any order.

        :param limit: pairs that a single task may find.
        :raises PairLimitError: a task found more.
        :raises RunCancelledError: ``cancel`` was set; tasks that run are left to end, others never start.
        :raises EngineError: a task could not be done.
        """


class _IndexCache:
    """The indexes of the right blocks in use: tasks come sorted by right block, so that a few suffice."""

    def __init__(self, encodings: BlockSource, size: int) -> None:
        self._encodings = encodings
        self._size = size
        self._lock = Lock()
        self._indexes: dict[BlockRef, Future[BitslicedIndex]] = {}

    def get(self, block: BlockRef) -> BitslicedIndex:
        with self._lock:
            future = self._indexes.get(block)
            building = future is None
            if future is None:
                future = self._indexes[block] = Future()
                for oldest in list(islice(self._indexes, max(0, len(self._indexes) - self._size))):
                    del self._indexes[oldest]
        if building:
            try:
                future.set_result(BitslicedIndex.build(self._encodings(block)))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()


class ThreadsEngine:
    """All cores of this machine; the kernel releases Python's lock.

    :param threads: how many; by default one for each core that this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))

    def compare(
        self, tasks: Sequence[BlockTask], encodings: BlockSource, *, limit: int, cancel: CancelFlag
    ) -> Iterator[tuple[BlockTask, BlockPairs]]:
        """See :meth:`Engine.compare`."""
        cache = _IndexCache(encodings, self._threads + 1)

        def run(task: BlockTask) -> BlockPairs:
            return compare(task, encodings(task.left), cache.get(task.right), limit=limit, cancel=cancel)

        waiting = iter(tasks)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="matching") as pool:
            running: dict[Future[BlockPairs], BlockTask] = {}
            try:
                while True:
                    for task in islice(waiting, self._threads + TASKS_AHEAD - len(running)):
                        running[pool.submit(run, task)] = task
                    if not running:
                        return
                    if cancel.is_set():
                        raise RunCancelledError("the matching run was cancelled")
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield running.pop(future), future.result()
            finally:
                for future in running:
                    future.cancel()

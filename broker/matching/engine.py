"""Where block tasks run: on this machine's cores, or on a cluster (``broker.matching.dask_engine``).

An engine changes how long a run takes and nothing else: results are equal, whatever it is and however often
it had to repeat a task.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

from broker.matching.errors import EngineError
from broker.matching.index import BitslicedIndex
from broker.matching.model import Bytes2d
from broker.matching.tasks import BlockPairs, BlockRef, BlockTask, CancelFlag, compare

BlockSource = Callable[[BlockRef], Bytes2d]
"""The encodings of a block, ``(len(block), length_bits // 8)``."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Where the scheduler is, and the files with which both sides prove who they are.

    :param address: ``tls://host:port``.
    :param ca_file: certificates of the authority that signs the cluster's certificates (PEM).
    :param cert_file: this broker's certificate (PEM).
    :param key_file: its private key (PEM).
    :param timeout: seconds to wait for the scheduler.
    """

    address: str
    ca_file: Path
    cert_file: Path
    key_file: Path
    timeout: int = 30


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


@contextmanager
def open_engine(cluster: ClusterConfig | None = None, threads: int | None = None) -> Iterator[Engine]:
    """The engine that a configuration asks for: a cluster, or else this machine's threads.

    :raises EngineError: the cluster cannot be reached, or its software is not installed.
    """
    if cluster is None:
        yield ThreadsEngine(threads)
        return
    try:
        from broker.matching.dask_engine import DaskEngine  # an extra that most installations do without
    except ModuleNotFoundError as error:
        raise EngineError("a cluster needs the extra 'cluster': install tallystick[cluster]") from error
    with DaskEngine.connect(cluster) as engine:
        yield engine

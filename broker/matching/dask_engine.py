"""Block tasks on a Dask cluster; needs the ``cluster`` extra (``distributed``).

Blocks travel to the cluster once, as tasks of their own, so that the scheduler knows how to make each
again: a worker that dies takes nothing with it that is not computed anew elsewhere. Workers hold encodings
while they work, so they belong inside the broker's own boundary, and every connection is mutual TLS: an
address without TLS is refused.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Self

import dask
import numpy as np
from distributed import CancelledError, Client, Future, KilledWorker, Security, wait
from distributed.comm.core import CommClosedError

from broker.matching.engine import BlockSource, ClusterConfig
from broker.matching.errors import EngineError, RunCancelledError
from broker.matching.index import BitslicedIndex
from broker.matching.model import Bytes2d
from broker.matching.tasks import BlockPairs, BlockRef, BlockTask, CancelFlag, compare

POLL_SECONDS = 0.5
"""How often a run looks whether it was cancelled."""
TASKS_PER_THREAD = 2
LARGE_TASK = "distributed.admin.large-graph-warning-threshold"


class DaskEngine:
    """Runs block tasks on a cluster. Close it, or use it in a ``with`` statement.

    :param client: connected by TLS; see :meth:`connect`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def connect(cls, config: ClusterConfig) -> Self:
        """Connect to a scheduler.

        :raises EngineError: the address is not a TLS one, or nobody answers there.
        """
        if not config.address.startswith("tls://"):
            raise EngineError(f"the cluster's address {config.address!r} must begin with tls://")
        security = Security(
            tls_ca_file=str(config.ca_file),
            tls_client_cert=str(config.cert_file),
            tls_client_key=str(config.key_file),
            require_encryption=True,
        )
        try:
            return cls(
                Client(config.address, security=security, timeout=config.timeout, set_as_default=False)
            )
        except (OSError, TimeoutError, CommClosedError) as error:
            raise EngineError(f"cannot reach the cluster's scheduler at {config.address}: {error}") from error

    def close(self) -> None:
        """Disconnect; the cluster goes on for others."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def compare(
        self, tasks: Sequence[BlockTask], encodings: BlockSource, *, limit: int, cancel: CancelFlag
    ) -> Iterator[tuple[BlockTask, BlockPairs]]:
        """See ``Engine.compare``."""
        blocks = _Blocks(self._client, tasks, encodings)
        running: dict[Future[BlockPairs], BlockTask] = {}
        waiting = iter(tasks)
        try:
            while True:
                room = TASKS_PER_THREAD * max(1, sum(self._client.nthreads().values())) - len(running)
                for task in islice(waiting, max(0, room)):
                    left, right = blocks.encodings(task.left), blocks.index(task.right)
                    future = self._client.submit(_compare, task, left, right, limit, pure=False)
                    running[future] = task
                if not running:
                    return
                for future in _finished(self._client, list(running), cancel):
                    task = running.pop(future)
                    pairs = future.result()
                    blocks.done(task)
                    yield task, pairs
        except (KilledWorker, CancelledError, CommClosedError, OSError) as error:
            raise EngineError(f"the cluster gave up on a block: {error}") from error
        finally:
            self._client.cancel(list(running))


class _Blocks:
    """The blocks on the cluster, each from its first task to its last."""

    def __init__(self, client: Client, tasks: Sequence[BlockTask], encodings: BlockSource) -> None:
        self._client = client
        self._source = encodings
        self._uses = Counter(block for task in tasks for block in (task.left, task.right))
        self._encodings: dict[BlockRef, Future[Bytes2d]] = {}
        self._indexes: dict[BlockRef, Future[BitslicedIndex]] = {}

    def encodings(self, block: BlockRef) -> Future[Bytes2d]:
        if block not in self._encodings:
            # Submitted rather than scattered: scattered data has no recipe and dies with its worker.
            with dask.config.set({LARGE_TASK: "1 GB"}):
                self._encodings[block] = self._client.submit(np.array, self._source(block), pure=False)
        return self._encodings[block]

    def index(self, block: BlockRef) -> Future[BitslicedIndex]:
        if block not in self._indexes:
            encodings = self.encodings(block)
            self._indexes[block] = self._client.submit(BitslicedIndex.build, encodings, pure=False)
        return self._indexes[block]

    def done(self, task: BlockTask) -> None:
        """Let the cluster forget blocks that no further task needs."""
        self._uses.subtract((task.left, task.right))
        for block in (task.left, task.right):
            if not self._uses[block]:
                self._encodings.pop(block, None)
                self._indexes.pop(block, None)


def _compare(task: BlockTask, left: Bytes2d, right: BitslicedIndex, limit: int) -> BlockPairs:
    return compare(task, left, right, limit=limit)


def _finished(
    client: Client, futures: list[Future[BlockPairs]], cancel: CancelFlag
) -> list[Future[BlockPairs]]:
    """Wait for one or more of ``futures``."""
    with client.as_current():
        while not cancel.is_set():
            try:
                return list(wait(futures, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                continue
    raise RunCancelledError("the matching run was cancelled")

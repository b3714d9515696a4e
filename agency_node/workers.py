"""Encoding on every core: helper processes that are fed chunks through pipes.

A helper is a new Python process of this program that imports what encoding needs and nothing else: no
network code, no state of the parent. The job, with its keys, and the rows reach it through its standard
input; its answers come back through its standard output. Nothing is put on a command line or on disk. When
its input ends, or the parent is gone, it ends too.

Few rows are encoded in the parent, for a helper takes a second or two to start.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Final, Self

from agency_node.encoding import EncodingError
from agency_node.pipeline import ChunkEncoder, EncodedChunk, EncodingJob
from agency_node.sources.rows import RawChunk
from agency_node.subjects import SubjectId

CHUNKS_ALONE: Final = 2
"""Chunks that the parent encodes itself before it starts helpers."""

_MOST_HELPERS: Final = 8
_LENGTH_BYTES: Final = 8
_COLLECT_EVERY: Final = 200_000
_START: Final = (
    "import json, sys; answers = sys.stdout.buffer; sys.stdout = sys.stderr; "
    "sys.path[:] = json.loads(sys.argv[1]); "
    "from agency_node.workers import serve; serve(sys.stdin.buffer, answers)"
)


class WorkerError(EncodingError):
    """A helper process failed or died; the message names the kind of failure, never a value."""


@dataclass(frozen=True, slots=True, repr=False)
class _Task:
    chunk: RawChunk
    handles: Mapping[SubjectId, bytes]
    donors: int


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ParallelEncoder:
    """Encodes chunks on ``helpers`` processes; results come back in the order of submission.

    At most twice as many chunks are under way as there are helpers, which bounds memory. Use as a context:
    leaving it ends the helpers at once, whatever they are doing. One thread at a time may call it.
    """

    def __init__(self, job: EncodingJob, helpers: int | None = None, alone: int = CHUNKS_ALONE) -> None:
        wanted = usable_cores() if helpers is None else helpers
        self._job = job
        self._count = min(wanted, _MOST_HELPERS) if wanted > 1 else 0
        self._alone = alone
        self._own = ChunkEncoder(job)
        self._helpers: list[_Helper] = []
        self._idle: SimpleQueue[_Helper] = SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None
        self._under_way: deque[Future[EncodedChunk]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def helpers(self) -> tuple[_Helper, ...]:
        """The processes at work, for whoever watches over them."""
        return tuple(self._helpers)

    def submit(
        self, chunk: RawChunk, handles: Mapping[SubjectId, bytes], donors: int = 0
    ) -> list[EncodedChunk]:
        """Take a chunk; returns the results that are due, and waits when too many are under way.

        Raises WorkerError when a helper failed, HandleError for a subject without a handle.
        """
        if self._alone > 0 or self._count == 0:
            self._alone -= 1
            return [self._own.encode(chunk, handles, donors)]
        threads = self._threads or self._start()
        self._under_way.append(threads.submit(self._ask, _Task(chunk, handles, donors)))
        due = []
        while self._under_way and (self._under_way[0].done() or len(self._under_way) > 2 * self._count):
            due.append(self._under_way.popleft().result())
        return due

    def finish(self) -> list[EncodedChunk]:
        """Wait for all chunks that are still under way."""
        due = [future.result() for future in self._under_way]
        self._under_way.clear()
        return due

    def close(self) -> None:
        """End the helpers; what is under way is lost."""
        for helper in self._helpers:
            helper.end()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for helper in self._helpers:
            helper.release()
        self._helpers.clear()

    def _start(self) -> ThreadPoolExecutor:
        self._threads = ThreadPoolExecutor(self._count, "tallystick-encoder")
        for _ in range(self._count):
            helper = _Helper(self._job)
            self._helpers.append(helper)
            self._idle.put(helper)
        return self._threads

    def _ask(self, task: _Task) -> EncodedChunk:
        helper = self._idle.get()
        try:
            return helper.ask(task)
        finally:
            self._idle.put(helper)


class _Helper:
    """One process, which answers one task at a time."""

    def __init__(self, job: EncodingJob) -> None:
        command = [sys.executable, "-c", _START, json.dumps(sys.path)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._job: EncodingJob | None = job

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, task: _Task) -> EncodedChunk:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            if self._job is not None:
                _write(stdin, self._job)
                self._job = None
            _write(stdin, task)
            answer = _read(stdout)
        except (OSError, EOFError, ValueError):
            raise WorkerError(
                "a helper process ended before it had encoded its rows; start again, with more memory if "
                "the system log says that it ran out"
            ) from None
        if isinstance(answer, EncodedChunk):
            return answer
        raise WorkerError(f"encoding a chunk failed in a helper process ({answer})")

    def end(self) -> None:
        self._process.kill()

    def release(self) -> None:
        """After :meth:`end`, and when no thread asks any more."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was still buffered has no reader
        self._process.wait()


def serve(tasks: IO[bytes], answers: IO[bytes]) -> None:
    """Run in a helper: read the job, then answer tasks until the input ends."""
    # A chunk is a great many objects and no cycles: looking for some again and again is wasted time.
    gc.set_threshold(_COLLECT_EVERY, 50, 100)
    try:
        job = _read(tasks)
        assert isinstance(job, EncodingJob)
        encoder = ChunkEncoder(job)
        while True:
            task = _read(tasks)
            assert isinstance(task, _Task)
            try:
                answer: object = encoder.encode(task.chunk, task.handles, task.donors)
            except Exception as error:  # noqa: BLE001  the parent raises it; its text might hold a value
                answer = type(error).__name__
            _write(answers, answer)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _write(stream: IO[bytes], value: object) -> None:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> object:
    length = int.from_bytes(_exactly(stream, _LENGTH_BYTES), "big")
    return pickle.loads(_exactly(stream, length))  # noqa: S301  both ends are this program, over its own pipe


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data

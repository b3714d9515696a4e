"""Encoded rows on their way to the broker: shuffled on disk, then cut into batches.

Rows go to one of 64 files by the first bits of their handle, and each file is sorted by handle when it is
read. Handles are random, so the order in which rows leave says nothing about the order in the agency's own
tables, and memory stays at a 64th of the whole. A record is::

    handle (16) | row number (1) | for each projection: present (1), CLK | for each exact token: present (1),
    token (32)

The files hold encodings, never plaintext, can be read by this user only, and are deleted as they are read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding import EncodedRows
from protos.wire.linkage import EXACT_TOKEN_BYTES, HANDLE_BYTES, Column, EncodingBatch

BUCKETS = 64
_SHIFT = 2
_HEAD = HANDLE_BYTES + 1

Records = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Names and byte widths of a linkage's columns, in the agreement's order."""

    projections: tuple[tuple[str, int], ...]
    exact_tokens: tuple[str, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes of each column's value."""
        return tuple(width for _, width in self.projections) + (EXACT_TOKEN_BYTES,) * len(self.exact_tokens)

    @property
    def width(self) -> int:
        """Bytes of a record."""
        return _HEAD + sum(1 + width for width in self.widths)

    def pack(self, rows: EncodedRows) -> Records:
        """The records of encoded rows, (n, width)."""
        records = np.zeros((len(rows), self.width), np.uint8)
        records[:, :HANDLE_BYTES] = rows.handles
        records[:, HANDLE_BYTES] = rows.row_numbers
        columns = [(rows.clk_present[name], rows.clks[name]) for name, _ in self.projections]
        columns += [(rows.token_present[name], rows.tokens[name]) for name in self.exact_tokens]
        start = _HEAD
        for (present, values), width in zip(columns, self.widths, strict=True):
            records[:, start] = present
            records[:, start + 1 : start + 1 + width] = values
            start += 1 + width
        return records

    def batch(self, records: Records, withdrawn: tuple[bytes, ...] = ()) -> EncodingBatch:
        """The batch of some records, as it goes over the wire."""
        columns: list[Column] = []
        start = _HEAD
        for width in self.widths:
            present = records[:, start]
            values = records[present == 1, start + 1 : start + 1 + width]
            columns.append(Column(present.tobytes(), values.tobytes()))
            start += 1 + width
        # A batch that only withdraws has no columns.
        used = columns if len(records) else []
        return EncodingBatch(
            handles=records[:, :HANDLE_BYTES].tobytes(),
            row_numbers=records[:, HANDLE_BYTES].tobytes(),
            projections=tuple(used[: len(self.projections)]),
            exact_tokens=tuple(used[len(self.projections) :]),
            withdrawn=withdrawn,
        )


@dataclass(frozen=True, slots=True)
class SubjectRows:
    """All rows of one subject, and a digest of them."""

    handle: bytes
    records: Records
    digest: bytes


def empty_spool(folder: Path) -> None:
    """Makes the folder, for this user only, and deletes what a process that was killed left in it.

    Raises OSError where something cannot be deleted.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


class RowSpool:
    """Rows of one upload, shuffled. Use as a context: leaving it deletes the files."""

    def __init__(self, folder: Path, layout: RowLayout) -> None:
        self._folder = folder
        self._layout = layout
        self._files: dict[int, IO[bytes]] = {}

    def __enter__(self) -> Self:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, rows: EncodedRows) -> None:
        """Takes rows, in any order."""
        records = self._layout.pack(rows)
        buckets = records[:, 0] >> _SHIFT
        for bucket in np.unique(buckets):
            self._file(int(bucket)).write(records[buckets == bucket].tobytes())

    def subjects(self, bucket: int) -> Iterator[SubjectRows]:
        """The subjects whose handles fall into a bucket, by ascending handle; their file is deleted."""
        records = _sorted(self._take(bucket))
        if not len(records):
            return
        changes = np.flatnonzero((records[1:, :HANDLE_BYTES] != records[:-1, :HANDLE_BYTES]).any(axis=1)) + 1
        bounds = [0, *changes.tolist(), len(records)]
        for start, end in pairwise(bounds):
            rows = records[start:end]
            yield SubjectRows(rows[0, :HANDLE_BYTES].tobytes(), rows, hashlib.sha256(rows.tobytes()).digest())

    def _file(self, bucket: int) -> IO[bytes]:
        if bucket not in self._files:
            self._files[bucket] = _private(self._folder / f"{bucket}.rows")
        return self._files[bucket]

    def _take(self, bucket: int) -> Records:
        file = self._files.pop(bucket, None)
        if file is None:
            return np.zeros((0, self._layout.width), np.uint8)
        file.close()
        path = self._folder / f"{bucket}.rows"
        data = path.read_bytes()
        path.unlink()
        return np.frombuffer(data, np.uint8).reshape(-1, self._layout.width)


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def bucket_range(bucket: int) -> tuple[bytes, bytes | None]:
    """The handles of a bucket: from the first value on, below the second (None: to the end)."""
    low = bytes([bucket << _SHIFT]) + bytes(HANDLE_BYTES - 1)
    if bucket + 1 == BUCKETS:
        return low, None
    return low, bytes([(bucket + 1) << _SHIFT]) + bytes(HANDLE_BYTES - 1)


def _sorted(records: Records) -> Records:
    """By handle, then row number."""
    if not len(records):
        return records
    halves = np.ascontiguousarray(records[:, :HANDLE_BYTES]).view(">u8")
    return records[np.lexsort((records[:, HANDLE_BYTES], halves[:, 1], halves[:, 0]))]

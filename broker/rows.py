"""Encoded rows as fixed-width records: how the broker keeps them, filters them and hands them to matching.

A record is::

    handle (16) | row number (1) | for each projection: present (1), CLK | for each exact token: present (1),
    token (32)

Absent values are zeros. Fixed widths make replacing and withdrawing subjects a mask over an array.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from broker.store.model import Segment
from protos.wire.linkage import EXACT_TOKEN_BYTES, HANDLE_BYTES, BatchShape, Column, EncodingBatch

if TYPE_CHECKING:
    from broker.matching.model import PartyRows

Records = NDArray[np.uint8]
_HEAD = HANDLE_BYTES + 1
#: The odd factors of splitmix64's finaliser.
_MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Names and widths of a linkage's columns, in the agreement's order."""

    projections: tuple[tuple[str, int], ...]
    exact_tokens: tuple[str, ...]

    @property
    def shape(self) -> BatchShape:
        """What a batch must look like."""
        return BatchShape(tuple(width for _, width in self.projections), len(self.exact_tokens))

    @property
    def width(self) -> int:
        """Bytes of a record."""
        return _HEAD + sum(1 + width for width in self._widths())

    def pack(self, batch: EncodingBatch) -> bytes:
        """The records of a batch that `check_batch` let through."""
        records = np.zeros((batch.rows, self.width), np.uint8)
        if batch.rows:
            records[:, :HANDLE_BYTES] = _matrix(batch.handles, HANDLE_BYTES)
            records[:, HANDLE_BYTES] = np.frombuffer(batch.row_numbers, np.uint8)
            start = _HEAD
            columns: tuple[Column, ...] = (*batch.projections, *batch.exact_tokens)
            for width, column in zip(self._widths(), columns, strict=True):
                present = np.frombuffer(column.present, np.uint8)
                records[:, start] = present
                records[present == 1, start + 1 : start + 1 + width] = _matrix(column.values, width)
                start += 1 + width
        return records.tobytes()

    def records(self, segments: Iterable[Segment]) -> Records:
        """All records of some segments, in order: `(rows, width)`."""
        bodies = b"".join(segment.body for segment in segments)
        return _matrix(bodies, self.width)

    def party_rows(self, agency: str, records: Records) -> PartyRows:
        """The columns that matching takes."""
        from broker.matching.model import PartyRows

        clks, present, exact, exact_present = {}, {}, {}, {}
        start = _HEAD
        for name, width in self.projections:
            present[name] = records[:, start] == 1
            clks[name] = np.ascontiguousarray(records[:, start + 1 : start + 1 + width])
            start += 1 + width
        for name in self.exact_tokens:
            exact_present[name] = records[:, start] == 1
            exact[name] = np.ascontiguousarray(records[:, start + 1 : start + 1 + EXACT_TOKEN_BYTES])
            start += 1 + EXACT_TOKEN_BYTES
        return PartyRows(
            agency=agency,
            handles=np.ascontiguousarray(records[:, :HANDLE_BYTES]),
            row_numbers=records[:, HANDLE_BYTES].astype(np.int64),
            clks=clks,
            present=present,
            exact=exact,
            exact_present=exact_present,
        )

    def _widths(self) -> tuple[int, ...]:
        return (*(width for _, width in self.projections), *(EXACT_TOKEN_BYTES for _ in self.exact_tokens))


def handles_of(records: Records) -> set[bytes]:
    """The distinct handles of some records."""
    joined = records[:, :HANDLE_BYTES].tobytes()
    return {joined[start : start + HANDLE_BYTES] for start in range(0, len(joined), HANDLE_BYTES)}


def withdrawn_handles(segments: Iterable[Segment]) -> set[bytes]:
    """The distinct handles that some staged segments withdraw."""
    joined = b"".join(segment.withdrawn for segment in segments)
    return {joined[start : start + HANDLE_BYTES] for start in range(0, len(joined), HANDLE_BYTES)}


def among(records: Records, handles: Collection[bytes]) -> NDArray[np.bool_]:
    """Which records belong to one of `handles`."""
    first_halves = np.frombuffer(b"".join(handle[:8] for handle in handles), np.uint64)
    found = np.isin(_halves(records)[:, 0], first_halves)
    # Few are left; whole handles decide, whatever their first halves.
    for position in np.flatnonzero(found):
        found[position] = records[position, :HANDLE_BYTES].tobytes() in handles
    return found


def repeated_rows(records: Records) -> int:
    """How many records repeat the handle and row number of another."""
    halves = _halves(records)
    return len(records) - _distinct(halves[:, 0], halves[:, 1], records[:, HANDLE_BYTES].astype(np.uint64))


def contents(records: Records, key: int) -> NDArray[np.uint64]:
    """What each record says, whoever it is said of: a number for all but handle and row number.

    Equal contents give equal numbers; under a secret random `key` of 64 bits nobody finds others that do.
    """
    rows, width = len(records), records.shape[1] - _HEAD
    padded = np.zeros((rows, -(-width // 8) * 8), np.uint8)
    padded[:, :width] = records[:, _HEAD:]
    numbers = np.full(rows, key, np.uint64)
    for word in padded.view(np.uint64).T:
        numbers ^= word
        for factor in _MIXERS:
            numbers *= factor
            numbers ^= numbers >> np.uint64(32)
    return numbers


def subject_count(records: Records) -> int:
    """How many distinct handles."""
    halves = _halves(records)
    return _distinct(halves[:, 0], halves[:, 1])


def _halves(records: Records) -> NDArray[np.uint64]:
    return np.ascontiguousarray(records[:, :HANDLE_BYTES]).view(np.uint64)


def _distinct(*columns: NDArray[np.uint64]) -> int:
    if not len(columns[0]):
        return 0
    order = np.lexsort(columns)
    new = np.zeros(len(order) - 1, np.bool_)
    for column in columns:
        new |= column[order[1:]] != column[order[:-1]]
    return 1 + int(np.count_nonzero(new))


def _matrix(data: bytes, width: int) -> Records:
    return np.frombuffer(data, np.uint8).reshape(-1, width)

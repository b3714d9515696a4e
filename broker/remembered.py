"""A day's memory of what one agency asked for or no longer holds, in this process only and within bounds.

A new epoch has another key: nothing remembered of the last one can be compared with it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from broker.nearness import variants_seen
from broker.rows import Records
from protos.wire.linkage import HANDLE_BYTES

DAY = 24 * 3600.0
Clks = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class LookUp:
    """The encodings of one look-up, by projection; `name` is equal where they are."""

    at: float
    name: bytes
    clks: Clks = field(repr=False)


class LookUps:
    """The look-ups of one agency in one linkage: at most `most`, the newest."""

    def __init__(self, epoch: int, most: int) -> None:
        self.epoch = epoch
        self._most = most
        self._asked: deque[LookUp] = deque()
        self._names: set[bytes] = set()

    def take(self, now: float, clks: Clks) -> tuple[LookUp, ...]:
        """Remembers a look-up, once however often it comes, and returns the others that are remembered.

        Look-ups at the same time see each other: whichever is taken later sees the earlier.
        """
        self.forget_old(now)
        name = _name(clks)
        others = tuple(item for item in self._asked if item.name != name)
        if name not in self._names:
            self._names.add(name)
            self._asked.append(LookUp(now, name, clks))
            if len(self._asked) > self._most:
                self._forget_oldest()
        return others

    def forget_old(self, now: float) -> None:
        """Drops what is older than a day."""
        while self._asked and self._asked[0].at <= now - DAY:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._names.discard(self._asked.popleft().name)


def variants_among(clks: Clks, others: Sequence[LookUp], least: Mapping[str, float]) -> int:
    """How many other look-ups have an encoding near one of `clks`, by the Dice coefficients of `least`."""
    near = np.zeros(len(others), np.bool_)
    for name, dice in least.items():
        tables = [item.clks[name] for item in others]
        owners = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        if len(owners) and len(clks[name]):
            near[owners[variants_seen(clks[name], np.concatenate(tables), dice)]] = True
    return int(near.sum())


class ReplacedRows:
    """Rows that one agency replaced or withdrew in one linkage: at most `most`, the newest."""

    def __init__(self, epoch: int, most: int) -> None:
        self.epoch = epoch
        self._most = most
        self._chunks: deque[tuple[float, Records]] = deque()

    def add(self, now: float, records: Records) -> None:
        """Remembers the rows that one upload did away with, as `as_versions` names them."""
        if not len(records):
            return
        self._chunks.append((now, records[-self._most :]))
        excess = sum(len(rows) for _, rows in self._chunks) - self._most
        while excess > 0:
            at, oldest = self._chunks.popleft()
            if len(oldest) > excess:
                self._chunks.appendleft((at, oldest[excess:].copy()))
            excess -= len(oldest)

    def records(self) -> tuple[Records, ...]:
        """What is remembered, to be joined where there is time."""
        return tuple(rows for _, rows in self._chunks)

    def forget_old(self, now: float) -> None:
        """Drops what is older than a day."""
        while self._chunks and self._chunks[0][0] <= now - DAY:
            self._chunks.popleft()


def as_versions(records: Records, rng_bytes: Callable[[int], bytes]) -> Records:
    """The same rows under a fresh random handle for each subject: what is gone is nobody's any more.

    So every version of a subject counts as a subject of its own, also beside the present one.
    """
    from broker.matching.subjects import unique_handles

    renamed = records.copy()
    if len(records):
        numbers = unique_handles(np.ascontiguousarray(records[:, :HANDLE_BYTES]))[1]
        names = np.frombuffer(rng_bytes(HANDLE_BYTES * (int(numbers.max()) + 1)), np.uint8)
        renamed[:, :HANDLE_BYTES] = names.reshape(-1, HANDLE_BYTES)[numbers]
    return renamed


def _name(clks: Clks) -> bytes:
    digest = hashlib.sha256()
    for name, table in clks.items():
        digest.update(f"{name} {table.shape} ".encode())
        digest.update(table.tobytes())
    return digest.digest()

"""Fixed-width random keys to subject numbers, looked up in bulk without a Python loop.

Used for handles (16 bytes) and exact tokens (32 bytes). Entries live in a few sorted segments, as in a
log-structured merge tree: an append adds a small segment, and neighbours of like size are merged, so that
appending a thousand keys to a million costs little and a look-up visits a handful of segments. Segments are
sorted by the first eight bytes alone: the keys are random or outputs of a keyed hash, and the full width is
compared anyway.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from broker.matching.errors import MatchInputError
from broker.matching.model import Bytes2d, Ints

Words = NDArray[np.uint64]


def leading_words(keys: Bytes2d) -> Words:
    """The first eight bytes of each key as one big-endian number, so that numeric order is byte order."""
    return np.ascontiguousarray(keys[:, :8]).view(">u8").ravel().astype(np.uint64)


def spread(starts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """For ranges ``starts[i] .. starts[i] + counts[i]``: which range each element is of, and the element."""
    owners = np.repeat(np.arange(len(starts), dtype=np.int64), counts)
    first = np.cumsum(counts) - counts
    return owners, np.arange(len(owners), dtype=np.int64) - first[owners] + starts[owners]


@dataclass(frozen=True, slots=True)
class _Segment:
    words: Words
    keys: Bytes2d
    values: Ints

    @staticmethod
    def of(keys: Bytes2d, values: Ints) -> "_Segment":
        words = leading_words(keys)
        order = np.argsort(words, kind="stable")
        return _Segment(words[order], keys[order], values[order])

    def __len__(self) -> int:
        return len(self.values)

    def ranges(self, words: Words) -> tuple[Ints, Ints]:
        starts = np.searchsorted(self.words, words, side="left").astype(np.int64)
        return starts, np.searchsorted(self.words, words, side="right").astype(np.int64) - starts

    def find(self, keys: Bytes2d, words: Words) -> tuple[Ints, Ints]:
        starts, counts = self.ranges(words)
        asked, found = spread(starts, counts)
        equal = (keys[asked] == self.keys[found]).all(axis=1)
        return asked[equal], self.values[found[equal]]


class KeyTable:
    """A multimap from keys of ``width`` bytes to integers."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._segments: list[_Segment] = []

    def __len__(self) -> int:
        return sum(len(segment) for segment in self._segments)

    def append(self, keys: Bytes2d, values: Ints) -> None:
        """Add ``keys[i] -> values[i]``; the same key may come again.

        :raises MatchInputError: ``keys`` is not ``(n, width)``.
        """
        if keys.shape != (len(values), self._width):
            raise MatchInputError(f"keys should have shape {(len(values), self._width)}, got {keys.shape}")
        if not len(values):
            return
        self._segments.append(_Segment.of(keys, values))
        while len(self._segments) > 1 and len(self._segments[-2]) <= 2 * len(self._segments[-1]):
            last, previous = self._segments.pop(), self._segments.pop()
            merged = np.concatenate([previous.keys, last.keys])
            self._segments.append(_Segment.of(merged, np.concatenate([previous.values, last.values])))

    def count(self, keys: Bytes2d) -> int:
        """How many entries :meth:`find` would return at most: cheap, to be asked before a join."""
        words = leading_words(keys)
        return sum(int(segment.ranges(words)[1].sum()) for segment in self._segments)

    def find(self, keys: Bytes2d) -> tuple[Ints, Ints]:
        """Every ``(i, value)`` with an entry ``keys[i] -> value``, as two columns."""
        words = leading_words(keys)
        parts = [segment.find(keys, words) for segment in self._segments]
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate([asked for asked, _ in parts]), np.concatenate([values for _, values in parts])

    def first(self, keys: Bytes2d) -> Ints:
        """The value of each key, or -1; for tables in which a key occurs once."""
        result = np.full(len(keys), -1, np.int64)
        asked, values = self.find(keys)
        result[asked] = values
        return result

    def discard(self, gone: NDArray[np.bool_]) -> None:
        """Drop every entry whose value ``v`` has ``gone[v]``."""
        kept = []
        for segment in self._segments:
            keep = ~gone[segment.values]
            if keep.all():
                kept.append(segment)
            elif keep.any():
                kept.append(_Segment(segment.words[keep], segment.keys[keep], segment.values[keep]))
        self._segments = kept

"""The numbered table of subjects behind candidates, edges and groups.

A subject's number never changes while it is held; the order that decides ties is not the number but
``(agency, handle bytes)``, so that it does not matter who came first.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from broker.matching.errors import MatchInputError
from broker.matching.keytable import KeyTable, leading_words
from broker.matching.model import HANDLE_BYTES, Bytes2d, Flags, Ints, Member

Parties = NDArray[np.int16]
Element = TypeVar("Element", bound=np.generic)


def unique_handles(handles: Bytes2d) -> tuple[Bytes2d, Ints]:
    """Distinct handles in byte order ``(m, 16)``, and for each given handle its position among them."""
    count = len(handles)
    if not count:
        return handles.reshape(0, HANDLE_BYTES), np.empty(0, np.int64)
    high, low = leading_words(handles), leading_words(handles[:, 8:])
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    new = np.ones(count, np.bool_)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    positions = np.empty(count, np.int64)
    positions[order] = np.cumsum(new) - 1
    return handles[order[new]], positions


class SubjectTable:
    """Agency and handle of every subject number; rows are added, blanked on removal, never renumbered.

    :param agencies: ids of the linkage's participants; their sorted order is the canonical one.
    """

    def __init__(self, agencies: Sequence[str]) -> None:
        self.agencies = tuple(sorted(set(agencies)))
        if len(self.agencies) != len(agencies) or not self.agencies:
            raise MatchInputError(f"a linkage needs agencies with distinct ids, got {list(agencies)}")
        self._codes = {agency: code for code, agency in enumerate(self.agencies)}
        self._lookup = [KeyTable(HANDLE_BYTES) for _ in self.agencies]
        self._count = 0
        self._parties: Parties = np.empty(0, np.int16)
        self._handles: Bytes2d = np.empty((0, HANDLE_BYTES), np.uint8)
        self._held: Flags = np.empty(0, np.bool_)

    def __len__(self) -> int:
        """The numbers given out so far, those of removed subjects included."""
        return self._count

    @property
    def parties(self) -> Parties:
        """``(len,)`` position of each subject's agency in :attr:`agencies`."""
        return self._parties[: self._count]

    @property
    def handles(self) -> Bytes2d:
        """``(len, 16)``; zeros where the subject was removed."""
        return self._handles[: self._count]

    @property
    def held(self) -> Flags:
        """``(len,)``; False where the subject was removed."""
        return self._held[: self._count]

    def party(self, agency: str) -> int:
        """Position of ``agency``.

        :raises MatchInputError: it takes no part in the linkage.
        """
        code = self._codes.get(agency)
        if code is None:
            raise MatchInputError(f"agency {agency!r} takes no part in this linkage")
        return code

    def find(self, party: int, handles: Bytes2d) -> Ints:
        """Numbers of subjects, -1 where not held."""
        return self._lookup[party].first(handles)

    def add(self, party: int, handles: Bytes2d) -> Ints:
        """Give numbers to subjects that are not held; ``handles`` must be distinct."""
        first, count = self._count, len(handles)
        self._reserve(first + count)
        self._parties[first : first + count] = party
        self._handles[first : first + count] = handles
        self._held[first : first + count] = True
        self._count += count
        numbers = np.arange(first, first + count, dtype=np.int64)
        self._lookup[party].append(handles, numbers)
        return numbers

    def remove(self, numbers: Ints) -> None:
        """Forget subjects: their handles are overwritten."""
        gone = np.zeros(self._count, np.bool_)
        gone[numbers] = True
        for party in np.unique(self.parties[numbers]):
            self._lookup[party].discard(gone)
        self._handles[numbers] = 0
        self._held[numbers] = False

    def member(self, number: int) -> Member:
        """One subject as a value."""
        return Member(self.agencies[int(self._parties[number])], self._handles[number].tobytes())

    def canonical_order(self, numbers: Ints) -> Ints:
        """The permutation that sorts subject ``numbers`` by agency, then handle bytes."""
        handles = self._handles[numbers]
        words = (leading_words(handles[:, 8:]), leading_words(handles))
        return np.lexsort((*words, self._parties[numbers]))

    def oriented(self, a: Ints, b: Ints) -> tuple[Ints, Ints]:
        """The same pairs with the canonically earlier subject first."""
        swap = self._parties[a] > self._parties[b]
        same = np.flatnonzero(self._parties[a] == self._parties[b])
        if len(same):
            one, other = self._handles[a[same]], self._handles[b[same]]
            high, other_high = leading_words(one), leading_words(other)
            low, other_low = leading_words(one[:, 8:]), leading_words(other[:, 8:])
            swap[same] = (high > other_high) | ((high == other_high) & (low > other_low))
        return np.where(swap, b, a), np.where(swap, a, b)

    def _reserve(self, capacity: int) -> None:
        if capacity <= len(self._parties):
            return
        grown = max(capacity, len(self._parties) * 3 // 2, 1024)
        self._parties = _grown(self._parties, grown)
        self._handles = _grown(self._handles, grown)
        self._held = _grown(self._held, grown)


def _grown(column: NDArray[Element], length: int) -> NDArray[Element]:
    result = np.zeros((length, *column.shape[1:]), column.dtype)
    result[: len(column)] = column
    return result

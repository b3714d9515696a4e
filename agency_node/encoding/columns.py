"""Whole columns of plain ASCII text to Bloom filter bits, in one pass of compiled code.

A column is joined into one text and handed to a kernel that validates, tokenises, hashes and sets bits; no
Python runs per value. It covers what schemas mostly hold: n-grams and exact values, hashed by BLAKE2, of
strings, ISO dates and enumerations. For anything else, and for any column with a value that it does not
accept, :class:`PlainColumn` steps aside for the general path of :mod:`agency_node.encoding.features`.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from clkhash.comparators import ExactComparison, NgramComparison
from clkhash.field_formats import DateSpec, EnumSpec, FieldSpec, StringSpec
from numpy.typing import NDArray

from agency_node.encoding.blake import DIGEST_SHORTS, LONGEST_KEY, keyed_states
from agency_node.encoding.column_kernel import (
    ANY_CASE,
    INVALID,
    LOWER_CASE,
    SEPARATOR,
    SKIPPED,
    UPPER_CASE,
    VALUE_WORDS,
    add_column,
    find_cells,
)
from agency_node.encoding.kernels import WIDE

_FIRST_SLOTS: Final = 1 << 10
_MOST_SLOTS: Final = 1 << 17
_FIRST_VALUES: Final = 1 << 10
_MOST_VALUES: Final = 1 << 14
_MOST_INSERTIONS: Final = 2048
_CLASSES: Final = 32
_FIRST_MASKS: Final = 1 << 10
_MOST_MASKS: Final = 1 << 13
_MASK_BYTES: Final = 1 << 20
_UNLIMITED: Final = 1 << 40
_CASES: Final = {"mixed": ANY_CASE, "upper": UPPER_CASE, "lower": LOWER_CASE}


@dataclass(frozen=True, slots=True, repr=False)
class Cells:
    """Texts end to end in ``codes``, each ended by a separator; they end at ``end``, where tails begin.

    ``bounds`` is where each text begins, and the end.
    """

    codes: NDArray[np.uint8]
    bounds: NDArray[np.int32]
    end: int

    @classmethod
    def of(cls, texts: Iterable[str], count: int, tails: bytes) -> "Cells | None":
        """``count`` texts, or joined ones that come to so many; None for another number, and unless all are
        plain ASCII without a separator."""
        text = chr(SEPARATOR).join(texts)
        if not text.isascii():
            return None
        joined = bytearray(text, "ascii")
        joined.append(SEPARATOR)
        end = len(joined)
        joined += tails
        codes = np.frombuffer(joined, dtype=np.uint8)
        bounds = np.empty(count + 1, dtype=np.int32)
        if end > np.iinfo(np.int32).max or not find_cells(codes, end, bounds):
            return None
        return cls(codes, bounds, end)


class PlainColumn:
    """Adds one feature's columns to filters, where it can; keeps a bounded table of tokens between calls.

    Not thread-safe. The table holds the hash positions of at most 65,536 tokens, then begins anew.
    """

    def __init__(self, spec: FieldSpec, key: bytes, bits: int, per_token: int, per_feature: int) -> None:
        comparator = spec.hashing_properties.comparator
        is_ngram = isinstance(comparator, NgramComparison)
        self._n = int(comparator.n) if is_ngram else 0
        fewest_tokens = max(1, self._n)
        blocks = -(-(per_token or -(-per_feature // fewest_tokens)) // DIGEST_SHORTS)
        self._regex = spec.regex if type(spec) is StringSpec and spec.regex_based else None
        self._allowed = frozenset(spec.values) if type(spec) is EnumSpec else None
        limited = type(spec) is StringSpec and not spec.regex_based
        missing = spec.hashing_properties.missing_value
        self._sentinel: str | None = missing.sentinel if missing else None
        self._sentinel_text = (self._sentinel or "").encode("ascii")
        self._replacement_text = (missing.replace_with or "").encode("ascii") if missing else b""
        self._settings = np.array(
            [
                self._n,
                is_ngram and bool(comparator.positional),
                per_token,
                per_feature,
                bits - 1,
                _CASES[spec.case] if limited else ANY_CASE,
                (spec.min_length or 0) if limited else 0,
                spec.max_length if limited and spec.max_length is not None else _UNLIMITED,
                type(spec) is DateSpec,
                -1 if self._sentinel is None else len(self._sentinel_text),
                len(self._replacement_text),
            ],
            dtype=np.int64,
        )
        self._words = -(-bits // 64)
        self._most_masks = max(2, min(_MOST_MASKS, _MASK_BYTES // (8 * self._words)))
        self._states = keyed_states(key, max(1, blocks))
        self._by_value = self._regex is not None or self._allowed is not None
        self._begin(_FIRST_SLOTS)
        self._keep_values(_FIRST_VALUES)

    @classmethod
    def of(
        cls, spec: FieldSpec, key: bytes, bits: int, per_token: int, per_feature: int
    ) -> "PlainColumn | None":
        """The fast path of a feature, or None where its kind is not covered."""
        if not _is_covered(spec) or bits & (bits - 1) or not 0 < len(key) <= LONGEST_KEY:
            return None
        if max(per_token, per_feature) > _MOST_INSERTIONS:
            return None
        return cls(spec, key, bits, per_token, per_feature)

    @property
    def tail(self) -> bytes:
        """What must stand behind the cells' texts: the sentinel of missing values and its replacement."""
        return self._sentinel_text + self._replacement_text

    def add_cells(
        self,
        cells: "Cells",
        first: int,
        tail: int,
        rows: Sequence[Sequence[str]],
        filters: NDArray[np.uint64],
    ) -> bool:
        """OR the filters of entry ``first`` of each row into ``filters`` (rows, words).

        ``cells`` are all entries of ``rows``, one row after the other, and from ``tail`` on :attr:`tail`.
        False where it cannot; some rows may have got their (right) bits already.
        """
        if self._by_value and not self._accepts([row[first] for row in rows], skip=False):
            return False
        return self._add(cells, first, len(rows[0]), tail, filters, skip=False)

    def add(self, column: Sequence[str], filters: NDArray[np.uint64]) -> bool:
        """OR the filters of ``column`` into ``filters``; False where it cannot, as :meth:`add_cells`."""
        if not self._accepts(column, skip=False):
            return False
        cells = Cells.of(column, len(column), self.tail)
        return cells is not None and self._add(cells, 0, 1, cells.end, filters, skip=False)

    def add_ascii(self, column: Sequence[str], filters: NDArray[np.uint64]) -> list[int] | None:
        """Like :meth:`add`, but leave the values that are not ASCII; their row numbers, None for failure."""
        left = [row for row, value in enumerate(column) if not value.isascii()]
        plain = list(column)
        for row in left:
            plain[row] = chr(SKIPPED)
        cells = Cells.of(plain, len(plain), self.tail)
        if cells is None or cells.codes[: cells.end].tobytes().count(SKIPPED) != len(left):
            return None
        if not self._accepts(plain, skip=True) or not self._add(cells, 0, 1, cells.end, filters, skip=True):
            return None
        return left

    def _add(
        self, cells: "Cells", first: int, stride: int, tail: int, filters: NDArray[np.uint64], *, skip: bool
    ) -> bool:
        row = 0
        while True:
            row = add_column(
                cells.codes, cells.bounds, first, stride, tail, row, skip, self._settings, self._states,
                self._keys, self._filled, self._positions, self._classes, self._mask_of, self._masks,
                self._counts, self._values, self._value_masks, filters,
            )  # fmt: skip
            if row == INVALID:
                return False
            if row == len(filters):
                self._keep_more()
                return True
            if self._counts[0] == 0:
                return False  # not even an empty table takes this value
            self._begin(min(4 * self._keys.size, _MOST_SLOTS))

    def _begin(self, slots: int) -> None:
        """An empty token table; the last row of positions is for values that are not kept."""
        self._counts = np.zeros(5, dtype=np.int64)
        self._keys = np.zeros(slots, dtype=np.uint64)
        self._filled = np.zeros(slots + 1, dtype=np.uint8)
        self._positions = np.empty((slots + 1, len(self._states) * DIGEST_SHORTS), dtype=np.uint16)
        self._classes = np.zeros(_MOST_INSERTIONS + 2, dtype=np.uint8)
        self._mask_of = np.zeros((slots, _CLASSES), dtype=np.uint16)
        self._masks = np.zeros((min(_FIRST_MASKS, self._most_masks), self._words), np.uint64)

    def _keep_values(self, slots: int) -> None:
        """Room for so many whole values; slot 0 is the kernel's own, and no text is packed into ones."""
        self._values = np.zeros((slots + 1, VALUE_WORDS), dtype=np.uint64)
        self._values[:, 0] = np.iinfo(np.uint64).max
        self._value_masks = np.zeros((slots + 1, WIDE), dtype=np.uint64)

    def _keep_more(self) -> None:
        """Enlarge what has become too small, so that few rows do not pay for the memory of many."""
        masks = self._masks
        if self._counts[2] == len(masks) - 1 and len(masks) < self._most_masks:
            self._masks = np.zeros((min(4 * len(masks), self._most_masks), self._words), np.uint64)
            self._masks[: len(masks)] = masks
        slots = len(self._values) - 1
        if slots < _MOST_VALUES and self._counts[3] > 8 * slots:
            self._keep_values(4 * slots)

    def _accepts(self, column: Sequence[str], *, skip: bool) -> bool:
        """What is checked by distinct value: patterns and enumerations."""
        if not self._by_value:
            return True
        distinct = set(column)
        if self._sentinel is not None:
            distinct.discard(self._sentinel)
        if skip:
            distinct.discard(chr(SKIPPED))
        if self._allowed is not None:
            return distinct <= self._allowed
        assert self._regex is not None
        return all(map(self._regex.fullmatch, distinct))


def _is_covered(spec: FieldSpec) -> bool:
    properties = spec.hashing_properties
    comparator = properties.comparator
    if isinstance(comparator, NgramComparison):
        if not 1 <= comparator.n <= (4 if comparator.positional else 7):
            return False
    elif not isinstance(comparator, ExactComparison):
        return False
    if type(spec) not in (StringSpec, EnumSpec) and not (
        type(spec) is DateSpec and spec.format == "%Y-%m-%d"
    ):
        return False
    missing = properties.missing_value
    texts = ((missing.sentinel or "") + (missing.replace_with or "")) if missing else ""
    return (
        sys.byteorder == "little"
        and properties.hash_type == "blakeHash"
        and properties.encoding in ("ascii", "utf-8")
        and texts.isascii()
        and not {chr(SEPARATOR), chr(SKIPPED)} & set(texts)
    )

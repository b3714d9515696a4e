"""One feature of a linkage schema: distinct values to Bloom filters, cached by value.

clkhash stays the definition. Its field specification validates and formats every distinct value, its
comparator tokenises; only n-grams, dates in ISO form and ASCII strings take shortcuts that are exact for
them.
"""

from collections.abc import Collection, Sequence
from itertools import compress

import numpy as np
from clkhash.comparators import ExactComparison, NgramComparison, NumericComparison
from clkhash.field_formats import (
    BitsPerTokenStrategy,
    DateSpec,
    EnumSpec,
    FieldSpec,
    IntegerSpec,
    InvalidEntryError,
    StringSpec,
)
from numpy.typing import NDArray

from agency_node.encoding.columns import PlainColumn
from agency_node.encoding.hashing import TokenHasher
from agency_node.encoding.kernels import CODE_BITS, or_rows, set_bits, set_token_bits
from agency_node.encoding.ngrams import NgramTable, fits_key

_CACHE_BYTES = 8 << 20
_WORTH_KEEPING = 1 << 15
_ROWS_REMEMBERED = 1 << 18
_BULK_MAX_K = 2048
_MAX_CACHED_POSITIONS = 1 << 22
_REFUSALS = {
    StringSpec: "not of the length, case or pattern that the schema asks for",
    IntegerSpec: "not a whole number in the schema's range",
    DateSpec: "not a date in the schema's format",
    EnumSpec: "not one of the schema's codes",
}
_DAYS_IN_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


class FeatureEncoder:
    """Bloom filters of one feature's values, before folding.

    Not thread-safe. Holds at most about 8 MiB of filters (or one batch of them, if that is more), then
    forgets.
    """

    def __init__(self, spec: FieldSpec, keys: tuple[bytes, ...], bits: int) -> None:
        properties = spec.hashing_properties
        self._spec = spec
        self._row_bytes = -(-bits // 64) * 8
        self._limit = max(1, _CACHE_BYTES // self._row_bytes)
        self._comparator = properties.comparator
        self._strategy = properties.strategy
        self._sentinel: str | None = properties.missing_value and properties.missing_value.sentinel
        self._hasher = TokenHasher(properties, keys, bits)
        self._per_token, self._per_feature = self._insertions()
        self._plain = PlainColumn.of(spec, keys[0], bits, self._per_token, self._per_feature)
        self._ngrams: NgramTable | None = None
        self._ngrams_made = False
        self._token_positions: dict[str, NDArray[np.uint32]] = {}
        self.clear()

    def clear(self) -> None:
        """Forget every cached value."""
        # A value's id is the number of the row in which it was first seen; its slot, the row of its filter.
        self._ids: dict[str, int] = {}
        self._slots = np.zeros(0, dtype=np.int32)
        self._seen = 0
        self._known = 0
        self._filters = np.zeros((0, self._row_bytes), dtype=np.uint8)
        self._mostly_new = False

    def _insertions(self) -> tuple[int, int]:
        """(bits per token, bits per feature), one of them 0, read off clkhash's strategy."""
        total: int = self._strategy.bits_per_token(1)[0]
        if isinstance(self._strategy, BitsPerTokenStrategy):
            return total, 0
        return 0, total

    def _fewest_tokens(self) -> int:
        """The fewest tokens that a non-empty value can have: it bounds how often one token is inserted."""
        if isinstance(self._comparator, NgramComparison):
            return max(1, int(self._comparator.n))
        if isinstance(self._comparator, NumericComparison):
            return 2 * int(self._comparator.resolution) + 1
        return 1

    def _ngram_table(self) -> NgramTable | None:
        comparator = self._comparator
        if not isinstance(comparator, NgramComparison):
            return None
        n, positional = int(comparator.n), bool(comparator.positional)
        k = self._per_token or -(-self._per_feature // self._fewest_tokens())
        if n < 1 or k > _BULK_MAX_K or not fits_key(n, positional):
            return None
        return NgramTable(self._hasher, n, positional, k)

    @property
    def plain(self) -> PlainColumn | None:
        """The fast path, for whoever has the cells of whole rows at hand; None where there is none."""
        return self._plain

    def add_into(self, column: Sequence[str], out: NDArray[np.uint64]) -> None:
        """OR the filters of ``column`` into ``out`` (rows, 64-bit words).

        Raises what clkhash's specification, tokeniser or hash raises for an invalid value.
        """
        if self._plain is None:
            self._add_any(column, out)
        elif not self._plain.add(column, out):
            left = self._plain.add_ascii(column, out)
            if left is None:
                self._add_any(column, out)
            elif left:
                rest = np.zeros((len(left), out.shape[1]), dtype=np.uint64)
                self._add_any([column[row] for row in left], rest)
                out[left] |= rest

    def _add_any(self, column: Sequence[str], out: NDArray[np.uint64]) -> None:
        """The general path: distinct values through clkhash's rules, cached by value."""
        if self._mostly_new or self._known + len(column) > self._limit or self._seen > _ROWS_REMEMBERED:
            self.clear()
        first = self._seen
        numbers = range(first, first + len(column))
        ids = np.fromiter(map(self._ids.setdefault, column, numbers), dtype=np.int64, count=len(column))
        is_new = ids == np.arange(numbers.start, numbers.stop)
        new = list(compress(column, is_new.tolist()))
        known = self._known
        try:
            if new:
                self._encode_new(new, known)
        except Exception:
            self.clear()
            raise
        self._slots = np.concatenate([self._slots, (known - 1 + np.cumsum(is_new)).astype(np.int32)])
        self._seen, self._known = first + len(column), known + len(new)
        # Values that hardly ever recur (addresses) are not worth a table that outgrows the processor's cache.
        self._mostly_new = 2 * len(new) > len(column) and self._known > _WORTH_KEEPING
        or_rows(self._filters.view(np.uint64), self._slots[ids], out)

    def problems(self, values: Collection[str]) -> dict[str, str]:
        """Which of these values cannot be encoded and why, in words that do not hold the value."""
        found = {}
        for value in values:
            reason = self._problem(value)
            if reason is not None:
                found[value] = reason
        return found

    def _problem(self, value: str) -> str | None:
        try:
            for token in self._comparator.tokenize(self._formatted([value])[0]):
                token.encode(self._hasher.encoding)
        except InvalidEntryError:
            return _REFUSALS.get(type(self._spec), "not in the format of the schema")
        except (ValueError, ArithmeticError):
            return "cannot be tokenised as the schema says"
        return None

    def _encode_new(self, values: list[str], first_slot: int) -> None:
        formatted = self._formatted(values)
        end = first_slot + len(values)
        if end > self._filters.shape[0]:
            grown = np.zeros((max(end, 2 * self._filters.shape[0]), self._row_bytes), dtype=np.uint8)
            grown[:first_slot] = self._filters[:first_slot]
            self._filters = grown
        filters = self._filters[first_slot:end]
        if not self._ngrams_made:  # not before: most columns never come this way, and it takes memory
            self._ngrams, self._ngrams_made = self._ngram_table(), True
        if self._ngrams is not None and max(map(len, formatted)) < 1 << (CODE_BITS - 1):
            token_ids, counts, positions = self._ngrams.tokenise(formatted)
            set_token_bits(token_ids, counts, positions, self._per_token, self._per_feature, filters)
        else:
            self._encode_by_token(formatted, filters)

    def _encode_by_token(self, formatted: list[str], filters: NDArray[np.uint8]) -> None:
        rows: list[int] = []
        counts: list[int] = []
        positions: list[NDArray[np.uint32]] = []
        for row, value in enumerate(formatted):
            tokens = list(self._comparator.tokenize(value))
            if not tokens:
                continue
            found = [
                self._positions(token, k)
                for token, k in zip(tokens, self._strategy.bits_per_token(len(tokens)), strict=True)
            ]
            positions += found
            rows.append(row)
            counts.append(sum(map(len, found)))
        if rows:
            set_bits(np.repeat(np.array(rows, dtype=np.int64), counts), np.concatenate(positions), filters)

    def _positions(self, token: str, k: int) -> NDArray[np.uint32]:
        cached = self._token_positions.get(token)
        if cached is not None and cached.size >= k:
            return cached[:k]
        found: NDArray[np.uint32] = self._hasher.positions([token], k)[0]
        # The one token of an exact comparison is the value, and values are cached already.
        if not isinstance(self._comparator, ExactComparison):
            if (len(self._token_positions) + 1) * k > _MAX_CACHED_POSITIONS:
                self._token_positions.clear()
            self._token_positions[token] = found
        return found

    def _formatted(self, values: list[str]) -> list[str]:
        """Validate and format distinct values as clkhash would, or raise its error."""
        spec = self._spec
        if type(spec) is StringSpec and _plainly_valid(spec, values):
            return self._with_missing(values, values)
        if type(spec) is DateSpec and spec.format == "%Y-%m-%d" and self._plain_dates(values):
            return self._with_missing(values, [value.replace("-", "") for value in values])
        formatted = []
        for value in values:
            spec.validate(value)
            formatted.append(spec.format_value(value))
        return formatted

    def _plain_dates(self, values: list[str]) -> bool:
        """Whether all values but the sentinel are real dates with all digits and a four-digit year."""
        regular = values
        if self._sentinel in values:
            regular = [value for value in values if value != self._sentinel]
        return _all_iso_dates(regular)

    def _with_missing(self, values: list[str], formatted: list[str]) -> list[str]:
        """Put the replacement where the sentinel, which occurs once if at all, stands."""
        if self._sentinel not in values:
            return formatted
        place = values.index(self._sentinel)
        replacement = self._spec.hashing_properties.missing_value.replace_with
        return [*formatted[:place], replacement, *formatted[place + 1 :]]


def _plainly_valid(spec: StringSpec, values: list[str]) -> bool:
    """Whether all values pass for reasons that can be checked in bulk; False means only 'look at each'.

    ASCII text is valid in all four encodings that a schema can name, and its case does not depend on context.
    """
    joined = "".join(values)
    if not joined.isascii():
        return False
    if spec.regex_based:
        return all(map(spec.regex.fullmatch, values))
    lengths = list(map(len, values))
    if spec.min_length is not None and min(lengths) < spec.min_length:
        return False
    if spec.max_length is not None and max(lengths) > spec.max_length:
        return False
    if spec.case == "upper":
        return joined.upper() == joined
    if spec.case == "lower":
        return joined.lower() == joined
    return True


def _all_iso_dates(values: list[str]) -> bool:
    """Whether every value is ``YYYY-MM-DD`` with ASCII digits, a year from 1000 on, and a day that exists."""
    joined = "".join(values)
    if not joined.isascii() or any(length != 10 for length in map(len, values)):
        return False
    cells = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(-1, 10)
    digits = cells[:, [0, 1, 2, 3, 5, 6, 8, 9]].astype(np.int64) - ord("0")
    if (digits < 0).any() or (digits > 9).any() or (cells[:, [4, 7]] != ord("-")).any():
        return False
    year = digits[:, :4] @ np.array([1000, 100, 10, 1])
    month = digits[:, 4] * 10 + digits[:, 5]
    day = digits[:, 6] * 10 + digits[:, 7]
    if (year < 1000).any() or (month < 1).any() or (month > 12).any():
        return False
    leap = (month == 2) & (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return bool(((day >= 1) & (day <= _DAYS_IN_MONTH[month] + leap)).all())

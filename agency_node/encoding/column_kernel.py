"""The kernel behind :mod:`agency_node.encoding.columns`: one column of text to bits of Bloom filters."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding.blake import compress
from agency_node.encoding.kernels import WIDE, or_wide
from protos.wire.jit import compiled

SEPARATOR: Final = 0x1F
"""Ends every value (ASCII's unit separator); a value that holds it is for the general path."""

SKIPPED: Final = 0x1E
"""A value of this one character stands for one that is encoded elsewhere."""

ANY_CASE, UPPER_CASE, LOWER_CASE = 0, 1, 2
INVALID: Final = -1

ROW_BYTES: Final = 8 * WIDE
VALUE_WORDS: Final = 4
LONGEST_KEPT: Final = 8 * VALUE_WORDS - 1
FEW_FOUND: Final = 4
"""Where fewer than one value of so many was seen before ..."""
TRIED: Final = 4_096
"""... by the time that so many more were looked for, looking is not worth it."""
_SPACE: Final = 32
_DASH: Final = 45
_ZERO: Final = 48
_SHORTS: Final = 32
_KEPT_EXACT: Final = 7
_FEWEST_MASKED: Final = 3
_LONGEST_TOKEN: Final = 128
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MARK = np.uint64(1 << 63)


@compiled
def _is_iso_date(codes: NDArray[np.uint8], at: int) -> bool:
    """Whether the ten characters are a real date of the year 1000 or later."""
    for place in range(10):
        code = codes[at + place]
        if place == 4 or place == 7:
            if code != _DASH:
                return False
        elif code < _ZERO or code > _ZERO + 9:
            return False
    year, month, day = np.int64(0), np.int64(0), np.int64(0)
    for place in range(4):
        year = year * 10 + np.int64(codes[at + place]) - _ZERO
    for place in range(2):
        month = month * 10 + np.int64(codes[at + 5 + place]) - _ZERO
        day = day * 10 + np.int64(codes[at + 8 + place]) - _ZERO
    if year < 1000 or month < 1 or month > 12 or day < 1:
        return False
    longest = 31
    if month == 4 or month == 6 or month == 9 or month == 11:
        longest = 30
    elif month == 2:
        longest = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return bool(day <= longest)


@compiled
def _hash_token(
    states: NDArray[np.uint64],
    message: NDArray[np.uint8],
    words: NDArray[np.uint64],
    length: int,
    first: int,
    end: int,
    bit_mask: int,
    digest: NDArray[np.uint64],
    row: NDArray[np.uint16],
) -> None:
    """Fill digests ``first`` to ``end`` of ``row``, reduced to bits of the filter in word order."""
    for place in range(length, _LONGEST_TOKEN):
        message[place] = 0
    for block in range(first, end):
        compress(states[block], words, _LONGEST_TOKEN + length, True, digest)
        for word in range(8):
            for part in range(4):
                short = (digest[word] >> np.uint64(16 * part)) & np.uint64(bit_mask & 0xFFFF)
                row[block * _SHORTS + word * 4 + part] = np.uint16(short ^ np.uint64(7))


@compiled
def _set_bits(
    positions: NDArray[np.uint16], slot: np.uint64, times: int, words: NDArray[np.uint64], row: int
) -> None:
    """Set the first ``times`` bits of a token in ``words[row]``."""
    for draw in range(np.uint64(times)):
        bit = np.uint64(positions[slot, draw])
        words[np.uint64(row), bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@compiled
def _write_token(
    codes: NDArray[np.uint8],
    begin: int,
    length: int,
    n: int,
    place: int,
    key: np.uint64,
    message: NDArray[np.uint8],
) -> int:
    """Write the token as clkhash would encode it; its length. ``place`` is its 1-based position, or 0."""
    if n == 0:
        for part in range(length):
            message[part] = codes[begin + part]
        return length
    size = 0
    if place > 0:
        size = _write_number(place, message)
        message[size] = _SPACE
        size += 1
    for part in range(n):
        message[size + part] = np.uint8((key >> np.uint64(8 * (n - 1 - part))) & np.uint64(0xFF))
    return size + n


@compiled
def _write_number(number: int, message: NDArray[np.uint8]) -> int:
    """Write a positive number in decimal; its length."""
    digits = 0
    rest = number
    while rest > 0:
        digits += 1
        rest //= 10
    rest = number
    for place in range(digits):
        message[digits - 1 - place] = _ZERO + rest % 10
        rest //= 10
    return digits


@compiled
def _kind(
    classes: NDArray[np.uint8], times: int, counts: NDArray[np.int64], mask_of: NDArray[np.uint16]
) -> np.uint64:
    """The class of tokens inserted so many times; 0 where masks would not pay, or no class is left."""
    if times < _FEWEST_MASKED:
        return np.uint64(0)
    if classes[times] == 0 and counts[1] < mask_of.shape[1] - 1:
        counts[1] += 1
        classes[times] = counts[1]
    return np.uint64(classes[times])


@compiled
def find_cells(codes: NDArray[np.uint8], tail: int, bounds: NDArray[np.int32]) -> bool:
    """Where each text in ``codes[:tail]`` begins, each ended by a separator, and at last ``tail`` itself;
    False unless there is exactly one text fewer than there are ``bounds``."""
    found = 0
    bounds[0] = 0
    for place in range(tail):
        if codes[place] == SEPARATOR:
            found += 1
            if found == bounds.size:
                return False
            bounds[found] = place + 1
    return found == bounds.size - 1


@compiled
def _packed(codes: NDArray[np.uint8], begin: int, length: int, value: NDArray[np.uint64]) -> np.uint64:
    """Pack a text of at most ``LONGEST_KEPT`` characters and its length into four words; their hash."""
    mixed = np.uint64(0)
    for word in range(VALUE_WORDS):
        packed = np.uint64(0)
        for place in range(8 * word, min(8 * word + 8, length)):
            packed = (packed << np.uint64(8)) | np.uint64(codes[begin + place])
        if word == VALUE_WORDS - 1:
            packed = (packed << np.uint64(8)) | np.uint64(length)
        value[word] = packed
        mixed = (mixed ^ packed) * _MULTIPLIER
        mixed ^= mixed >> np.uint64(32)
    return mixed


@compiled
def add_column(
    codes: NDArray[np.uint8],
    bounds: NDArray[np.int32],
    first: int,
    stride: int,
    tail: int,
    row: int,
    skip: bool,
    settings: NDArray[np.int64],
    states: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    filled: NDArray[np.uint8],
    positions: NDArray[np.uint16],
    classes: NDArray[np.uint8],
    mask_of: NDArray[np.uint16],
    masks: NDArray[np.uint64],
    counts: NDArray[np.int64],
    values: NDArray[np.uint64],
    value_masks: NDArray[np.uint64],
    filters: NDArray[np.uint64],
) -> int:
    """Set the bits of the values of one column, from row ``row`` on.

    The value of a row is text ``first + stride * row`` of those that :func:`find_cells` found in ``codes``.
    From ``tail`` on stand the sentinel of missing values and its replacement; ``settings`` is what
    ``PlainColumn`` puts there. Dates lose their dashes in place.

    What is known of tokens: ``keys`` is an open-addressing table of packed tokens (0: free), with ``filled``
    (digests known) and ``positions`` by slot. A token inserted k times sets the same bits in every value,
    and few k occur: ``classes`` numbers them by k (0: none yet), ``mask_of`` (slot, class) names the row of
    ``masks`` that holds those bits (0: none yet). ``counts`` is how many slots, classes and masks are taken,
    then how many short values were looked for and found.

    What is known of values: ``values`` holds the last short one of each slot, packed, with its bits in
    ``value_masks``; slot 0 is for the value at hand. Where values hardly recur, nobody looks.

    Returns the next row: INVALID after a value that is not acceptable, and short of the number of rows when
    the table of tokens is too full to go on.
    """
    n, positional, per_token, per_feature, bit_mask = (
        settings[0], settings[1] != 0, settings[2], settings[3], settings[4]
    )  # fmt: skip
    case, shortest, longest, is_date = settings[5], settings[6], settings[7], settings[8] != 0
    sentinel_length, replacement_length = settings[9], settings[10]
    slot_mask = np.uint64(keys.size - 1)
    value_mask = np.uint64(values.shape[0] - 2)
    limit = keys.size // 2
    gram_mask = (np.uint64(1) << np.uint64(8 * n)) - np.uint64(1)
    width = np.uint64(filters.shape[1])
    known_masks, known_values = masks.ctypes.data, value_masks.ctypes.data
    words = np.zeros(16, dtype=np.uint64)
    message = words.view(np.uint8)
    digest = np.empty(8, dtype=np.uint64)
    packed = np.empty(VALUE_WORDS, dtype=np.uint64)
    while row < filters.shape[0]:
        cell = first + stride * row
        begin, length = int(bounds[cell]), int(bounds[cell + 1] - bounds[cell] - 1)
        if skip and length == 1 and codes[begin] == SKIPPED:
            row += 1
            continue
        value_slot = np.uint64(0)
        if length <= LONGEST_KEPT and width == WIDE and FEW_FOUND * counts[4] >= counts[3] - TRIED:
            value_slot = (_packed(codes, begin, length, packed) & value_mask) + np.uint64(1)
            counts[3] += 1
            if (
                values[value_slot, 0] == packed[0]
                and values[value_slot, 1] == packed[1]
                and values[value_slot, 2] == packed[2]
                and values[value_slot, 3] == packed[3]
            ):
                counts[4] += 1
                or_wide(filters.ctypes.data + row * ROW_BYTES, known_values + int(value_slot) * ROW_BYTES)
                row += 1
                continue
        lower, upper = False, False
        if case != ANY_CASE:
            for place in range(begin, begin + length):
                code = codes[place]
                lower |= 97 <= code <= 122
                upper |= 65 <= code <= 90
        is_missing = length == sentinel_length
        if is_missing:
            for index in range(length):
                if codes[begin + index] != codes[tail + index]:
                    is_missing = False
                    break
        if is_missing:
            begin, length = tail + sentinel_length, replacement_length
        elif (
            (case == UPPER_CASE and lower)
            or (case == LOWER_CASE and upper)
            or length < shortest
            or length > longest
            or (is_date and (length != 10 or not _is_iso_date(codes, begin)))
        ):
            return INVALID
        if length == 0:
            row += 1
            continue
        if n == 0 and length > _LONGEST_TOKEN:
            return INVALID
        if counts[0] + length + n > limit:
            return row
        if is_date and not is_missing:
            codes[begin + 4], codes[begin + 5] = codes[begin + 5], codes[begin + 6]
            codes[begin + 6], codes[begin + 7] = codes[begin + 8], codes[begin + 9]
            length = 8
        if value_slot != 0:
            for word in range(WIDE):
                value_masks[0, word] = 0
        count = length + n - 1 if n > 0 else 1
        base, residue = per_token, 0
        if per_token == 0:
            base = per_feature // count
            residue = per_feature - base * count
        kind_more = _kind(classes, base + 1, counts, mask_of) if residue > 0 else np.uint64(0)
        kind = _kind(classes, base, counts, mask_of)
        key = np.uint64(0)
        for _ in range(n - 1):
            key = (key << np.uint64(8)) | np.uint64(_SPACE)
        for index in range(count if base > 0 else residue):
            if n > 0:
                code = codes[begin + index] if index < length else np.uint8(_SPACE)
                key = ((key << np.uint64(8)) | np.uint64(code)) & gram_mask
                full = key | _MARK
                if positional:
                    full |= np.uint64(index + 1) << np.uint64(8 * n)
            else:
                full = _MARK | (np.uint64(length) << np.uint64(56))
                for part in range(min(length, _KEPT_EXACT)):
                    full |= np.uint64(codes[begin + part]) << np.uint64(8 * part)
            mixed = full * _MULTIPLIER
            slot = (mixed ^ (mixed >> np.uint64(32))) & slot_mask
            while keys[slot] != full and keys[slot] != 0:
                slot = (slot + np.uint64(1)) & slot_mask
            used_kind = kind_more if index < residue else kind
            mask = np.uint64(mask_of[slot, used_kind])
            if mask != 0:
                if value_slot != 0:
                    or_wide(known_values, known_masks + int(mask) * ROW_BYTES)
                elif width == WIDE:
                    or_wide(filters.ctypes.data + row * ROW_BYTES, known_masks + int(mask) * ROW_BYTES)
                else:
                    for word in range(width):
                        filters[np.uint64(row), word] |= masks[mask, word]
                continue
            # From here on, what happens seldom: a token that is new, or was never inserted this many times.
            times = base + 1 if index < residue else base
            if n == 0 and length > _KEPT_EXACT:
                slot = np.uint64(keys.size)
                filled[slot] = 0
            elif keys[slot] == 0:
                keys[slot] = full
                counts[0] += 1
            needed = (times + _SHORTS - 1) // _SHORTS
            known = filled[slot]
            if known < needed:
                size = _write_token(codes, begin, length, n, index + 1 if positional else 0, key, message)
                _hash_token(states, message, words, size, known, needed, bit_mask, digest, positions[slot])
                filled[slot] = needed
            if value_slot != 0:
                _set_bits(positions, slot, times, value_masks, 0)
            else:
                _set_bits(positions, slot, times, filters, row)
            if used_kind == 0 or slot == keys.size or counts[2] == masks.shape[0] - 1:
                continue
            counts[2] += 1
            mask_of[slot, used_kind] = counts[2]
            _set_bits(positions, slot, times, masks, counts[2])
        if value_slot != 0:
            for word in range(VALUE_WORDS):
                values[value_slot, word] = packed[word]
            for word in range(WIDE):
                found = value_masks[0, word]
                value_masks[value_slot, word] = found
                filters[row, word] |= found
        row += 1
    return row

"""The numba kernels of the encoder: n-gram interning, setting bits, OR-ing features, keyed diffusion.

Everything here works on plain arrays and releases the GIL.  What the arrays mean is decided in
:mod:`agency_node.encoding.features` and :mod:`agency_node.encoding.hardening`.

Bit order: bit ``i`` of a filter is bit ``7 - i % 8`` (most significant first) of byte ``i // 8``, which is
the order of ``bitarray.tobytes()`` in clkhash.
"""

from collections.abc import Callable, Sequence
from typing import Final, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from protos.wire.jit import compiled

CODE_BITS = 21
"""Bits that one Unicode code point (or one token position) takes in a packed n-gram key."""

_SPACE = 32
_HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

WIDE: Final = 16
"""Words of the usual filter, 1,024 bits, which :func:`or_wide` is for."""


def _or_wide(
    typing_context: object, out: types.Type, more: types.Type
) -> tuple[Signature, Callable[..., ir.Value]]:
    def generate(
        context: object, builder: ir.IRBuilder, signature: Signature, args: Sequence[ir.Value]
    ) -> ir.Value:
        wide = ir.VectorType(ir.IntType(64), WIDE).as_pointer()
        target, source = (builder.inttoptr(address, wide) for address in args)
        both = builder.or_(builder.load(target, align=8), builder.load(source, align=8))
        builder.store(both, target, align=8)
        return ir.Constant(ir.IntType(64), WIDE)

    return types.int64(types.intp, types.intp), generate


or_wide = cast(Callable[[int, int], int], intrinsic(_or_wide))
"""``out |= more`` for 16 words at each of two addresses, in as few instructions as the processor has; 16."""


@compiled
def intern_ngrams(
    codes: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    first_value: int,
    n: int,
    positional: bool,
    table_keys: NDArray[np.uint64],
    table_ids: NDArray[np.int32],
    known: int,
    new_keys: NDArray[np.uint64],
    token_ids: NDArray[np.int32],
    token_start: int,
) -> tuple[int, int, int]:
    """Turn values into token ids, giving new n-grams the next free ids.

    ``codes`` holds the code points of all values end to end, ``offsets`` (values + 1) where each begins.  The
    open-addressing table (``table_keys``, ``table_ids``; id -1 is a free slot) grows by at most half its
    size; when the next value might not fit, the kernel stops and the caller enlarges the table and resumes.

    A key packs the ``n`` code points, 21 bits each, first one highest; with ``positional`` the 1-based
    position is put above them. Values are padded with ``n - 1`` spaces on both sides, as clkhash does.

    Returns (values finished, ids known afterwards, tokens written).
    """
    mask = np.uint64(table_keys.size - 1)
    limit = table_keys.size // 2
    shift = np.uint64(CODE_BITS)
    gram_mask = (np.uint64(1) << np.uint64(CODE_BITS * n)) - np.uint64(1)
    added = 0
    written = token_start
    value = first_value
    while value < offsets.size - 1:
        begin = offsets[value]
        length = offsets[value + 1] - begin
        if length == 0:
            value += 1
            continue
        tokens = length + n - 1
        if known + tokens > limit or added + tokens > new_keys.size:
            break
        key = np.uint64(0)
        for _ in range(n - 1):
            key = (key << shift) | np.uint64(_SPACE)
        for position in range(tokens):
            code = np.uint64(codes[begin + position]) if position < length else np.uint64(_SPACE)
            key = ((key << shift) | code) & gram_mask
            full = key
            if positional:
                full = key | (np.uint64(position + 1) << np.uint64(CODE_BITS * n))
            mixed = full * _HASH_MULTIPLIER
            slot = (mixed ^ (mixed >> np.uint64(32))) & mask
            while table_ids[slot] >= 0 and table_keys[slot] != full:
                slot = (slot + np.uint64(1)) & mask
            if table_ids[slot] < 0:
                table_keys[slot] = full
                table_ids[slot] = known
                new_keys[added] = full
                known += 1
                added += 1
            token_ids[written] = table_ids[slot]
            written += 1
        value += 1
    return value, known, written


@compiled
def rehash(
    old_keys: NDArray[np.uint64],
    old_ids: NDArray[np.int32],
    table_keys: NDArray[np.uint64],
    table_ids: NDArray[np.int32],
) -> None:
    """Move every entry of the old open-addressing table into a larger, empty one."""
    mask = np.uint64(table_keys.size - 1)
    for old in range(old_keys.size):
        if old_ids[old] < 0:
            continue
        mixed = old_keys[old] * _HASH_MULTIPLIER
        slot = (mixed ^ (mixed >> np.uint64(32))) & mask
        while table_ids[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table_keys[slot] = old_keys[old]
        table_ids[slot] = old_ids[old]


@compiled
def set_token_bits(
    token_ids: NDArray[np.int32],
    token_counts: NDArray[np.int64],
    positions: NDArray[np.uint32],
    per_token: int,
    per_feature: int,
    filters: NDArray[np.uint8],
) -> None:
    """Set the bits of each value's tokens in its row of ``filters`` (values, bytes).

    ``positions`` (tokens, k) lists every token's hash positions in order.  A token is inserted ``per_token``
    times, or, when that is 0, its share of ``per_feature``: the first ``per_feature % tokens`` tokens of a
    value get one more (clkhash's ``BitsPerFeatureStrategy``).
    """
    cursor = 0
    for value in range(token_counts.size):
        count = token_counts[value]
        if count == 0:
            continue
        base = per_token
        residue = 0
        if per_token == 0:
            base = per_feature // count
            residue = per_feature % count
        for index in range(count):
            token = token_ids[cursor]
            cursor += 1
            times = base + 1 if index < residue else base
            for draw in range(times):
                bit = positions[token, draw]
                filters[value, bit >> 3] |= np.uint8(0x80) >> np.uint8(bit & 7)


@compiled
def set_bits(rows: NDArray[np.int64], bits: NDArray[np.uint32], filters: NDArray[np.uint8]) -> None:
    """Set bit ``bits[i]`` in row ``rows[i]`` of ``filters``."""
    for index in range(rows.size):
        bit = bits[index]
        filters[rows[index], bit >> 3] |= np.uint8(0x80) >> np.uint8(bit & 7)


@compiled
def or_rows(table: NDArray[np.uint64], slots: NDArray[np.int32], out: NDArray[np.uint64]) -> None:
    """``out[r] |= table[slots[r]]`` for every row; both are (rows, words)."""
    for row in range(slots.size):
        slot = slots[row]
        for word in range(out.shape[1]):
            out[row, word] |= table[slot, word]


@compiled
def transpose64(block: NDArray[np.uint64]) -> None:
    """Transpose a 64 by 64 bit matrix in place (Hacker's Delight, section 7-3)."""
    width = 32
    mask = np.uint64(0x00000000FFFFFFFF)
    while width != 0:
        shift = np.uint64(width)
        row = 0
        while row < 64:
            swap = ((block[row] >> shift) ^ block[row + width]) & mask
            block[row] ^= swap << shift
            block[row + width] ^= swap
            row = (row + width + 1) & ~width
        width >>= 1
        mask ^= mask << np.uint64(width) if width else np.uint64(0)


@compiled
def diffuse_rows(words: NDArray[np.uint64], taps: NDArray[np.int32], out: NDArray[np.uint64]) -> None:
    """Output bit ``j`` of each row is the XOR of its input bits ``taps[j]``; ``words`` and ``out`` are
    (rows, words).

    ``taps`` (bits, t) is in *word order* (see :func:`agency_node.encoding.hardening.word_order`): index
    ``q`` is bit ``q % 64`` of 64-bit little-endian word ``q // 64``. Rows are worked on 64 at a time,
    bit-sliced: after a transposition one machine word holds one bit of 64 rows, so an XOR serves 64 rows at
    once.
    """
    rows, width = words.shape
    sliced = np.empty(width * 64, dtype=np.uint64)
    result = np.empty(width * 64, dtype=np.uint64)
    for start in range(0, rows, 64):
        size = min(64, rows - start)
        for word in range(width):
            block = sliced[word * 64 : word * 64 + 64]
            for row in range(64):
                block[row] = words[start + row, word] if row < size else np.uint64(0)
            transpose64(block)
        for bit in range(width * 64):
            accumulated = np.uint64(0)
            for tap in range(taps.shape[1]):
                source = taps[bit, tap]
                if source >= 0:
                    accumulated ^= sliced[source]
            result[bit] = accumulated
        for word in range(width):
            block = result[word * 64 : word * 64 + 64]
            transpose64(block)
            for row in range(size):
                out[start + row, word] = block[row]

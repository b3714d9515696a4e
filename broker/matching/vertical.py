"""Vertical counters in vector registers: the innermost loop, written as LLVM vector IR.

A *plane* is one 256-bit vector: one bit for each of the 256 records of a block. A row of a block is a plane
that says which records *miss* (do not have) one bit of the encoding. A vertical counter is a stack of
planes: plane i holds bit i of 256 counters at once, so that adding one row to all counters takes a few
logical instructions.

Sixteen rows are added at a time by a Harley-Seal tree of carry-save adders (Muła, Kurz, Lemire: Faster
population counts using AVX2 instructions, 2018), then comes one ripple of the carry. The adders take rows in
pairs (x, x ^ y), which saves a tenth of the instructions. The counter starts at ``2**planes - 1 - allowed``,
so it overflows in exactly the records that miss more than ``allowed`` bits; the overflow is collected in one
``dropped`` plane, and one test of that plane ends the block early.

numba's own vectoriser would keep the counters in memory; here they stay in registers. The IR says ``<4 x
i64>`` and no processor's name: LLVM lowers it to AVX2, AVX-512 or NEON.

numba's cache on disk notices changes of the module whose function it holds only: after a change here, save
:mod:`broker.matching.kernel` too, and the others that import this one.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

LANES = 256
"""Records in a block."""
LANE_WORDS = LANES // 64
ROWS_PER_STEP = 16
"""Rows added between two tests for an early end."""

Plane: TypeAlias = ir.Value
Pair: TypeAlias = tuple[Plane, Plane]
"""Two planes x and y as (x, x ^ y)."""
CountBlock: TypeAlias = Callable[[int, int, int, int, int, int, int], int]
_I64 = ir.IntType(64)
_I16 = ir.IntType(16)
_PLANE_TYPE = ir.VectorType(_I64, LANE_WORDS)


def _half_add(b: ir.IRBuilder, x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """(sum, carry)"""
    return b.xor(x, y), b.and_(x, y)


def _full_add(b: ir.IRBuilder, x: Plane, y: Plane, z: Plane) -> tuple[Plane, Plane]:
    """(sum, carry)"""
    half = b.xor(x, y)
    # Where x and y differ, z decides. y is used once: a row from memory needs no instruction of its own.
    return b.xor(half, z), b.xor(x, b.and_(half, b.xor(x, z)))


def _add_pair(b: ir.IRBuilder, total: Plane, pair: Pair) -> tuple[Plane, Plane, Plane]:
    """Add x and y, given as (x, x ^ y), to ``total``: (sum, carry, helper); the helper serves
    :func:`_add_pairs`."""
    x, differ = pair
    added = b.xor(total, differ)
    helper = b.or_(differ, b.xor(x, total))
    return added, b.xor(added, helper), helper


def _add_pairs(b: ir.IRBuilder, total: Plane, first: Pair, second: Pair) -> tuple[Plane, Pair]:
    """Add four planes, given as two pairs, to ``total``: (sum, both carries as a pair).

    Eight instructions, where two full adders take ten (Demenkov, Kojevnikov, Kulikov, Yaroslavtsev: New upper
    bounds on the Boolean circuit complexity of symmetric functions, 2010).
    """
    added, carry, helper = _add_pair(b, total, first)
    x, differ = second
    late = b.and_(b.not_(differ), b.xor(x, added))
    return b.xor(added, differ), (carry, b.xor(helper, late))


def _add_rows(
    b: ir.IRBuilder, planes: list[Plane], dropped: Plane, load: Callable[[int], Plane]
) -> tuple[list[Plane], Plane]:
    """Add sixteen rows to the counters; a carry out of the highest plane joins ``dropped``."""
    planes = list(planes)

    def carries(weight: int, first_row: int) -> Pair:
        """Add ``4 << weight`` rows to planes 0..weight; two carries weigh ``2 << weight`` each."""
        if weight < 0:
            x = load(first_row)
            return x, b.xor(x, load(first_row + 1))
        first = carries(weight - 1, first_row)
        second = carries(weight - 1, first_row + (2 << weight))
        planes[weight], pair = _add_pairs(b, planes[weight], first, second)
        return pair

    planes[3], carry, _ = _add_pair(b, planes[3], carries(2, 0))
    for i in range(4, len(planes)):
        planes[i], carry = _half_add(b, planes[i], carry)
    return planes, b.or_(dropped, carry)


def _splat(b: ir.IRBuilder, scalar: ir.Value) -> Plane:
    one = b.insert_element(ir.Constant(_PLANE_TYPE, ir.Undefined), scalar, ir.IntType(32)(0))
    all_first = ir.Constant(ir.VectorType(ir.IntType(32), LANE_WORDS), [0] * LANE_WORDS)
    return b.shuffle_vector(one, one, all_first)


def _bit_planes(b: ir.IRBuilder, number: ir.Value, plane_count: int) -> list[Plane]:
    """The same number in all counters: plane i is all ones where bit i of ``number`` is set."""
    splat = _splat(b, number)
    planes = []
    for i in range(plane_count):
        bit = ir.Constant(_PLANE_TYPE, [1 << i] * LANE_WORDS)
        planes.append(b.sext(b.icmp_signed("==", b.and_(splat, bit), bit), _PLANE_TYPE))
    return planes


def _add_number(b: ir.IRBuilder, planes: list[Plane], dropped: Plane, number: list[Plane]) -> list[Plane]:
    """Add one number to all counters; return the counters and ``dropped``."""
    low, carry = _half_add(b, planes[0], number[0])
    sums = [low]
    for plane, bit in zip(planes[1:], number[1:], strict=True):
        total, carry = _full_add(b, plane, bit, carry)
        sums.append(total)
    return [*sums, b.or_(dropped, carry)]


def _count_block(plane_count: int, b: ir.IRBuilder, args: Sequence[ir.Value]) -> ir.Value:
    block, rows, untested, steps, head, before, after = args
    plane_ptr = _PLANE_TYPE.as_pointer()
    block_words = b.inttoptr(block, _I64.as_pointer())
    row_list = b.inttoptr(rows, _I16.as_pointer())
    planes_before, planes_after = (b.inttoptr(address, plane_ptr) for address in (before, after))
    held = [b.load(b.gep(planes_before, [_I64(i)]), align=8) for i in range(plane_count + 1)]
    initial = _add_number(b, held[:-1], held[-1], _bit_planes(b, head, plane_count))

    entry = b.block
    loop = b.append_basic_block("rows")
    test, more, done = (b.append_basic_block(name) for name in ("test", "more", "done"))
    b.branch(loop)
    b.position_at_end(loop)
    step = b.phi(_I64)
    state = [b.phi(_PLANE_TYPE) for _ in initial]
    first = b.mul(step, _I64(ROWS_PER_STEP))

    def load(i: int) -> Plane:
        offset = b.zext(b.load(b.gep(row_list, [b.add(first, _I64(i))])), _I64)
        return b.load(b.bitcast(b.gep(block_words, [offset]), plane_ptr), align=8)

    planes, dropped = _add_rows(b, state[:-1], state[-1], load)
    following = b.add(step, _I64(1))
    b.cbranch(b.icmp_signed("<", following, untested), loop, test)
    b.position_at_end(test)
    # The test serves this branch alone, and the planes are stored on every way out: then LLVM makes the
    # test one vptest and keeps the loop in registers. Otherwise it moves words to scalars, or sums apart.
    wide = ir.IntType(LANES)
    b.cbranch(b.icmp_unsigned("==", b.bitcast(dropped, wide), wide(-1)), done, more)
    b.position_at_end(more)
    survived = b.neg(following)
    b.cbranch(b.icmp_unsigned("==", following, steps), done, loop)
    step.add_incoming(_I64(0), entry)
    for again in (loop, more):
        step.add_incoming(following, again)
    for phi, start, counted in zip(state, initial, [*planes, dropped], strict=True):
        phi.add_incoming(start, entry)
        for again in (loop, more):
            phi.add_incoming(counted, again)

    b.position_at_end(done)
    taken = b.phi(_I64)
    taken.add_incoming(following, test)
    taken.add_incoming(survived, more)
    for i, plane in enumerate([*planes, dropped]):
        b.store(plane, b.gep(planes_after, [_I64(i)]), align=8)
    return taken


def _make_counter(plane_count: int) -> CountBlock:
    def count_block(
        typing_context: object,
        block: types.Type,
        rows: types.Type,
        untested: types.Type,
        steps: types.Type,
        head: types.Type,
        before: types.Type,
        after: types.Type,
    ) -> tuple[Signature, Callable[..., ir.Value]]:
        """Add ``16 * steps`` rows (at least 16) to the counters of one block.

        ``block``: address of the block's planes; ``rows``: address of uint16 offsets of rows in the block,
        in 64-bit words; ``head``: a number to add to all counters first; ``before``: address of
        ``plane_count + 1`` planes, the counters and ``dropped``, to go on from; ``after``: where they are
        left. After ``untested`` steps of 16 rows (at most ``steps``), and after each further one, ends if all
        records are dropped. Returns how many steps it took, negative if records are left. All are int64.
        """
        signature = types.int64(*[types.int64] * 7)

        def generate(
            context: object, builder: ir.IRBuilder, signature: Signature, args: Sequence[ir.Value]
        ) -> ir.Value:
            return _count_block(plane_count, builder, args)

        return signature, generate

    return cast(CountBlock, intrinsic(count_block))


SHORT_PLANES = 8
"""Counters to 255: enough when fewer misses than that are allowed, as with usual thresholds."""
LONG_PLANES = 14
count_block_short = _make_counter(SHORT_PLANES)
count_block_long = _make_counter(LONG_PLANES)


def _word_intrinsic(
    generate: Callable[[ir.IRBuilder, ir.Value], ir.Value],
) -> Callable[[np.uint64], int]:
    def instruction(typing_context: object, word: types.Type) -> tuple[Signature, Callable[..., ir.Value]]:
        return types.int64(types.uint64), lambda _context, builder, _signature, args: generate(
            builder, args[0]
        )

    return cast(Callable[[np.uint64], int], intrinsic(instruction))


trailing_zeros = _word_intrinsic(lambda builder, word: builder.cttz(word, ir.IntType(1)(1)))
"""Zero bits below the lowest set bit of a uint64 that is not 0."""
count_ones = _word_intrinsic(lambda builder, word: builder.ctpop(word))
"""Set bits of a uint64."""

"""The compiled scan: the plan of a tile of queries against a span of blocks.

Blocks are the outer loop and queries the inner one, so that a block stays in the first- or second-level
cache while the whole tile visits it. A visit walks the tree of :mod:`broker.matching.plan` and counts misses
(:mod:`broker.matching.vertical`); a node ends as soon as every record of the block has missed too many bits.
For the few records left at a single query, the counters *are* the exact answer: all rows of the query's bits
were added, so overlap = bits of the query - misses, and the score follows with no second look.

Everything here needs numba; :mod:`broker.matching.scan` chooses between this and the NumPy path.
"""

import numpy as np
import numpy.typing as npt

from broker.matching.plan import DEPTH, FEWEST, GROUPS, MOST, NO_QUERY, OFFSET, PAST, QUERY, STEPS
from broker.matching.vertical import (
    LANE_WORDS,
    LANES,
    LONG_PLANES,
    SHORT_PLANES,
    count_block_long,
    count_block_short,
    trailing_zeros,
)
from protos.wire.jit import compiled

_GUESS_UNIT = 8
_DEPTHS = len(GROUPS) + 1


@compiled
def head_starts(
    lane_popcount: npt.NDArray[np.int32],
    lowest: npt.NDArray[np.int32],
    blocks: int,
    stricter: npt.NDArray[np.int32],
) -> npt.NDArray[np.uint64]:
    """What the counters of each block start from, (blocks, planes, 4): by how much stricter than the record
    with the fewest set bits each record is judged.

    :param stricter: see :func:`broker.matching.bounds.stricter_bounds`.
    """
    planes = np.empty((blocks, SHORT_PLANES, LANE_WORDS), np.uint64)
    numbers = np.empty(64, np.uint64)
    for block in range(blocks):
        low = lowest[block]
        for word in range(LANE_WORDS):
            first = block * LANES + word * 64
            for lane in range(64):
                numbers[lane] = stricter[max(0, lane_popcount[first + lane] - low)]
            for i in range(SHORT_PLANES):
                bits = np.uint64(0)
                for lane in range(64):
                    bits |= ((numbers[lane] >> np.uint64(i)) & np.uint64(1)) << np.uint64(lane)
                planes[block, i, word] = bits
    return planes


@compiled
def scan_tile(
    blocks: npt.NDArray[np.uint64],
    gone: npt.NDArray[np.uint64],
    starts: npt.NDArray[np.uint64],
    lane_popcount: npt.NDArray[np.int32],
    lane_row: npt.NDArray[np.int64],
    lowest: npt.NDArray[np.int32],
    highest: npt.NDArray[np.int32],
    nodes: npt.NDArray[np.int32],
    rows: npt.NDArray[np.uint16],
    needed: npt.NDArray[np.int32],
    stricter: npt.NDArray[np.int32],
    spare: int,
    position: npt.NDArray[np.int64],
    end_block: int,
    found_query: npt.NDArray[np.int32],
    found_row: npt.NDArray[np.int64],
    found_overlap: npt.NDArray[np.int32],
    found_sum: npt.NDArray[np.int32],
) -> int:
    """Scan from block ``position[0]`` to ``end_block``; return the number of pairs written to ``found_*``.

    Returns early, with ``position`` at the next block, when ``found_*`` have less room than a block may need.

    :param starts: of :func:`head_starts`.
    :param nodes: with ``rows``, the :class:`broker.matching.plan.Plan`.
    :param stricter: as for ``starts``.
    :param spare: pairs that a block may yield.
    :param needed: least overlap that reaches the threshold, by the sum of both popcounts (2 l + 1 entries).
    """
    n = 0
    room = found_query.shape[0] - spare
    state = np.empty((_DEPTHS + 1, LONG_PLANES + 1, LANE_WORDS), np.uint64)
    state_bytes = (LONG_PLANES + 1) * LANE_WORDS * 8
    state_address = state.ctypes.data
    begun = np.zeros(_DEPTHS + 1, np.int64)
    guesses = np.full(_DEPTHS, _GUESS_UNIT)
    blocks_address = blocks.ctypes.data
    block_bytes = blocks.shape[1] * LANE_WORDS * 8
    rows_address = rows.ctypes.data
    fewest_of_all, most_of_all = nodes[0, FEWEST], nodes[0, MOST]
    for node in range(1, nodes.shape[0]):
        fewest_of_all = min(fewest_of_all, nodes[node, FEWEST])
        most_of_all = max(most_of_all, nodes[node, MOST])
    for block in range(position[0], end_block):
        if n > room:
            position[0] = block
            return n
        low = lowest[block]
        high = highest[block]
        allowed = most_of_all - needed[most_of_all + low]
        if allowed < 0 or needed[fewest_of_all + high] > high:
            continue
        short = allowed < (1 << SHORT_PLANES)
        planes = SHORT_PLANES if short else LONG_PLANES
        full = (1 << planes) - 1
        for word in range(LANE_WORDS):
            for i in range(planes):
                state[0, i, word] = starts[block, i, word] if i < SHORT_PLANES else np.uint64(0)
            state[0, planes, word] = gone[block, word]
        address = blocks_address + block * block_bytes
        node = 0
        while node < nodes.shape[0]:
            a = nodes[node, MOST]
            allowed = a - needed[a + low]
            # Even full overlap with the block's sparsest, or densest, records would not do.
            if allowed < 0 or needed[nodes[node, FEWEST] + high] > high:
                node = nodes[node, PAST]
                continue
            depth = nodes[node, DEPTH]
            steps = nodes[node, STEPS]
            begin = full - allowed
            begun[depth + 1] = begin
            more = begin - begun[depth]
            before = state_address + depth * state_bytes
            after = before + state_bytes
            listed = rows_address + 2 * nodes[node, OFFSET]
            # Where visits end is hard to predict, and a wrong prediction costs as much as two steps. So the
            # first test comes where about four visits in five have ended already: one test, well predicted.
            guess = guesses[depth]
            untested = min(guess // _GUESS_UNIT, steps)
            if short:
                taken = count_block_short(address, listed, untested, steps, more, before, after)
            else:
                taken = count_block_long(address, listed, untested, steps, more, before, after)
            late = abs(taken) == untested
            guesses[depth] = max(_GUESS_UNIT, guess - 1) if late else guess + _GUESS_UNIT // 2
            if taken > 0:
                node = nodes[node, PAST]
                continue
            query = nodes[node, QUERY]
            if query != NO_QUERY:
                for word in range(LANE_WORDS):
                    alive = ~state[depth + 1, planes, word]
                    while alive:
                        bit = trailing_zeros(alive)
                        alive &= alive - np.uint64(1)
                        lane = block * LANES + word * 64 + bit
                        misses = -begin - stricter[max(0, lane_popcount[lane] - low)]
                        for i in range(planes):
                            counted = (state[depth + 1, i, word] >> np.uint64(bit)) & np.uint64(1)
                            misses += np.int64(counted) << i
                        overlap = a - misses
                        both = a + lane_popcount[lane]
                        if overlap >= needed[both]:
                            found_query[n] = query
                            found_row[n] = lane_row[lane]
                            found_overlap[n] = overlap
                            found_sum[n] = both
                            n += 1
            node += 1
    position[0] = end_block
    return n

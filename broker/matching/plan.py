"""What the queries of a tile have in common, and in which order to count it.

Like queries share set bits, so they share rows, and what has been counted for all of them need not be
counted for each. A *plan* is a tree over the queries of a tile, in their order: below the tile are groups
of 64, of 16, of 4, of 2, and single queries. Each node lists the rows that all its queries have, less
those that the nodes above it listed. A scan walks the tree for each block; a node goes on counting from the
counters that its parent left, and where it finds every record of the block dropped, all that is below it is
done.

Nodes are listed parents first. A group's rows are cut to whole sixteens, and what is left over goes to the
nodes below; a group with fewer is no node at all.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from broker.matching.turning import rank_words
from broker.matching.vertical import LANE_WORDS, ROWS_PER_STEP, count_ones, trailing_zeros
from protos.wire.jit import compiled

GROUPS = (256, 64, 16, 4, 2)
"""Queries of a node, by level; a tile has as many as the first says."""
NO_QUERY = -1


DEPTH, OFFSET, STEPS, PAST, FEWEST, MOST, QUERY = range(7)
"""Columns of a node: how many nodes are above it; where in the list of rows its rows start, and how many
sixteens they are; the next node that is not below it; least and greatest number of set bits of its queries;
its query within the tile, or ``NO_QUERY`` for a group."""
_COLUMNS = 8


class Plan(NamedTuple):
    """``nodes`` (n, 8) int32, and the ``rows`` of all of them, as offsets in a block in words."""

    nodes: npt.NDArray[np.int32]
    rows: npt.NDArray[np.uint16]


@compiled
def _list_rows(bits: npt.NDArray[np.uint64], most: int, rows: npt.NDArray[np.uint16], at: int) -> int:
    """List up to ``most`` rows of the set ``bits`` from ``rows[at]``, clear them there, return the end."""
    end = at + most
    for word in range(bits.shape[0]):
        left = bits[word]
        while left and at < end:
            rows[at] = (64 * word + trailing_zeros(left)) * LANE_WORDS
            left &= left - np.uint64(1)
            at += 1
        bits[word] = left
    return at


@compiled
def _fill(
    words: npt.NDArray[np.uint64],
    popcount: npt.NDArray[np.int32],
    bits: int,
    nodes: npt.NDArray[np.int32],
    rows: npt.NDArray[np.uint16],
) -> int:
    """Write the nodes and their rows; return how many nodes there are."""
    queries, width = words.shape
    count = at = 0
    listed = np.zeros((len(GROUPS), width), np.uint64)  # by level: rows listed there and above
    depths = np.zeros(len(GROUPS), np.int64)  # by level: depth of a node below it
    last = np.empty(len(GROUPS), np.int64)  # by level: the node that the query belongs to
    common = np.empty(width, np.uint64)
    for q in range(queries):
        for level in range(len(GROUPS)):
            if q % GROUPS[level] == 0:
                if q and last[level] >= 0:
                    nodes[last[level], PAST] = count
                last[level] = -1
        for level in range(len(GROUPS)):
            if q % GROUPS[level]:
                continue
            end = min(q + GROUPS[level], queries)
            depths[level] = depths[level - 1] if level else 0
            shared = 0
            for word in range(width):
                listed[level, word] = listed[level - 1, word] if level else np.uint64(0)
                left = ~listed[level, word]
                for other in range(q, end):
                    left &= words[other, word]
                common[word] = left
                shared += count_ones(left)
            if end - q == 1 or shared < ROWS_PER_STEP:
                continue
            for word in range(width):
                listed[level, word] |= common[word]
            nodes[count, DEPTH], nodes[count, OFFSET] = depths[level], at
            nodes[count, STEPS] = shared // ROWS_PER_STEP
            at = _list_rows(common, nodes[count, STEPS] * ROWS_PER_STEP, rows, at)
            for word in range(width):
                listed[level, word] &= ~common[word]  # left over
            fewest = most = popcount[q]
            for other in range(q + 1, end):
                fewest = min(fewest, popcount[other])
                most = max(most, popcount[other])
            nodes[count, FEWEST], nodes[count, MOST] = fewest, most
            nodes[count, QUERY] = NO_QUERY
            last[level] = count
            depths[level] += 1
            count += 1
        for word in range(width):
            common[word] = words[q, word] & ~listed[-1, word]
        end = _list_rows(common, bits, rows, at)
        steps = max(1, -(-(end - at) // ROWS_PER_STEP))
        for i in range(end, at + steps * ROWS_PER_STEP):
            rows[i] = bits * LANE_WORDS  # the row of no misses
        nodes[count, DEPTH], nodes[count, OFFSET], nodes[count, STEPS] = depths[-1], at, steps
        nodes[count, FEWEST] = nodes[count, MOST] = popcount[q]
        nodes[count, QUERY] = q
        at += steps * ROWS_PER_STEP
        count += 1
        nodes[count - 1, PAST] = count
    for level in range(len(GROUPS)):
        if last[level] >= 0:
            nodes[last[level], PAST] = count
    return count


def make_plan(
    packed: npt.NDArray[np.uint8], popcount: npt.NDArray[np.int32], rank: npt.NDArray[np.uint16]
) -> Plan:
    """The plan of a tile of queries, (q, bits / 8) uint8.

    :param rank: the row of each bit: the inverse of the order of bits.
    """
    bits, queries = len(rank), len(packed)
    most = queries + sum(-(-queries // size) for size in GROUPS)
    nodes = np.empty((most, _COLUMNS), np.int32)
    rows = np.empty(most * (bits // ROWS_PER_STEP + 1) * ROWS_PER_STEP, np.uint16)
    words = np.empty((queries, -(-bits // 64)), np.uint64)
    rank_words(packed, rank, words)
    count = _fill(words, popcount, bits, nodes, rows)
    return Plan(nodes[:count], rows)

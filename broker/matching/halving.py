"""Putting like encodings side by side.

Encodings of people of one sex, of one month of birth or with one name share many bits. A scan gains twice
when like is next to like: records of one block drop out together, and queries of one group share rows
(:mod:`broker.matching.plan`). Any order gives the same results; this one gives them sooner.

All encodings are split in two halves, each half in two again, and so on. A split needs a direction, in which
the encodings differ most. Two encodings of a sample that lie far apart give a first one: a bit that only one
of them has votes for its half. For large parts the direction is refined as in two-means clustering: the
sample is split by it, and the bits vote whose frequency differs between the halves.
"""

import numpy as np
import numpy.typing as npt

from broker.matching.vertical import count_ones
from protos.wire.jit import compiled

_TILE = 256
"""Parts end at multiples of this, as do blocks of records and tiles of queries."""
_SAMPLE = 64
_SMALL_SAMPLE = 24
_REFINEMENTS = 3

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


@compiled
def _left_size(size: int) -> int:
    if size > _TILE:
        return -(-size // _TILE) // 2 * _TILE
    left = 1
    while 2 * left < size:
        left *= 2
    return left


@compiled
def _count_votes(
    words: Words, rows: Ints, first: int, end: int, ayes: Words, noes: Words, votes: Ints
) -> None:
    """``votes[i]``: bits that row ``rows[i]`` shares with ``ayes``, less those it shares with ``noes``."""
    for i in range(first, end):
        row = rows[i]
        total = 0
        for j in range(words.shape[1]):
            total += count_ones(words[row, j] & ayes[j]) - count_ones(words[row, j] & noes[j])
        votes[i] = total


@compiled
def _two_far_apart(words: Words, sample: Ints, size: int, ayes: Words, noes: Words) -> None:
    """What only one of two encodings of the sample has, and what only the other has."""
    one = other = sample[0]
    for _ in range(2):
        one, other = other, one
        most = -1
        for i in range(size):
            distance = 0
            for j in range(words.shape[1]):
                distance += count_ones(words[other, j] ^ words[sample[i], j])
            if distance > most:
                most, one = distance, sample[i]
    for j in range(words.shape[1]):
        ayes[j] = words[one, j] & ~words[other, j]
        noes[j] = words[other, j] & ~words[one, j]


@compiled
def _refine(words: Words, sample: Ints, size: int, ayes: Words, noes: Words, votes: Ints) -> None:
    """Let the bits vote whose frequency in the two halves of the sample differs by more than a quarter."""
    _count_votes(words, sample, 0, size, ayes, noes, votes)
    total = 0
    for i in range(size):
        total += votes[i]
    upper = 0
    for i in range(size):
        upper += votes[i] * size >= total
    lower = size - upper
    difference = np.empty(64, np.int64)
    for j in range(words.shape[1]):
        for bit in range(64):
            difference[bit] = 0
        for i in range(size):
            weight = lower if votes[i] * size >= total else -upper
            word = words[sample[i], j]
            for bit in range(64):
                difference[bit] += weight * np.int64((word >> np.uint64(bit)) & np.uint64(1))
        aye = no = np.uint64(0)
        for bit in range(64):
            aye |= np.uint64(4 * difference[bit] > upper * lower) << np.uint64(bit)
            no |= np.uint64(-4 * difference[bit] > upper * lower) << np.uint64(bit)
        ayes[j], noes[j] = aye, no


@compiled
def _sort_part(order: Ints, first: int, end: int, votes: Ints, counts: Ints, copy: Ints) -> None:
    """Sort ``order[first:end]`` by ``votes[first:end]``, small whole numbers, by counting them."""
    least = most = votes[first]
    for i in range(first, end):
        least = min(least, votes[i])
        most = max(most, votes[i])
    for value in range(most - least + 2):
        counts[value] = 0
    for i in range(first, end):
        counts[votes[i] - least + 1] += 1
    for value in range(most - least):
        counts[value + 1] += counts[value]
    for i in range(first, end):
        value = votes[i] - least
        copy[first + counts[value]] = order[i]
        counts[value] += 1
    for i in range(first, end):
        order[i] = copy[i]


@compiled
def sort_by_likeness(words: Words, smallest: int, order: Ints) -> None:
    """Reorder ``order``, row numbers of ``words`` (n, words), until parts have at most ``smallest`` rows."""
    width = words.shape[1]
    votes, copy = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    counts = np.empty(128 * width + 2, np.int64)
    ayes, noes = np.empty(width, np.uint64), np.empty(width, np.uint64)
    sample, sample_votes = np.empty(_SAMPLE, np.int64), np.empty(_SAMPLE, np.int64)
    waiting = np.empty((128, 2), np.int64)  # parts; each split leaves one more, and halves the size
    waiting[0, 0], waiting[0, 1] = 0, len(order)
    parts = 1
    while parts:
        parts -= 1
        first, end = waiting[parts, 0], waiting[parts, 1]
        size = end - first
        if size <= smallest:
            continue
        drawn = min(size, _SAMPLE if size > _TILE else _SMALL_SAMPLE)
        for i in range(drawn):
            sample[i] = order[first + i * size // drawn]
        _two_far_apart(words, sample, drawn, ayes, noes)
        if size > _TILE:
            for _ in range(_REFINEMENTS):
                _refine(words, sample, drawn, ayes, noes, sample_votes)
        _count_votes(words, order, first, end, ayes, noes, votes)
        _sort_part(order, first, end, votes, counts, copy)
        middle = first + _left_size(size)
        waiting[parts, 0], waiting[parts, 1] = middle, end
        waiting[parts + 1, 0], waiting[parts + 1, 1] = first, middle
        parts += 2

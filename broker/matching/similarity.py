"""anonlink's similarity-function contract on the bit-sliced index."""

from array import array
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from bitarray import bitarray

from broker.matching.index import BitslicedIndex
from broker.matching.scan import Matches
from broker.matching.transpose import Packed, popcounts

Record: TypeAlias = bitarray | bytes | bytearray | memoryview
Similarities: TypeAlias = tuple["array[float]", tuple["array[int]", "array[int]"]]


def dice_bitsliced(
    datasets: Sequence[Sequence[Record]],
    threshold: float,
    k: int | None = None,
    *,
    threads: int | None = None,
) -> Similarities:
    """A drop-in for ``anonlink.similarities.dice_coefficient_accelerated``: the same pairs, order and
    scores, sooner.

    :param datasets: two sequences of encodings of one length, a multiple of 8 bits.
    :param threshold: least Dice score of a pair.
    :param k: pairs to keep for each record of the first dataset: the highest scores, then the lowest record
        numbers of the second dataset. ``None`` keeps all.
    :param threads: how many threads to use; ``None`` for one a core.
    :return: scores (``array('d')``) and two arrays of record numbers (``array('I')``), sorted by falling
        score, then by record number of the first and of the second dataset.
    :raises ValueError: fewer than two datasets, lengths that differ, or a negative ``k``.
    :raises NotImplementedError: more than two datasets, or a length that is no multiple of 8 bits.
    :raises TypeError: records of another type.
    """
    if len(datasets) < 2:
        raise ValueError(f"not enough datasets (expected 2, got {len(datasets)})")
    if len(datasets) > 2:
        raise NotImplementedError(f"too many datasets (expected 2, got {len(datasets)})")
    first, second = (_bitarrays(dataset) for dataset in datasets)
    if not first or not second:
        return _as_arrays(Matches.concatenate([]))
    keep = len(second) if k is None else min(int(k), len(second))
    if keep < 0:
        raise ValueError(f"k must not be negative (got {k})")
    bits = _common_length(first, second)
    threshold = float(threshold)
    left, right = _packed(first, bits), _packed(second, bits)
    if bits == 0 or np.isnan(threshold):
        matches = _without_bits(left, len(second), threshold)
    else:
        matches = BitslicedIndex.build(right).query(left, threshold, max_pairs=None, threads=threads)
        matches = _as_anonlink_bounds(matches, popcounts(left), popcounts(right), threshold)
    return _as_arrays(_best(matches, keep))


def _bitarrays(dataset: Sequence[Record]) -> Sequence[bitarray]:
    if all(issubclass(kind, bitarray) for kind in set(map(type, dataset))):
        return dataset  # type: ignore[return-value]  # the line above is the check
    return tuple(_bitarray(record) for record in dataset)


def _bitarray(record: Record) -> bitarray:
    if isinstance(record, bitarray):
        return record
    try:
        data = bytes(record)
    except TypeError:
        raise TypeError("unsupported record type") from None
    bits = bitarray()
    bits.frombytes(data)
    return bits


def _common_length(first: Sequence[bitarray], second: Sequence[bitarray]) -> int:
    bits = len(first[0])
    if {*map(len, first), *map(len, second)} != {bits}:
        raise ValueError("inconsistent filter length")
    if bits % 8:
        raise NotImplementedError(
            "only filters whose length in bits is a multiple of 8 are currently supported "
            f"(got filter with length {bits})"
        )
    return bits


def _packed(dataset: Sequence[bitarray], bits: int) -> Packed:
    joined = b"".join([record.tobytes() for record in dataset])
    return np.frombuffer(joined, np.uint8).reshape(len(dataset), bits // 8)


def _without_bits(left: Packed, right: int, threshold: float) -> Matches:
    """What anonlink does with encodings of no bits, or a threshold that is not a number: only empty records
    of the first dataset pair, each with everything, at score 0."""
    empty = np.flatnonzero(~left.any(axis=1)) if not threshold > 0 else np.empty(0, np.int64)
    rows = np.repeat(empty, right).astype(np.int64)
    return Matches(rows, np.tile(np.arange(right, dtype=np.int64), len(empty)), np.zeros(len(rows)))


def _as_anonlink_bounds(
    matches: Matches, left: npt.NDArray[np.int32], right: npt.NDArray[np.int32], threshold: float
) -> Matches:
    """Drop the few pairs that anonlink's own bound on the difference of popcounts drops through rounding.

    Its bound is ``2 a (1 / t - 1)`` in double precision, cut to an unsigned 32-bit number. The product can
    round to just below a whole number that the score still reaches, and it wraps around for thresholds near
    0.
    """
    if not threshold > 0 or not len(matches):
        return matches
    counts = left[matches.query_row].astype(np.int64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        bound = 2.0 * counts * (np.float64(1.0) / np.float64(threshold) - 1.0)
    fits = np.abs(bound) < 2.0**63
    largest = np.where(fits, bound, 0.0).astype(np.int64) & 0xFFFF_FFFF
    kept = np.abs(counts - right[matches.record_row]) <= largest
    return Matches(matches.query_row[kept], matches.record_row[kept], matches.score[kept])


def _best(matches: Matches, keep: int) -> Matches:
    """The first ``keep`` pairs of each query by falling score, then all by falling score; ties stay in row
    order."""
    query, score = matches.query_row, matches.score
    if not len(query) or keep >= np.bincount(query).max():
        by_score = np.argsort(-score, kind="stable")
        return Matches(query[by_score], matches.record_row[by_score], score[by_score])
    order = np.lexsort((-score, query))
    position = np.arange(len(order)) - np.searchsorted(query, query[order])
    kept = np.sort(order[position < keep])
    by_score = kept[np.argsort(-score[kept], kind="stable")]
    return Matches(query[by_score], matches.record_row[by_score], score[by_score])


def _as_arrays(matches: Matches) -> Similarities:
    scores, left, right = array("d"), array("I"), array("I")
    scores.frombytes(matches.score.tobytes())
    left.frombytes(matches.query_row.astype(np.uint32).tobytes())
    right.frombytes(matches.record_row.astype(np.uint32).tobytes())
    return scores, (left, right)

"""A2, graph matching: a public list is laid over the encodings by the shape of their similarities alone.

The attacker (somebody with access to the broker's encodings) has no key and knows nobody. People who
resemble each other in the list resemble each other in the encodings: so the attacker encodes a public list
under a key of their own, draws both similarity graphs, and looks for the nodes that stand in the same place.

Sources: Vidanage, Christen, Ranbaduge, Schnell, 'A Graph Matching Attack on Privacy-Preserving Record
Linkage', CIKM 2020; Schaefer, Armknecht, Heng, 'R+R: Revisiting Graph Matching Attacks on Privacy-Preserving
Record Linkage', ACSAC 2024. As there: node features from the similarity graph, a bipartite assignment, then
refinement from the surest pairs. Features here are each node's sorted highest similarities, quantiles,
popcount, and their means over its neighbours; seeds are the pairs that choose each other by the widest
margin; every round describes all nodes by their similarity to the seeds and takes 1.35 times as many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tallystick.privacy.encodings import Bits, dice_matrix
from tallystick.privacy.proportion import Proportion

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
FEW_RECORDS = 5_000
"""With fewer records a low success says less: published attacks grow with the size of the file."""

_TOP = 40
_QUANTILES = np.linspace(0.02, 0.98, 25)
_NEIGHBOURS = 10
_ROUNDS = 12
_GROWTH = 1.35
_FIRST_SEEDS = 0.05
_MOST_SEEDS = 1_500
_BLOCK = 512
_MOST_ASSIGNED = 1_500


@dataclass(frozen=True, slots=True)
class GraphResult:
    """How many of the people who are in both were found, and by chance how many would be.

    :param overlap: per cent of the encoded people who are on the list too.
    """

    overlap: int
    records: int
    listed: int
    found: Proportion


def graph_matching_attack(encoded: Bits, listed: Bits, truth: Ints, overlap: int) -> GraphResult:
    """Match ``encoded`` (n, l) with the attacker's own encodings ``listed`` (m, l) of a public list.

    :param truth: (n,) position on the list of each encoded person, -1 for people who are not on it.
    """
    left, right = _Graph(encoded), _Graph(listed)
    scores = left.features() @ right.features().T
    seeds = _FIRST_SEEDS * len(encoded)
    for _ in range(_ROUNDS):
        ones, others = _surest(scores, max(8, min(_MOST_SEEDS, round(seeds))))
        scores = _unit(left.towards(ones)) @ _unit(right.towards(others)).T
        seeds *= _GROWTH
    guess = _assign(scores)
    there = truth >= 0
    hits = int(np.count_nonzero(guess[there] == truth[there]))
    return GraphResult(overlap, len(encoded), len(listed), Proportion(hits, int(there.sum())))


class _Graph:
    """Similarities within one file, standardised, nobody being their own neighbour."""

    def __init__(self, bits: Bits) -> None:
        similar = dice_matrix(bits, bits)
        np.fill_diagonal(similar, np.nan)
        mean, spread = np.nanmean(similar), np.nanstd(similar)
        similar -= mean
        similar /= max(float(spread), 1e-9)
        np.fill_diagonal(similar, 0)
        self._similar: Floats = similar
        self._weight: Floats = bits.sum(axis=1, dtype=np.float32)

    def features(self) -> Floats:
        """(n, features), columns standardised, rows of unit length: comparable between files and keys."""
        count = len(self._similar)
        top = min(_TOP, count - 1)
        own = np.empty((count, top + len(_QUANTILES) + 1), np.float32)
        near = np.empty((count, min(_NEIGHBOURS, count - 1)), np.int64)
        places = np.round(_QUANTILES * (count - 1)).astype(np.int64)
        for start in range(0, count, _BLOCK):
            part = self._similar[start : start + _BLOCK]
            rows = slice(start, start + len(part))
            order = np.sort(part, axis=1)
            own[rows, :top] = order[:, ::-1][:, :top]
            own[rows, top:-1] = order[:, places]
            near[rows] = np.argpartition(part, -near.shape[1], axis=1)[:, -near.shape[1] :]
        own[:, -1] = self._weight
        own = _standard(own)
        around = own[near].mean(axis=1)
        return _unit(np.concatenate([own, _standard(around)], axis=1))

    def towards(self, seeds: Ints) -> Floats:
        """(n, seeds), each column standardised: how near every node is to each seed."""
        return _standard(self._similar[:, seeds])


def _surest(scores: Floats, wanted: int) -> tuple[Ints, Ints]:
    """Pairs that choose each other, those with the widest margin over the second choice first."""
    best = scores.argmax(axis=1)
    back = scores.argmax(axis=0)
    rows = np.flatnonzero(back[best] == np.arange(len(scores)))
    two = np.partition(scores[rows], -2, axis=1)[:, -2:]
    surest = rows[np.argsort(two[:, 0] - two[:, 1], kind="stable")[:wanted]]
    return surest, best[surest]


def _assign(scores: Floats) -> Ints:
    """(n,) the list entry of each node: the best assignment in small files, the best entry in large ones."""
    if len(scores) > _MOST_ASSIGNED:
        return scores.argmax(axis=1)
    rows, columns = linear_sum_assignment(-scores)
    guess = np.full(len(scores), -1, np.int64)
    guess[rows] = columns
    return guess


def _standard(rows: Floats) -> Floats:
    spread: Floats = rows.std(axis=0)
    centred: Floats = rows - rows.mean(axis=0)
    return centred / np.maximum(spread, np.float32(1e-6))


def _unit(rows: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, np.float32(1e-9))

"""A2, graph matching: a public list is laid over the encodings by the shape of their similarities alone.

The attacker (somebody with access to the broker's encodings) has no key and knows nobody. People who
resemble each other in the list resemble each other in the encodings: so the attacker encodes a public list
under a key of their own, draws both similarity graphs, and looks for the nodes that stand in the same place.

Sources: Vidanage, Christen, Ranbaduge, Schnell, 'A Graph Matching Attack on Privacy-Preserving Record
Linkage', CIKM 2020; Schaefer, Armknecht, Heng, 'R+R: Revisiting Graph Matching Attacks on Privacy-Preserving
Record Linkage', ACSAC 2024. As there: node features from the similarity graph, a matching of nodes, then
refinement from the surest pairs. Features here are the tail of each node's similarities (quantiles, which
hardly move when a part of the people is missing), its popcount, and their means over its surroundings,
several steps out. The seeds are the pairs that choose each other by the widest margin, after correcting for
nodes that are near to everybody (cross-domain similarity local scaling: Lample et al., ICLR 2018); every
round describes all nodes by their similarity to the seeds and takes 1.35 times as many. Several starts are
made, and the one with the most pairs that choose each other is kept: an attacker can see that too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from crypto.canonical import JsonValue
from tallystick.privacy.encodings import Bits, dice_matrix
from tallystick.privacy.proportion import Proportion

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
FEW_RECORDS = 5_000
"""With fewer records a low success says less: published attacks grow with the size of the file."""

_QUANTILES = np.concatenate([np.linspace(0.02, 0.5, 15), 1 - np.geomspace(0.5, 0.001, 30)])
_STARTS = (0.5, 1.0)
"""How sharply a node's surroundings are weighted by similarity."""
_STEPS = 3
_HUB = 10
_ROUNDS = 14
_GROWTH = 1.35
_FIRST_SEEDS = 0.05
_MOST_SEEDS = 1_500
_BLOCK = 512
_MOST_ASSIGNED = 1_500


@dataclass(frozen=True, slots=True)
class GraphResult:
    """How many of the people who are both encoded and listed were found.

    :param overlap: per cent of the encoded people who are on the list too.
    """

    overlap: int
    records: int
    listed: int
    found: Proportion

    @property
    def few(self) -> bool:
        """Whether the file is too small for a low success to mean much."""
        return self.records < FEW_RECORDS

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {
            "overlap": self.overlap,
            "records": self.records,
            "listed": self.listed,
            "found": self.found.to_json(),
        }


def graph_matching_attack(encoded: Bits, listed: Bits, truth: Ints, overlap: int) -> GraphResult:
    """Match ``encoded`` (n, l) with the attacker's own encodings ``listed`` (m, l) of a public list.

    Memory: about five n x m single-precision matrices.

    :param truth: (n,) position on the list of each encoded person, -1 for people who are not on it.
    """
    left, right = _Graph(encoded), _Graph(listed)
    attempts = (_refined(left, right, sharpness) for sharpness in _STARTS)
    _, guess = max(attempts, key=lambda attempt: attempt[0])
    there = truth >= 0
    hits = int(np.count_nonzero(guess[there] == truth[there]))
    return GraphResult(overlap, len(encoded), len(listed), Proportion(hits, int(there.sum())))


def _refined(left: _Graph, right: _Graph, sharpness: float) -> tuple[int, Ints]:
    """How many pairs choose each other in the end, and the list entry of each node."""
    scores = left.features(sharpness) @ right.features(sharpness).T
    seeds = _FIRST_SEEDS * len(left)
    for _ in range(_ROUNDS):
        ones, others, _ = _surest(scores, max(8, min(_MOST_SEEDS, round(seeds))))
        scores = _unit(left.towards(ones)) @ _unit(right.towards(others)).T
        seeds *= _GROWTH
    mutual = _surest(scores, 1)[2]
    return mutual, _assign(scores)


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

    def __len__(self) -> int:
        return len(self._similar)

    def features(self, sharpness: float) -> Floats:
        """(n, features), columns standardised, rows of unit length: comparable between files and keys."""
        count = len(self)
        own = np.empty((count, len(_QUANTILES) + 3), np.float32)
        places = np.round(_QUANTILES * (count - 1)).astype(np.int64)
        near = np.exp(self._similar * np.float32(sharpness))
        np.fill_diagonal(near, 0)
        near /= near.sum(axis=1, keepdims=True)
        for start in range(0, count, _BLOCK):
            part = self._similar[start : start + _BLOCK]
            rows = slice(start, start + len(part))
            own[rows, : len(_QUANTILES)] = np.sort(part, axis=1)[:, places]
            own[rows, -3] = (part**3).mean(axis=1)
            own[rows, -2] = (part**4).mean(axis=1)
        own[:, -1] = self._weight
        described = [_standard(own)]
        for _ in range(_STEPS):
            described.append(_standard(near @ described[-1]))
        return _unit(np.concatenate(described, axis=1))

    def towards(self, seeds: Ints) -> Floats:
        """(n, seeds), each column standardised: how near every node is to each seed."""
        return _standard(self._similar[:, seeds])


def _surest(scores: Floats, wanted: int) -> tuple[Ints, Ints, int]:
    """Pairs that choose each other, those with the widest margin first, and how many do."""
    near = min(_HUB, min(scores.shape))
    hub_left = np.partition(scores, -near, axis=1)[:, -near:].mean(axis=1)
    hub_right = np.partition(scores, -near, axis=0)[-near:].mean(axis=0)
    scaled = 2 * scores - hub_left[:, None] - hub_right[None, :]
    best = scaled.argmax(axis=1)
    back = scaled.argmax(axis=0)
    rows = np.flatnonzero(back[best] == np.arange(len(scores)))
    two = np.partition(scaled[rows], -2, axis=1)[:, -2:]
    surest = rows[np.argsort(two[:, 0] - two[:, 1], kind="stable")[:wanted]]
    return surest, best[surest], len(rows)


def _assign(scores: Floats) -> Ints:
    """(n,) the list entry of each node: the best assignment in small files, the best entry in large ones."""
    if len(scores) > _MOST_ASSIGNED:
        return np.asarray(scores.argmax(axis=1), np.int64)
    rows, columns = linear_sum_assignment(-scores)
    guess = np.full(len(scores), -1, np.int64)
    guess[rows] = columns
    return guess


def _standard(rows: Floats) -> Floats:
    spread: Floats = rows.std(axis=0)
    centred: Floats = rows - rows.mean(axis=0)
    centred /= np.maximum(spread, np.float32(1e-6))
    return centred


def _unit(rows: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), np.float32)

"""A3, known pairs: some encodings whose person the attacker knows, to find out about all the others.

Somebody with access to the broker's encodings learns for a few of them whose they are (a colleague's, a
neighbour's, a subject's own request). From those pairs a model from bits to q-grams is fitted, which is then
applied to every other encoding, and a public list is ranked by how well each entry fits. No key is needed.

Source: the 'dataset extension' attack that Schaefer, Armknecht and Heng put after a graph matching, here as
ridge regression in its dual form. The kernel variant (Gaussian kernel, which on +-1 bits is
exp(-2 Hamming / width)) is the non-linear one: it learns from *similar* known encodings, such as those of the
same household, rather than from single bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.canonical import JsonValue
from tallystick.privacy.encodings import Bits
from tallystick.privacy.grams import Grams
from tallystick.privacy.proportion import Proportion

Floats = NDArray[np.float32]
MOST_TARGETS = 1_500
_STRENGTHS = (0.03, 0.3, 3.0)
_WIDTHS = (0.1, 0.4)
_TOP = 10
_BLOCK = 250


@dataclass(frozen=True, slots=True)
class KnownPairsResult:
    """How often the right entry of the list came first, or among the first ten, by the best variant.

    :param variant: ``linear`` or ``kernel``: which of them it was.
    """

    pairs: int
    knows: str
    variant: str
    candidates: int
    top1: Proportion
    top10: Proportion

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {
            "pairs": self.pairs,
            "knows": self.knows,
            "variant": self.variant,
            "candidates": self.candidates,
            "top1": self.top1.to_json(),
            "top10": self.top10.to_json(),
        }


def known_pairs_attack(
    bits: Bits, grams: Grams, pairs: int, knows: str, rng: np.random.Generator, repeats: int = 1
) -> KnownPairsResult:
    """Attack ``bits`` (n, l) with ``pairs`` known ones; the list is all n people, ``grams`` what it tells.

    The attacker is given the best of several variants and regularisation strengths. People whom the list
    does not tell apart count as one: finding either is a success.

    :param knows: for people: what the list tells.
    """
    found: dict[tuple[str, float, float], list[tuple[int, int, int]]] = {}
    candidates = 0
    for _ in range(repeats):
        order = rng.permutation(len(bits))
        known, others = order[:pairs], order[pairs:]
        board = _Scoreboard(grams, known, others)
        candidates = board.candidates
        targets = others[:MOST_TARGETS]
        for name, kernel, width in _variants(bits):
            square = kernel(known, known)
            across = kernel(targets, known)
            for strength in _STRENGTHS:
                model = np.linalg.solve(
                    square
                    + strength * np.float32(np.trace(square) / pairs) * np.eye(pairs, dtype=np.float32),
                    board.known_grams,
                )
                top1, top10 = board.score(across @ model, targets)
                found.setdefault((name, width, strength), []).append((top1, top10, len(targets)))
    (name, _, _), best = max(
        found.items(), key=lambda item: [sum(part) for part in zip(*item[1], strict=True)]
    )
    return KnownPairsResult(
        pairs=pairs,
        knows=knows,
        variant=name,
        candidates=candidates,
        top1=Proportion(sum(b[0] for b in best), sum(b[2] for b in best)),
        top10=Proportion(sum(b[1] for b in best), sum(b[2] for b in best)),
    )


_Kernel = Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]


def _variants(bits: Bits) -> list[tuple[str, _Kernel, float]]:
    """Name, kernel between rows, width."""
    signs = bits.astype(np.float32) * 2 - 1
    length = np.float32(bits.shape[1])

    def linear(left: NDArray[np.int64], right: NDArray[np.int64]) -> Floats:
        product: Floats = signs[left] @ signs[right].T / length
        return product

    def gaussian(width: float) -> _Kernel:
        def kernel(left: NDArray[np.int64], right: NDArray[np.int64]) -> Floats:
            near: Floats = np.exp((linear(left, right) - 1) / np.float32(width))
            return near

        return kernel

    return [("linear", linear, 0.0), *(("kernel", gaussian(width), width) for width in _WIDTHS)]


class _Scoreboard:
    """Ranks the list for predicted q-grams by weighted cosine."""

    def __init__(self, grams: Grams, known: NDArray[np.int64], others: NDArray[np.int64]) -> None:
        columns = np.flatnonzero(np.asarray(grams.present[known].sum(axis=0)).ravel() >= 2)
        learnt = grams.dense(known, columns)
        self._mean = learnt.mean(axis=0)
        spread = self._mean * (1 - self._mean)
        self._weight: Floats = (1 / np.sqrt(np.maximum(spread, 1e-4))).astype(np.float32)
        self.known_grams = learnt - self._mean
        profiles, first = np.unique(grams.profile[others], return_index=True)
        entries = (grams.dense(others[first], columns) - self._mean) * self._weight
        self._entries = _unit(entries)
        self._place = np.zeros(int(grams.profile.max()) + 1, np.int64)
        self._place[profiles] = np.arange(len(profiles))
        self._profile = grams.profile
        self.candidates = len(profiles)

    def score(self, predicted: Floats, targets: NDArray[np.int64]) -> tuple[int, int]:
        """How many targets have their own entry first, and among the first ten; ties count against."""
        guess = _unit(predicted * self._weight)
        own = self._place[self._profile[targets]]
        top1 = top10 = 0
        for start in range(0, len(targets), _BLOCK):
            part = slice(start, start + _BLOCK)
            fit = guess[part] @ self._entries.T
            mine = np.take_along_axis(fit, own[part, None], axis=1)
            rank = np.count_nonzero(fit >= mine, axis=1)
            top1 += int(np.count_nonzero(rank <= 1))
            top10 += int(np.count_nonzero(rank <= _TOP))
        return top1, top10


def _unit(rows: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), np.float32)

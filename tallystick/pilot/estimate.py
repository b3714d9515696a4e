"""How many links are false at each threshold, estimated without any truth.

For two agencies A and B, solved one-to-one above a low floor, let ``L(t)`` be the links with a score of at
least t. A false link joins a record of A and a record of B that both have no true link above its score. How
often two such strangers reach t is seen in three places that no truth is needed for:

- A's own records with each other, and B's (own neighbours): strangers, unless the file has duplicates. With
  ``u_A`` and ``u_B`` records without a true link, and ``N_A``, ``N_B`` records that find a neighbour which
  likewise has none: ``F = (N_A + N_B + 1) u_A u_B / (u_A^2 + u_B^2)``.
- A's decoys with B's records, and the reverse. With ``D`` of ``n`` decoys that would win a link if each were
  added alone: ``F = (D_A + D_B + 1) / (n_A / u_A + n_B / u_B)``.

The ``+ 1`` is that of target-decoy search (Elias and Gygi 2007; Levitsky et al. 2017): no finite sample shows
a rate of zero. The larger estimate counts. Which links are true is not known either: a link of score s is
taken as true with probability ``1 - f(s)``, where the local rate ``f`` is the estimate's slope made monotone
(isotonic regression), and the two are computed in turn until they agree. Unlike a plain ratio of decoys to
links this neither counts the matched records as strangers nor forgets households.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from tallystick.pilot.neighbours import Likeness

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEP = 0.0025
_ROUNDS = 8
_NEGLIGIBLE = 1e-3
_STRANGERS_PREVAIL = 0.2


@dataclass(frozen=True, slots=True)
class Side:
    """One agency of a pair of agencies.

    :param link_score: ``(records,)`` score of each record's link with the other agency, 0 without one.
    :param own: its records among each other; None where the file may have duplicates.
    :param decoys: its decoys with the other agency's records.
    """

    link_score: Floats = field(repr=False)
    own: Likeness | None
    decoys: Likeness


@dataclass(frozen=True, slots=True)
class Curve:
    """Per threshold of ``grid`` (rising): links at least that strong, and how many of them are estimated
    false. ``evidence`` is the number of strangers' wins that the estimate rests on."""

    grid: Floats
    links: Floats
    false: Floats
    evidence: Floats

    @property
    def rate(self) -> Floats:
        """Estimated false discovery rate, falling with the threshold."""
        rate = np.minimum(1.0, self.false / np.maximum(self.links, 1.0))
        rate[self.links == 0] = 0.0
        return np.asarray(np.minimum.accumulate(rate))

    @property
    def local_rate(self) -> Floats:
        """The part of the links between each threshold and the next that is estimated false, falling."""
        return _local_rate(self.links, self.false)

    @property
    def matches(self) -> float:
        """Estimated number of true links, counted down to where strangers begin to prevail.

        Below that an error of the estimate would be taken for people by the hundred.
        """
        links = -np.diff(self.links, append=0.0)
        counted = self.rate <= _STRANGERS_PREVAIL
        return float(np.sum((links * (1 - self.local_rate))[counted]))

    @property
    def f1(self) -> Floats:
        """Estimated F1 at each threshold."""
        true = np.maximum(0.0, self.links - self.false)
        return np.asarray(2 * true / np.maximum(1.0, self.links + self.matches))


def grid_from(floor: float) -> Floats:
    """The thresholds that are judged: from the floor to 1."""
    return np.asarray(np.arange(np.ceil(floor / STEP), 1 / STEP + 0.5) * STEP)


def estimate(one: Side, other: Side, grid: Floats, *, one_to_one: bool) -> Curve:
    """The curve of a pair of agencies."""
    sides = (one, other)
    links = sum((_at_least(side.link_score, grid) for side in sides), np.zeros(len(grid))) / 2
    local = np.zeros(len(grid))
    false = evidence = np.zeros(len(grid))
    for _ in range(_ROUNDS):
        trust = [_trust(side.link_score, grid, local) for side in sides]
        # no file is known to be matched to the last record: some strangers are assumed at the least
        unlinked = [
            np.maximum(
                1.0 + 0.002 * len(side.link_score), len(side.link_score) - _sums(side.link_score, t, grid)
            )
            for side, t in zip(sides, trust, strict=True)
        ]
        # where several records may be linked, one that has its true link can still gain a false one
        u, v = unlinked if one_to_one else [float(len(side.link_score)) for side in sides]
        wins = (
            _decoy_wins(one, other, trust[1], grid, exclusive=one_to_one),
            _decoy_wins(other, one, trust[0], grid, exclusive=one_to_one),
        )
        false = (wins[0] + wins[1] + 1) / (one.decoys.compared / u + other.decoys.compared / v)
        evidence = wins[0] + wins[1]
        if one.own is not None and other.own is not None:
            own = _own_wins(one, trust[0], grid) + _own_wins(other, trust[1], grid)
            by_own = (own + 1) * u * v / (u * u + v * v)
            evidence = np.where(by_own > false, own, evidence)
            false = np.maximum(false, by_own)
        false = np.minimum(false, links)
        local = _local_rate(links, false)
    # what is between two thresholds is false at the monotone rate
    between = -np.diff(links, append=0.0)
    smooth = np.cumsum((between * local)[::-1])[::-1]
    return Curve(grid, links, np.maximum(false, smooth), evidence)


def total(curves: list[Curve]) -> Curve:
    """All pairs of agencies together."""
    first = curves[0]
    return Curve(
        first.grid,
        np.sum([curve.links for curve in curves], axis=0),
        np.sum([curve.false for curve in curves], axis=0),
        np.sum([curve.evidence for curve in curves], axis=0),
    )


def _at_least(scores: Floats, grid: Floats) -> Floats:
    ordered = np.sort(scores)
    return np.asarray(len(ordered) - np.searchsorted(ordered, grid, side="left"), np.float64)


def _sums(scores: Floats, weights: Floats, grid: Floats) -> Floats:
    """The weights of the scores at or above each threshold, added up."""
    order = np.argsort(scores)
    cumulative = np.concatenate([[0.0], np.cumsum(weights[order])])
    return np.asarray(cumulative[-1] - cumulative[np.searchsorted(scores[order], grid, side="left")])


def _trust(scores: Floats, grid: Floats, local: Floats) -> Floats:
    """Probability that each record's link is true; 0 where it has none."""
    place = np.searchsorted(grid, scores, side="right") - 1
    return np.where(place >= 0, 1 - local[np.maximum(place, 0)], 0.0)


def _free(scores: Floats, trust: Floats, who: Ints, at: Floats) -> Floats:
    """Probability that records have no true link above the scores ``at``."""
    return np.where(scores[who] > at, 1 - trust[who], 1.0)


def _winners(source: Ints, weight: Floats, score: Floats, grid: Floats) -> Floats:
    """Expected number of distinct sources with at least one win at or above each threshold."""
    likely = weight > _NEGLIGIBLE
    source, weight, score = source[likely], weight[likely], score[likely]
    if not len(source):
        return np.zeros(len(grid))
    # a source with wins w1, w2 ... (best first) has one with probability 1 - (1 - w1)(1 - w2) ...
    order = np.lexsort((-score, source))
    source, weight, score = source[order], np.clip(weight[order], 0.0, 1.0), score[order]
    log_none = np.cumsum(np.log1p(-np.minimum(weight, 1 - 1e-9)))
    starts = np.flatnonzero(np.concatenate([[True], source[1:] != source[:-1]]))
    before = np.concatenate([[0.0], log_none])[starts]
    run = np.repeat(before, np.diff(np.append(starts, len(source))))
    none_yet = np.exp(log_none - np.log1p(-np.minimum(weight, 1 - 1e-9)) - run)
    return _sums(score, none_yet * weight, grid)


def _own_wins(side: Side, trust: Floats, grid: Floats) -> Floats:
    own = side.own
    assert own is not None, "asked only where the files have no duplicates"
    weight = _free(side.link_score, trust, own.source, own.score)
    weight = weight * _free(side.link_score, trust, own.target, own.score)
    scale = len(side.link_score) / max(1, own.compared)
    return scale * _winners(own.source, weight, own.score, grid)


def _decoy_wins(side: Side, other: Side, trust: Floats, grid: Floats, *, exclusive: bool) -> Floats:
    decoys = side.decoys
    weight = (
        _free(other.link_score, trust, decoys.target, decoys.score) if exclusive else np.ones(len(decoys))
    )
    return _winners(decoys.source, weight, decoys.score, grid)


def _local_rate(links: Floats, false: Floats) -> Floats:
    between = -np.diff(links, append=0.0)
    wrong = np.clip(-np.diff(false, append=0.0), 0.0, None)
    rate = np.clip(wrong / np.maximum(between, 1e-9), 0.0, 1.0)
    weights = np.maximum(between, 1e-3)
    fitted = isotonic_regression(rate, weights=weights, increasing=False).x
    return np.asarray(np.clip(fitted, 0.0, 1.0))

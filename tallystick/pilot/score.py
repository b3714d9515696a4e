"""Scoring against a truth column: precision, recall and F1, over thresholds and by subgroup, with intervals.

Truth is compared here and nowhere else; nothing that chooses a threshold imports this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tallystick.pilot.choose import Interval
from tallystick.pilot.files import FACTS, PilotParty

Ints = NDArray[np.int64]

_Z: Final = 1.959964
_RESAMPLES: Final = 1_000
_AGES: Final = ((0, 17), (18, 34), (35, 49), (50, 64), (65, 150))
_MOST_ORIGINS: Final = 12


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of links and true pairs, and what follows from them; rates are 0 where nothing was counted."""

    links: int
    correct: int
    true_pairs: int

    @property
    def precision(self) -> float:
        """The part of the links that is right."""
        return self.correct / self.links if self.links else 0.0

    @property
    def recall(self) -> float:
        """The part of the true pairs that was found."""
        return self.correct / self.true_pairs if self.true_pairs else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        both = self.links + self.true_pairs
        return 2 * self.correct / both if both else 0.0

    @property
    def precision_interval(self) -> Interval:
        """Wilson 95 % interval."""
        return wilson(self.correct, self.links)

    @property
    def recall_interval(self) -> Interval:
        """Wilson 95 % interval."""
        return wilson(self.correct, self.true_pairs)

    def f1_interval(self, rng: np.random.Generator) -> Interval:
        """Bootstrap 95 % interval over right, wrong and missed pairs."""
        wrong, missed = self.links - self.correct, self.true_pairs - self.correct
        total = self.correct + wrong + missed
        if not total:
            return Interval(0.0, 0.0)
        drawn = rng.multinomial(total, [self.correct / total, wrong / total, missed / total], size=_RESAMPLES)
        f1 = 2 * drawn[:, 0] / np.maximum(1, 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2])
        low, high = np.percentile(f1, (2.5, 97.5))
        return Interval(float(low), float(high))


@dataclass(frozen=True, slots=True)
class GroupScore:
    """The score of one subgroup, such as ``sex`` = ``F``."""

    kind: str
    name: str
    score: Score


@dataclass(frozen=True, slots=True)
class TruthPairs:
    """Every pair of records of different agencies with the same truth, as positions in all files together."""

    a: Ints = field(repr=False)
    b: Ints = field(repr=False)
    code: Ints = field(repr=False)

    def right(self, a: Ints, b: Ints) -> NDArray[np.bool_]:
        """Which links join records with the same truth."""
        return np.asarray((self.code[a] == self.code[b]) & (self.code[a] >= 0))


def wilson(hits: int, total: int) -> Interval:
    """Wilson score interval for a proportion (Wilson 1927), 95 %."""
    if not total:
        return Interval(0.0, 1.0)
    share, z2 = hits / total, _Z * _Z
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z * sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def truth_pairs(parties: Sequence[PilotParty]) -> TruthPairs:
    """The pairs to be found; a record without truth is in none."""
    texts = np.array([text for party in parties for text in party.facts.truth], np.str_)
    owner = np.repeat(np.arange(len(parties)), [len(party) for party in parties])
    code = np.unique(texts, return_inverse=True)[1].astype(np.int64)
    code[texts == ""] = -1
    order = np.argsort(code, kind="stable")
    order = order[code[order] >= 0]
    ones: list[Ints] = []
    others: list[Ints] = []
    step = 1
    while step < len(order):
        same = code[order[step:]] == code[order[:-step]]
        if not same.any():
            break
        ones.append(order[:-step][same])
        others.append(order[step:][same])
        step += 1
    none = np.empty(0, np.int64)
    a, b = (np.concatenate(ones), np.concatenate(others)) if ones else (none, none)
    cross = owner[a] != owner[b]
    return TruthPairs(a[cross], b[cross], code)


def score_links(truth: TruthPairs, a: Ints, b: Ints) -> Score:
    """Links between positions in all files together."""
    return Score(len(a), int(np.count_nonzero(truth.right(a, b))), len(truth.a))


def score_subgroups(
    truth: TruthPairs, parties: Sequence[PilotParty], a: Ints, b: Ints, year_now: int
) -> list[GroupScore]:
    """Scores by sex, age, missing fields and name origin.

    A pair counts where either record says so: for sex, age and origin the first agency's record, or the
    other's where that is silent.
    """
    right = truth.right(a, b)
    found: list[GroupScore] = []
    for kind, labels in _labels(parties, year_now):
        for name in dict.fromkeys(_ordered(labels)):
            links = _labelled(labels, a, b) == name
            real = _labelled(labels, truth.a, truth.b) == name
            found.append(
                GroupScore(kind, name, Score(int(links.sum()), int((links & right).sum()), int(real.sum())))
            )
    held = np.concatenate([party.facts.held for party in parties])
    common = int(np.bitwise_or.reduce(held)) if len(held) else 0
    lacking_links, lacking_true = ~(held[a] & held[b]) & common, ~(held[truth.a] & held[truth.b]) & common
    counts = [
        np.unpackbits(lacking[:, None], axis=1).sum(axis=1) for lacking in (lacking_links, lacking_true)
    ]
    kinds: list[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]] = [
        (label, counts[0] == n if n < 3 else counts[0] >= n, counts[1] == n if n < 3 else counts[1] >= n)
        for n, label in enumerate(("none", "one", "two", "three or more"))
    ]
    kinds += [
        (f"without {name}", (lacking_links >> bit & 1) > 0, (lacking_true >> bit & 1) > 0)
        for bit, name in enumerate(FACTS)
        if common >> bit & 1
    ]
    for name, links, real in kinds:
        found.append(
            GroupScore(
                "missing fields", name, Score(int(links.sum()), int((links & right).sum()), int(real.sum()))
            )
        )
    return [group for group in found if group.score.links or group.score.true_pairs]


def _labels(parties: Sequence[PilotParty], year_now: int) -> list[tuple[str, NDArray[np.str_]]]:
    sex = np.concatenate([party.facts.sex for party in parties])
    year = np.concatenate([party.facts.year for party in parties]).astype(np.int64)
    age = year_now - year
    bands = np.full(len(year), "", dtype="U12")
    for low, high in _AGES:
        inside = (year > 0) & (age >= low) & (age <= high)
        bands[inside] = f"{low} to {high}" if high < 150 else f"{low} and over"
    labels: list[tuple[str, NDArray[np.str_]]] = [("sex", sex), ("age", bands)]
    if all(party.facts.origin for party in parties):
        origin = np.array([text for party in parties for text in party.facts.origin], np.str_)
        names, counts = np.unique(origin, return_counts=True)
        kept = names[np.argsort(-counts)][:_MOST_ORIGINS]
        labels.append(("name origin", np.where(np.isin(origin, kept) | (origin == ""), origin, "others")))
    return [(kind, values) for kind, values in labels if (values != "").any()]


def _ordered(labels: NDArray[np.str_]) -> list[str]:
    names = [str(name) for name in np.unique(labels) if name]
    return [*names, "unknown"]


def _labelled(labels: NDArray[np.str_], a: Ints, b: Ints) -> NDArray[np.str_]:
    known = np.where(labels[a] != "", labels[a], labels[b])
    return np.asarray(np.where(known == "", "unknown", known))

"""What hardening costs: the same two synthetic agencies linked with and without it.

Every left record's five nearest right records by Dice, taken one to one from the nearest on; the threshold is
the best in hindsight for each, since it moves with the hardening. The pilot measures the real thing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agency_node.encoding import EncodingKeys
from crypto.canonical import JsonValue
from tallystick.privacy.encodings import Target, dice_matrix, encode
from tallystick.privacy.people import Views
from tallystick.privacy.proportion import Proportion, decimal

_NEAREST = 5
_BLOCK = 500


@dataclass(frozen=True, slots=True)
class CostResult:
    """The best that the encoding can do on the two agencies, and at which threshold."""

    hardening: str
    threshold: float
    precision: Proportion
    recall: Proportion

    @property
    def f1(self) -> float:
        """Between 0 and 1."""
        both = self.precision.tries + self.recall.tries
        return 2 * self.recall.hits / both if both else 0.0

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {
            "hardening": self.hardening,
            "threshold": decimal(self.threshold),
            "precision": self.precision.to_json(),
            "recall": self.recall.to_json(),
            "f1": decimal(self.f1),
        }


def linkage_quality(target: Target, views: Views, keys: EncodingKeys) -> CostResult:
    """Link the two views by ``target`` alone and score against their truth numbers."""
    left, right = encode(target, views.left, keys), encode(target, views.right, keys)
    nearest = min(_NEAREST, len(right))
    rows, columns, scores = [], [], []
    for start in range(0, len(left), _BLOCK):
        dice = dice_matrix(left[start : start + _BLOCK], right)
        best = np.argpartition(dice, -nearest, axis=1)[:, -nearest:]
        rows.append(np.repeat(np.arange(start, start + len(dice)), nearest))
        columns.append(best.ravel())
        scores.append(np.take_along_axis(dice, best, axis=1).ravel())
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    pairs = zip(
        np.concatenate(rows)[order].tolist(),
        np.concatenate(columns)[order].tolist(),
        score[order].tolist(),
        strict=True,
    )
    return _best(target, views, list(pairs))


def _best(target: Target, views: Views, pairs: list[tuple[int, int, float]]) -> CostResult:
    there = len(set(views.left_truth) & set(views.right_truth))
    used_left: set[int] = set()
    used_right: set[int] = set()
    made = hits = 0
    best = (0.0, 1.0, 0, 0)
    for left, right, score in pairs:
        if left in used_left or right in used_right:
            continue
        used_left.add(left)
        used_right.add(right)
        made += 1
        hits += views.left_truth[left] == views.right_truth[right]
        f1 = 2 * hits / (made + there)
        if f1 > best[0]:
            best = (f1, score, hits, made)
    _, threshold, hits, made = best
    return CostResult(", ".join(target.kinds), threshold, Proportion(hits, made), Proportion(hits, there))

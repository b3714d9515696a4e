"""The estimate and the choice, on made-up curves and likenesses whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from tallystick.pilot.choose import choose
from tallystick.pilot.errors import UnsupportedDataError
from tallystick.pilot.estimate import Curve, Side, estimate, grid_from
from tallystick.pilot.neighbours import Likeness
from tallystick.pilot.score import wilson

GRID = grid_from(0.5)


def sides(matched: int, strangers: int, rng: np.random.Generator) -> tuple[Side, Side, int]:
    """Two files: true links near 0.8, and each stranger's best stranger near 0.55."""
    true = np.clip(rng.normal(0.8, 0.05, matched), 0.5, 1)
    false = np.clip(rng.normal(0.55, 0.03, strangers), 0, 1)
    false[false < 0.5] = 0
    scores = np.concatenate([true, false])
    count = matched + strangers

    def likeness(size: int) -> Likeness:
        score = np.sort(np.clip(rng.normal(0.55, 0.03, size), 0, 1))[::-1]
        return Likeness(rng.permutation(size), matched + rng.integers(0, strangers, size), score, size)

    made = [Side(scores, None, likeness(count)) for _ in range(2)]
    return made[0], made[1], int(np.count_nonzero(false >= 0.6))


def test_the_estimate_is_near_the_truth() -> None:
    one, other, wrong = sides(3_000, 3_000, np.random.default_rng(1))
    curve = estimate(one, other, GRID, one_to_one=True)
    at = int(np.argmin(np.abs(GRID - 0.6)))
    assert 0.5 * wrong <= curve.false[at] <= 2.5 * wrong
    assert (np.diff(curve.rate) <= 1e-12).all()


def test_the_choice_lies_between_strangers_and_people() -> None:
    one, other, _ = sides(3_000, 3_000, np.random.default_rng(2))
    choice = choose(estimate(one, other, GRID, one_to_one=True), 0.05, np.random.default_rng(0))
    assert 0.58 < choice.threshold < 0.7
    assert choice.threshold <= choice.probable <= choice.strong
    assert choice.rate_interval.low <= choice.rate <= choice.rate_interval.high <= 0.1
    assert choice.settled.low <= choice.threshold <= choice.settled.high


def test_a_stricter_rate_gives_a_higher_threshold() -> None:
    one, other, _ = sides(3_000, 3_000, np.random.default_rng(2))
    curve = estimate(one, other, GRID, one_to_one=True)
    loose, strict = (choose(curve, rate, np.random.default_rng(0)).threshold for rate in (0.05, 0.0005))
    assert strict > loose


def test_strangers_alone_are_refused() -> None:
    one, other, _ = sides(0, 3_000, np.random.default_rng(3))
    with pytest.raises(UnsupportedDataError) as refusal:
        choose(estimate(one, other, GRID, one_to_one=True), 0.05, np.random.default_rng(0))
    assert refusal.value.reason in ("indistinguishable", "no-links")


def test_the_curve_knows_its_expected_f1() -> None:
    links = np.array([100.0, 90.0, 0.0])
    curve = Curve(np.array([0.5, 0.6, 0.7]), links, np.array([10.0, 0.0, 0.0]), np.zeros(3))
    assert curve.matches == pytest.approx(90.0)
    assert curve.f1[1] == pytest.approx(1.0)


def test_wilson_as_published() -> None:
    interval = wilson(81, 263)  # Newcombe 1998, table I
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)

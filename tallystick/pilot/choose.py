"""From an estimated curve to a threshold and three strength bands, with how sure that is, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tallystick.pilot.errors import UnsupportedDataError
from tallystick.pilot.estimate import Curve

PROBABLE_RATE: Final = 0.01
STRONG_RATE: Final = 0.001
FEWEST_LINKS: Final = 10
_RESAMPLES: Final = 400
_INTERVAL: Final = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def to_json(self) -> list[float]:
        """``[low, high]``, four decimals."""
        return [round(self.low, 4), round(self.high, 4)]


@dataclass(frozen=True, slots=True)
class Choice:
    """Where links begin, and where they count as probable and as strong.

    ``rate`` is the estimated false discovery rate at the threshold, ``settled`` the interval in which the
    threshold fell when the evidence was resampled, ``how`` says what decided.
    """

    threshold: float
    probable: float
    strong: float
    rate: float
    rate_interval: Interval
    settled: Interval
    expected_f1: float
    how: str


def choose(curve: Curve, ceiling: float, rng: np.random.Generator, asked: float | None = None) -> Choice:
    """The threshold with the best estimated F1 among those whose estimated false discovery rate is at most
    ``ceiling``; or ``asked``, where somebody decided otherwise.

    :raises UnsupportedDataError: no threshold has enough links at that rate.
    """
    place = _place(curve, ceiling) if asked is None else _nearest(curve, asked)
    if place is None:
        raise _refusal(curve, ceiling)
    places, rates = [], []
    for other in _resampled(curve, rng):
        found = _place(other, ceiling) if asked is None else place
        places.append(place if found is None else found)
        rates.append(float(other.rate[place]))
    threshold = float(curve.grid[place]) if asked is None else asked
    low, high = np.percentile(curve.grid[places], _INTERVAL)
    probable, strong = (max(threshold, _band(curve, rate)) for rate in (PROBABLE_RATE, STRONG_RATE))
    return Choice(
        threshold=round(threshold, 4),
        probable=round(probable, 4),
        strong=round(max(probable, strong), 4),
        rate=float(curve.rate[place]),
        rate_interval=_around(float(curve.rate[place]), rates),
        settled=Interval(float(low), float(high)),
        expected_f1=float(curve.f1[place]),
        how=_how(curve, place, ceiling) if asked is None else "given with --threshold",
    )


def _around(rate: float, drawn: list[float]) -> Interval:
    low, high = np.percentile(drawn, _INTERVAL)
    return Interval(min(rate, float(low)), max(rate, float(high)))


def _place(curve: Curve, ceiling: float) -> int | None:
    usable = np.flatnonzero((curve.rate <= ceiling) & (curve.links >= FEWEST_LINKS))
    if not len(usable):
        return None
    return int(usable[np.argmax(curve.f1[usable])])


def _nearest(curve: Curve, asked: float) -> int:
    return int(np.argmin(np.abs(curve.grid - asked)))


def _band(curve: Curve, rate: float) -> float:
    low = np.flatnonzero((curve.rate <= rate) & (curve.links > 0))
    return float(curve.grid[low[0]]) if len(low) else 1.0


def _how(curve: Curve, place: int, ceiling: float) -> str:
    best = int(np.argmax(curve.f1))
    if best < place:
        return (
            f"the lowest threshold at which an estimated {ceiling:.2%} of links or fewer are false; a lower "
            "one would find more people, and link more strangers"
        )
    return (
        "the threshold that is estimated to balance missed people against wrong links best; its estimated "
        f"rate of wrong links is below the {ceiling:.2%} that is allowed"
    )


def _refusal(curve: Curve, ceiling: float) -> UnsupportedDataError:
    if curve.links.max(initial=0.0) < FEWEST_LINKS or curve.matches < FEWEST_LINKS:
        return UnsupportedDataError(
            "no-links",
            f"only about {curve.matches:.0f} people seem to be in more than one file, too few to choose a "
            f"threshold from (at least {FEWEST_LINKS} are needed). Check that the files are of the same "
            "population and that the mapping names the right columns, or give --threshold.",
        )
    lowest = float(curve.rate[curve.links >= FEWEST_LINKS].min())
    return UnsupportedDataError(
        "indistinguishable",
        f"no threshold keeps the estimated part of wrong links at {ceiling:.2%} or below (the lowest is "
        f"{lowest:.2%}): strangers resemble each other as much as people resemble themselves. Map more "
        "fields (date of birth, address, postcode), allow more with --fdr, or give --threshold.",
    )


def _resampled(curve: Curve, rng: np.random.Generator) -> list[Curve]:
    """The curve as it might have come out: links and strangers' wins drawn anew (Poisson bootstrap)."""
    between = np.clip(-np.diff(curve.links, append=0.0), 0.0, None)
    evidence = np.clip(-np.diff(curve.evidence, append=0.0), 0.0, None)
    per_win = curve.false / (curve.evidence + 1)
    drawn = []
    for _ in range(_RESAMPLES):
        links = _tail(rng.poisson(between).astype(np.float64))
        # one more win spread over the unseen tail, so that no evidence is not read as certainty
        wins = _tail(rng.poisson(evidence).astype(np.float64)) + rng.exponential()
        drawn.append(Curve(curve.grid, links, np.minimum(links, per_win * wins), wins))
    return drawn


def _tail(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.cumsum(counts[::-1])[::-1])

"""A1, bit profile: how far single bits, and whole codes, betray what is frequent.

Not yet an attack, but what frequency attacks live on: were every bit set in about as many codes as any other,
there would be nothing to align with the frequencies of names.  Source of the measures: Armknecht, Heng,
Schnell, 'Strengthening Privacy-Preserving Record Linkage using Diffusion', PoPETs 2023, who compare
hardenings by them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from crypto.canonical import JsonValue
from tallystick.privacy.encodings import Bits
from tallystick.privacy.proportion import Proportion, decimal


@dataclass(frozen=True, slots=True)
class ProfileResult:
    """``fill`` share of bits set; ``gini`` of the bits' frequencies, 0 even; ``divergence`` Jensen-Shannon,
    in bits (0 to 1), of the popcounts from a binomial of that fill; ``duplicates`` codes that another row has
    too; ``top_pattern`` rows with the most frequent code."""

    fill: float
    gini: float
    divergence: float
    duplicates: Proportion
    top_pattern: Proportion

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {
            "fill": decimal(self.fill),
            "gini": decimal(self.gini),
            "divergence": decimal(self.divergence),
            "duplicates": self.duplicates.to_json(),
            "top_pattern": self.top_pattern.to_json(),
        }


def bit_profile(bits: Bits) -> ProfileResult:
    """Measure codes (n, l), n at least 1."""
    count, length = bits.shape
    frequency = np.sort(bits.mean(axis=0, dtype=np.float64))
    fill = float(frequency.mean())
    place = np.arange(1, length + 1)
    gini = float(
        2 * (place * frequency).sum() / (length * max(frequency.sum(), 1e-12)) - (length + 1) / length
    )
    weights = bits.sum(axis=1, dtype=np.int64)
    observed = np.bincount(weights, minlength=length + 1) / count
    expected = binom.pmf(np.arange(length + 1), length, fill)
    _, repeats = np.unique(np.packbits(bits, axis=1), axis=0, return_counts=True)
    return ProfileResult(
        fill=fill,
        gini=gini,
        divergence=_jensen_shannon(observed, expected),
        duplicates=Proportion(int(repeats[repeats > 1].sum()), count),
        top_pattern=Proportion(int(repeats.max()), count),
    )


def _jensen_shannon(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    middle = (one + other) / 2
    total = 0.0
    for part in (one, other):
        seen = part > 1e-200  # below, the logarithm's argument underflows
        total += float((part[seen] * np.log2(part[seen] / middle[seen])).sum()) / 2
    return total

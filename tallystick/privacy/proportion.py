"""Shares of a sample with their intervals: what every attack reports."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from crypto.canonical import JsonValue

_Z = 1.959964
PLACES = 4
"""Decimal places of a number in the report; canonical JSON has no floats, so numbers are decimal texts."""


def decimal(value: float) -> str:
    """A number as the report's JSON holds it."""
    return f"{value:.{PLACES}f}"


@dataclass(frozen=True, slots=True)
class Proportion:
    """``hits`` successes in ``tries`` independent tries."""

    hits: int
    tries: int

    @classmethod
    def total(cls, parts: Iterable[Proportion]) -> Proportion:
        """Several runs pooled."""
        listed = list(parts)
        return cls(sum(part.hits for part in listed), sum(part.tries for part in listed))

    @property
    def share(self) -> float:
        """Between 0 and 1; 0 of no tries at all."""
        return self.hits / self.tries if self.tries else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 per cent score interval (Wilson, JASA 1927); (0, 1) of no tries at all."""
        if not self.tries:
            return 0.0, 1.0
        n, p = self.tries, self.share
        centre = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
        half = _Z / (1 + _Z * _Z / n) * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def to_json(self) -> dict[str, JsonValue]:
        """``{"hits", "tries", "share", "low", "high"}``, the last three as decimal texts."""
        low, high = self.interval
        return {
            "hits": self.hits,
            "tries": self.tries,
            "share": decimal(self.share),
            "low": decimal(low),
            "high": decimal(high),
        }

"""How many links two agencies have, and when their number leaps: pure functions.

A rogue that uploads people whom it wants to find gains links faster than it gains subjects. Between two
agencies the number of links grows, at the same rate of overlap, with the product of their sizes; links far
beyond that are an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping

from broker.config import WatchConfig
from broker.store.model import MatchRate

_SLACK_PERCENT = 5


def match_rates(
    linkage: str, links: Mapping[tuple[str, str], int], sizes: Mapping[str, int]
) -> tuple[MatchRate, ...]:
    """The figures of every two agencies that have subjects; `sizes` are numbers of subjects."""
    names = sorted(name for name, size in sizes.items() if size)
    return tuple(
        MatchRate(linkage, first, second, links.get((first, second), 0), sizes[first], sizes[second])
        for first in names
        for second in names
        if first < second
    )


def expected_links(before: MatchRate, now: MatchRate) -> int:
    """How many links there would be at the same rate of overlap, at least as many as before."""
    sizes_before = before.first_subjects * before.second_subjects
    sizes_now = now.first_subjects * now.second_subjects
    return max(before.links, before.links * sizes_now // max(1, sizes_before))


def leaps(before: MatchRate, now: MatchRate, config: WatchConfig) -> bool:
    """Whether links grew far beyond what the sizes explain; too few links to compare with say nothing."""
    if before.links < config.match_rate_links:
        return False
    gained = now.links - before.links
    usual = expected_links(before, now) - before.links
    slack = _SLACK_PERCENT * min(now.first_subjects, now.second_subjects) // 100
    return gained > config.match_rate_factor * usual + max(config.match_rate_links, slack)

"""When the number of links between two agencies leaps, and when their sizes explain it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config import WatchConfig
from broker.rates import expected_links, leaps
from broker.store.model import MatchRate

CONFIG = WatchConfig()


def rate(links: int, first: int, second: int) -> MatchRate:
    return MatchRate("line", "care", "police", links, first, second)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (rate(300, 1000, 1000), rate(1200, 1000, 2000), True),  # all the new ones are known to the other
        (rate(300, 1000, 1000), rate(600, 1000, 2000), False),  # the usual share of them
        (rate(300, 1000, 1000), rate(420, 1000, 1000), True),  # nothing grew but the links
        (rate(300, 1000, 1000), rate(340, 1000, 1000), False),  # corrections
        (rate(24, 100, 100), rate(100, 100, 200), False),  # too few before to say what is usual
        (rate(300, 1000, 1000), rate(100, 1000, 500), False),  # fewer
    ],
)
def test_examples(before: MatchRate, now: MatchRate, expected: bool) -> None:
    assert leaps(before, now, CONFIG) is expected


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 50), st.integers(1, 50), st.floats(0, 1))
def test_growth_at_the_same_overlap_is_never_a_leap(
    first: int, second: int, more_first: int, more_second: int, share: float
) -> None:
    before = rate(int(share * min(first, second)), first, second)
    grown = rate(0, first * more_first, second * more_second)
    now = rate(expected_links(before, grown), grown.first_subjects, grown.second_subjects)
    assert not leaps(before, now, CONFIG)

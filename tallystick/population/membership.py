"""Which agencies hold whom.

A bit over a quarter of the people of each agency are held by another agency too: most by two, a few by all
five. The rest are its own. Runs of the same kind of membership are kept together, so that whole households
tend to be known to the same agencies, and their ends fall within households: one twin here, the other
there.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from tallystick.population.lexicon import Weighted
from tallystick.population.model import (
    AGENCIES,
    HAVEN_CHARITY,
    NORTHMOOR_CARE,
    NORTHMOOR_POLICE,
    SOUTHVALE_POLICE,
    VALE_NHS,
    AgencyId,
    Area,
)

Membership = frozenset[AgencyId]

SHARED_SHARE: Final = 0.27
"""The share of each agency's people that at least one other agency holds."""

_HELD_BY: Final = Weighted([2, 3, 4, 5], [0.66, 0.24, 0.08, 0.02])
_RUN = 4
_NORTH_SHARES: Final[dict[AgencyId, float]] = {
    NORTHMOOR_POLICE: 0.92,
    NORTHMOOR_CARE: 0.94,
    SOUTHVALE_POLICE: 0.08,
    VALE_NHS: 0.35,
    HAVEN_CHARITY: 0.50,
}


def memberships(rng: Random, people: int) -> list[Membership]:
    """The memberships of everybody, such that each agency holds exactly ``people``."""
    shared = _shared(rng, round(people * SHARED_SHARE))
    held = {agency: sum(agency in membership for membership in shared) for agency in AGENCIES}
    own = [frozenset({agency}) for agency in AGENCIES for _ in range(people - held[agency])]
    runs = list(_runs([*shared, *own]))
    rng.shuffle(runs)
    return [membership for run in runs for membership in run]


def home_area(rng: Random, membership: Membership) -> Area:
    """Where somebody of this membership lives now, more or less: people move, agencies keep records."""
    shares = [_NORTH_SHARES[agency] for agency in AGENCIES if agency in membership]
    return "northmoor" if rng.random() < sum(shares) / len(shares) else "southvale"


def _shared(rng: Random, quota: int) -> list[Membership]:
    left = dict.fromkeys(AGENCIES, quota)
    found: list[Membership] = []
    while sum(1 for count in left.values() if count) >= 2:
        wanted = _HELD_BY.draw(rng)
        # The emptier agencies come first, with chance in it, so that all quotas are used up together.
        ranked = sorted((a for a in AGENCIES if left[a]), key=lambda a: -left[a] * rng.random())
        members = ranked[:wanted]
        for agency in members:
            left[agency] -= 1
        found.append(frozenset(members))
    return found


def _runs(everybody: list[Membership]) -> Iterator[list[Membership]]:
    ordered = sorted(everybody, key=lambda membership: tuple(agency in membership for agency in AGENCIES))
    for start in range(0, len(ordered), _RUN):
        yield ordered[start : start + _RUN]

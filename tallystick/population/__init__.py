"""A synthetic UK population, split over five agencies, for the demo and for tests.

Seeded and repeatable, without network, and without real people: see
:mod:`tallystick.population.identifiers` for the ranges that keep it so. ``generate`` makes it,
``write_agency`` writes one agency's export, ``write_truth`` writes who is who, for scoring only.
"""

from tallystick.population.generate import generate
from tallystick.population.model import (
    AGENCIES,
    AS_OF,
    HAVEN_CHARITY,
    NORTHMOOR_CARE,
    NORTHMOOR_POLICE,
    SOUTHVALE_POLICE,
    VALE_NHS,
    AgencyId,
    PersonId,
    Population,
    PopulationError,
)
from tallystick.population.story import ALAN, STORY, SUSAN, Story, StoryEvent
from tallystick.population.write import TRUTH_FILE, write_agency, write_truth

__all__ = [
    "AGENCIES",
    "ALAN",
    "AS_OF",
    "HAVEN_CHARITY",
    "NORTHMOOR_CARE",
    "NORTHMOOR_POLICE",
    "SOUTHVALE_POLICE",
    "STORY",
    "SUSAN",
    "TRUTH_FILE",
    "VALE_NHS",
    "AgencyId",
    "PersonId",
    "Population",
    "PopulationError",
    "Story",
    "StoryEvent",
    "generate",
    "write_agency",
    "write_truth",
]

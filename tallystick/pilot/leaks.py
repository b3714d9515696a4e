"""How badly encodings like the pilot's would leak: the attacks of the privacy report, on made-up people.

The pilot's own records are never attacked. What is tried is the pilot's linkage schema and hardening, over
synthetic people who lack the fields that the files lack.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Final

import numpy as np

from agency_node.encoding import EncodingSection
from tallystick.pilot.files import FACTS
from tallystick.pilot.run import PilotResult
from tallystick.privacy.people import records, subject_type_of, synthetic_records
from tallystick.privacy.report import PrivacyReport, Settings, privacy_report

_PARTS: Final = {"address": ("address", "house", "street"), "birth_year": ("birth_year", "date_of_birth")}


def leak_report(result: PilotResult, progress: Callable[[str], None]) -> PrivacyReport:
    """The quick form of the privacy report for a pilot's section; half a minute, and not for signing."""
    settings = Settings.quick(result.seed)
    section = EncodingSection.from_json(result.section, _projections(result))
    people = synthetic_records(subject_type_of(section), _wanted(settings), settings.seed)
    lacking = [name for fact in _lacking(result) for name in _PARTS.get(fact, (fact,))]
    rows = [{name: value for name, value in row.items() if name not in lacking} for row in people.rows]
    source = people.source + (", without the fields that the files lack" if lacking else "")
    return privacy_report(
        result.section,
        settings,
        held_out=records(rows, len(rows), settings.seed, source),
        narrow_exceptions=_projections(result),
        progress=progress,
    )


def _wanted(settings: Settings) -> int:
    return max(settings.rows, 2 * settings.graph_rows)


def _projections(result: PilotResult) -> list[str]:
    """Every one: a pilot may try what would need a signed exception."""
    return [projection.name for projection in result.spec.projections]


def _lacking(result: PilotResult) -> list[str]:
    """The facts that no record of any file has."""
    held = reduce(or_, (int(np.bitwise_or.reduce(party.facts.held)) for party in result.parties))
    return [name for bit, name in enumerate(FACTS) if not held >> bit & 1]

"""The limits that an encoding should keep, each with its reason, and what to do where one is not kept.

A gate *fails* where somebody without any knowledge of the people, or with a mere list of names, would find
too many. It is a *concern* where the attacker's list already holds addresses, or everything that is encoded:
that attacker learns no new facts from a hit but that the agency holds the person, which is a decision for
officers. What the key holder can do is *shown*, for no encoding prevents it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from crypto.canonical import JsonValue
from tallystick.privacy.graph import GraphResult
from tallystick.privacy.known_pairs import KnownPairsResult
from tallystick.privacy.mining import MiningResult
from tallystick.privacy.profile import ProfileResult
from tallystick.privacy.proportion import Proportion, decimal

Verdict = Literal["pass", "concern", "fail"]
MOST_GINI: Final = 0.10
MOST_GRAPH: Final = 0.01
MOST_TOP1: Final = 0.02
MOST_TOP10: Final = 0.15
MOST_MINED: Final = 0.01
_GATED_LISTS: Final = frozenset({"names"})

_HARDEN: Final = "Use the default hardening (sparse fill with keyed diffusion)."
_WIDEN: Final = (
    "Encode more fields in one projection rather than fewer, take more taps and measure what that costs, or "
    "keep the encodings for a shorter time and with fewer people."
)


@dataclass(frozen=True, slots=True)
class AttackResults:
    """Everything that was tried on one target without the key."""

    profile: ProfileResult
    graph: tuple[GraphResult, ...]
    known_pairs: tuple[KnownPairsResult, ...]
    mining: MiningResult

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {
            "bit_profile": self.profile.to_json(),
            "graph_matching": [item.to_json() for item in self.graph],
            "known_pairs": [item.to_json() for item in self.known_pairs],
            "pattern_mining": self.mining.to_json(),
        }


@dataclass(frozen=True, slots=True)
class TargetReport:
    """One projection, or the union of all; ``control`` is the same without hardening, None if that is it."""

    name: str
    fields: tuple[str, ...]
    hardening: tuple[str, ...]
    results: AttackResults
    control: AttackResults | None

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {
            "name": self.name,
            "fields": list(self.fields),
            "hardening": list(self.hardening),
            "results": self.results.to_json(),
            "control": self.control.to_json() if self.control else None,
        }


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit. ``measured`` and ``limit`` are decimal texts; ``high`` is the upper end of the interval."""

    target: str
    attack: str
    measured: str
    high: str
    limit: str
    outcome: Verdict
    reason: str
    advice: str

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {
            "target": self.target,
            "attack": self.attack,
            "measured": self.measured,
            "high": self.high,
            "limit": self.limit,
            "outcome": self.outcome,
            "reason": self.reason,
            "advice": self.advice,
        }


def gates_of(target: TargetReport) -> list[Gate]:
    """The gates of one target, by attack."""
    results, name = target.results, target.name
    profile = results.profile
    gates = [
        Gate(
            name,
            "A1 bit profile: unevenness of the bits (Gini)",
            decimal(profile.gini),
            "",
            decimal(MOST_GINI),
            "fail" if profile.gini >= MOST_GINI else "pass",
            "Uneven bits show which names are frequent; frequency attacks begin there.",
            "" if profile.gini < MOST_GINI else _HARDEN,
        )
    ]
    gates += [
        _share(
            name,
            f"A2 graph matching, {graph.overlap} per cent of the people on a public list",
            graph.found,
            MOST_GRAPH,
            "Needs no key and no inside knowledge, only the encodings and a public list.",
            _HARDEN,
        )
        for graph in results.graph
    ]
    most = max((known.pairs for known in results.known_pairs), default=0)
    for known in results.known_pairs:
        if known.pairs == most:
            gates += _known(name, known)
    gates.append(
        _share(
            name,
            "A5 pattern mining: the right person first",
            results.mining.top1,
            MOST_MINED,
            "Needs no key, only the encodings and how frequent names are.",
            _HARDEN,
        )
    )
    return gates


def verdict_of(gates: Iterable[Gate]) -> Verdict:
    """The worst outcome decides."""
    outcomes = {gate.outcome for gate in gates}
    if "fail" in outcomes:
        return "fail"
    return "concern" if "concern" in outcomes else "pass"


def _known(target: str, known: KnownPairsResult) -> list[Gate]:
    strict = known.knows in _GATED_LISTS
    reason = (
        f"Somebody with the encodings who knows whose {known.pairs} of them are, and has a list of "
        f"{known.knows} to look for the others."
    )
    if not strict:
        reason += " They learn that the agency holds a person about whom the list already tells the rest."
    otherwise: Verdict = "fail" if strict else "concern"
    title = f"A3 {known.pairs} known pairs, list of {known.knows}"
    return [
        _share(target, f"{title}: the right one first", known.top1, MOST_TOP1, reason, _WIDEN, otherwise),
        _share(target, f"{title}: among the first ten", known.top10, MOST_TOP10, reason, _WIDEN, otherwise),
    ]


def _share(
    target: str,
    attack: str,
    measured: Proportion,
    limit: float,
    reason: str,
    advice: str,
    otherwise: Verdict = "fail",
) -> Gate:
    kept = measured.share < limit
    return Gate(
        target,
        attack,
        decimal(measured.share),
        decimal(measured.interval[1]),
        decimal(limit),
        "pass" if kept else otherwise,
        reason,
        "" if kept else advice,
    )

"""Counts of what normalisation changed, flagged and dropped, per field and reason. Never a value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from agency_node.normalise.reasons import EXPLANATIONS, Effect, Outcome, Reason


@dataclass(slots=True)
class FieldCounts:
    """Of one field: cells seen, cells that held something, values kept, and how often each reason arose."""

    seen: int = 0
    given: int = 0
    kept: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)

    @property
    def dropped(self) -> int:
        """Cells that held something of which nothing usable was left."""
        return self.given - self.kept

    def by_effect(self, effect: Effect) -> dict[Reason, int]:
        """The reasons of one effect, most frequent first."""
        return {reason: count for reason, count in self.reasons.most_common() if reason.effect == effect}


class NormalisationReport:
    """What normalisation did to each field, in counts. Reports add up with :meth:`merge`."""

    def __init__(self) -> None:
        self._fields: dict[str, FieldCounts] = {}

    @property
    def fields(self) -> dict[str, FieldCounts]:
        """The counts by field name, in order of first appearance."""
        return dict(self._fields)

    def record(self, field_name: str, outcome: Outcome, *, given: bool) -> None:
        """Count one cell: ``given`` says whether the source held anything there."""
        self.record_many(field_name, 1, given=given, kept=bool(outcome.value), reasons=outcome.reasons)

    def record_many(
        self, field_name: str, times: int, *, given: bool, kept: bool, reasons: tuple[Reason, ...]
    ) -> None:
        """Count so many cells of which the same is to be said."""
        counts = self._fields.get(field_name)
        if counts is None:
            counts = self._fields[field_name] = FieldCounts()
        counts.seen += times
        counts.given += times * given
        counts.kept += times * kept
        for reason in reasons:
            counts.reasons[reason] += times

    def merge(self, other: NormalisationReport) -> None:
        """Add the counts of ``other`` to this report."""
        for name, theirs in other.fields.items():
            ours = self._fields.setdefault(name, FieldCounts())
            ours.seen += theirs.seen
            ours.given += theirs.given
            ours.kept += theirs.kept
            ours.reasons.update(theirs.reasons)

    def take(self) -> NormalisationReport:
        """What was counted so far, as a report of its own; this one begins anew."""
        taken = NormalisationReport()
        taken._fields, self._fields = self._fields, {}
        return taken

    def to_json(self) -> dict[str, dict[str, int | dict[str, int]]]:
        """Per field ``seen``, ``given``, ``kept``, ``dropped`` and ``reasons`` (code to count)."""
        return {
            name: {
                "seen": counts.seen,
                "given": counts.given,
                "kept": counts.kept,
                "dropped": counts.dropped,
                "reasons": {str(reason): count for reason, count in counts.reasons.most_common()},
            }
            for name, counts in self._fields.items()
        }

    def render(self) -> str:
        """A table for people: completeness per field, then each reason in plain English with its count."""
        lines: list[str] = []
        for name, counts in self._fields.items():
            share = 100 * counts.kept / counts.seen if counts.seen else 0.0
            lines.append(
                f"{name}: {counts.kept:,} of {counts.seen:,} usable ({share:.1f}%), "
                f"{counts.dropped:,} dropped"
            )
            lines += [
                f"    {reason.effect:<8}{count:>9,}  {EXPLANATIONS[reason]}"
                for reason, count in counts.reasons.most_common()
            ]
        return "\n".join(lines)

"""What is wrong with a mapping, or with the data behind it, before anything is linked.

Reads the whole source once and tells the row and column of every problem (a bounded list, and totals), what
would be dropped and why, which rows would get no encoding, how complete each field is, and what to try. It
shows positions, counts and reasons, never a value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from agency_node.config import OnInvalidValue
from agency_node.mapping import CsvSettings, MappingError, SourceMapping, load_mapping
from agency_node.mapping_encoding import EncodingCheck
from agency_node.mapping_markers import standing
from agency_node.normalise import NormalisationReport, Reason
from agency_node.sources import (
    JoinedSource,
    ProblemLog,
    RowFault,
    SourceError,
    ignore_losses,
    open_source,
)
from agency_node.sources.assemble import Assembler
from agency_node.sources.problems import SOURCE_LOSSES
from agency_node.subjects import Subject, SubjectType
from policies.clauses import BUILT_IN_MARKERS

_PLURALS: Final[dict[SubjectType, str]] = {"person": "people", "place": "places"}
_WANTED: Final[dict[SubjectType, tuple[str, ...]]] = {
    "person": ("given_names", "family_name", "date_of_birth", "sex", "house", "street", "postcode"),
    "place": ("house", "street", "town", "postcode", "uprn"),
}
_CHANCE_OF_FIRST_OF_JANUARY: Final = 1 / 365


@dataclass(slots=True)
class MappingCriticism:
    """The result of :func:`check_mapping`. ``unusable`` lists what stops the mapping from working at all."""

    report: NormalisationReport
    problems: ProblemLog
    unusable: list[str] = field(default_factory=list)
    subjects: dict[SubjectType, int] = field(default_factory=dict)
    identities: dict[SubjectType, int] = field(default_factory=dict)
    markers: dict[str, int] = field(default_factory=dict)
    marker_effects: dict[str, str] = field(default_factory=dict)
    look_alikes: int = 0
    suggestions: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 where every row can be used, 1 where rows would be lost, 2 where the mapping cannot be used."""
        if self.unusable:
            return 2
        return 1 if self.problems.rows_lost else 0

    def to_json(self) -> str:
        """One JSON object with the same content as :meth:`render`."""
        return json.dumps(
            {
                "usable": not self.unusable,
                "unusable": self.unusable,
                "subjects": self.subjects,
                "identities": self.identities,
                "markers": self.markers,
                "marker_effects": [
                    {"marker": marker, "built_in": marker in BUILT_IN_MARKERS, "effect": effect}
                    for marker, effect in self.marker_effects.items()
                ],
                "look_alikes": self.look_alikes,
                "rows_lost": self.problems.rows_lost,
                "problems_total": self.problems.total,
                "problem_counts": [
                    {"table": table, "column": column, "reason": str(reason), "count": count}
                    for (table, column, reason), count in self.problems.counts.items()
                ],
                "problems": [
                    {
                        "table": problem.table,
                        "line": problem.line,
                        "column": problem.column,
                        "reason": str(problem.reason),
                        "detail": problem.detail,
                    }
                    for problem in self.problems.listed
                ],
                "fields": self.report.to_json(),
                "suggestions": self.suggestions,
            },
            indent=2,
        )

    def render(self) -> str:
        """Plain text for a terminal."""
        sections = list(self._sections())
        return "\n\n".join(
            f"{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in sections
        )

    def _sections(self) -> Iterator[tuple[str, list[str]]]:
        if self.unusable:
            yield "The mapping cannot be used", list(self.unusable)
        read = [
            f"{count:,} {_PLURALS[kind]} with {self.identities[kind]:,} identities"
            for kind, count in self.subjects.items()
        ]
        read.append(f"{self.problems.rows_lost:,} rows would be left out")
        read.append(f"{self.look_alikes:,} people look like an earlier one (name, date of birth, postcode)")
        read += [f"marker {marker}: {count:,} subjects" for marker, count in sorted(self.markers.items())]
        yield "Read", read
        if self.marker_effects:
            yield "Markers", [f"{marker} is {effect}" for marker, effect in self.marker_effects.items()]
        if self.report.fields:
            yield "Fields", self.report.render().splitlines()
        if self.problems.total:
            counts = [
                f"{count:>9,}  {table}{f', column {column}' if column else ''}: {reason}"
                for (table, column, reason), count in self.problems.counts.items()
            ]
            yield "Problems by kind", counts
            listed = [problem.render() for problem in self.problems.listed]
            hidden = self.problems.total - len(listed)
            if hidden:
                listed.append(f"... and {hidden:,} more of these kinds")
            yield "Where they are", listed
        if self.suggestions:
            yield "Suggestions", list(self.suggestions)


def check_mapping(
    mapping: SourceMapping, *, today: date, on_invalid: OnInvalidValue = "drop"
) -> MappingCriticism:
    """Read everything that the mapping names, and say what is wrong; faults of the data raise nothing.

    ``on_invalid`` is what the node's configuration says of values that a linkage's schema refuses.
    """
    lenient = replace(mapping, on_bad_row="skip")
    try:
        source = open_source(lenient, today=today, tell=ignore_losses)
    except SourceError as error:
        return MappingCriticism(NormalisationReport(), ProblemLog(), unusable=[str(error)])
    with source:
        criticism = MappingCriticism(source.report, source.problems, marker_effects=_marker_effects(mapping))
        criticism.unusable += source.structure_faults()
        if not criticism.unusable:
            try:
                _read_all(source, criticism, on_invalid)
            except SourceError as error:
                criticism.unusable.append(str(error))
        criticism.suggestions += _suggestions(mapping, criticism)
        return criticism


def run_check(
    path: Path,
    *,
    as_json: bool = False,
    today: date | None = None,
    on_invalid: OnInvalidValue = "drop",
) -> tuple[str, int]:
    """The text for the terminal and the exit code of ``tallystick node check-mapping``."""
    try:
        mapping = load_mapping(path)
    except MappingError as error:
        return (json.dumps({"usable": False, "unusable": [str(error)]}) if as_json else str(error)), 2
    criticism = check_mapping(mapping, today=today or datetime.now(UTC).date(), on_invalid=on_invalid)
    return (criticism.to_json() if as_json else criticism.render()), criticism.exit_code


def _read_all(source: JoinedSource, criticism: MappingCriticism, on_invalid: OnInvalidValue) -> None:
    assembler = Assembler(source.mapping.rules, source.report, source.problems, source.today)
    for rule in source.mapping.subjects:
        kind = rule.subject_type
        encoding = EncodingCheck(source, rule, on_invalid)
        criticism.subjects[kind] = criticism.identities[kind] = 0
        for rows in source.raw_chunks(kind):
            chunk = assembler.subjects(rule, rows)
            encoding.check(rows, chunk)
            criticism.subjects[kind] += len(chunk)
            criticism.identities[kind] += sum(len(subject.identities) for subject in chunk)
            for subject in chunk:
                for marker in subject.markers:
                    criticism.markers[marker] = criticism.markers.get(marker, 0) + 1
            keys = [key for subject in chunk if (key := _likeness(subject))]
            criticism.look_alikes += source.count_repeated(keys)
    source.check_side_tables()


def _marker_effects(mapping: SourceMapping) -> dict[str, str]:
    """What each marker of the mapping does, in file order."""
    columns = [column for subject in mapping.subjects for column in subject.main.markers]
    columns += [column for record in mapping.records for column in record.markers]
    return {rule.marker: standing(rule.marker) for column in columns for rule in column.rules}


def _likeness(subject: Subject) -> str:
    """A digest of what makes two people look the same, "" where too little is known to say."""
    fields = subject.identities[0].fields
    values = [fields.get(name, "") for name in ("given_names", "family_name", "date_of_birth", "postcode")]
    if subject.subject_type != "person" or not all(values):
        return ""
    return hashlib.sha256("\x1f".join(values).encode()).hexdigest()


def _suggestions(mapping: SourceMapping, criticism: MappingCriticism) -> Iterator[str]:
    problems = criticism.problems
    if problems.of(RowFault.BAD_ENCODING) and isinstance(mapping.source, CsvSettings):
        other = "utf-8" if "1252" in mapping.source.encoding else "cp1252"
        yield f'some bytes are not {mapping.source.encoding}: try encoding = "{other}" under [source]'
    if problems.of(RowFault.DUPLICATE_SUBJECT_ID):
        yield "a subject's number should stand in one row only: further names belong in [[people.aliases]]"
    if problems.of(RowFault.UNKNOWN_SUBJECT):
        yield "rows of a side table name subjects that the main table lacks: is it an older extract?"
    if problems.of(RowFault.UNEXPLAINED_MARK):
        yield "marker cells that are not explained count as marked: list those that say no in unmarked_values"
    if problems.of(RowFault.TOO_FEW_FACTS):
        yield "whoever has too few facts is found by nobody: complete these rows, or map more columns"
    if mapping.on_bad_row == "refuse" and any(map(problems.of, SOURCE_LOSSES)):
        yield 'on_bad_row = "refuse": the node would stop at the first of these rows'
    for rule in mapping.subjects:
        mapped = {rule_field.name for rule_field in rule.main.fields}
        mapped |= {"given_names", "family_name"} if "full_name" in mapped else set()
        mapped |= {"house", "street", "town", "postcode"} if "full_address" in mapped else set()
        missing = [name for name in _WANTED[rule.subject_type] if name not in mapped]
        if missing:
            yield f"{rule.main.table}: {', '.join(missing)} not mapped; each helps to tell subjects apart"
    yield from _field_suggestions(criticism.report)


def _field_suggestions(report: NormalisationReport) -> Iterator[str]:
    for name, counts in report.fields.items():
        if not counts.given:
            yield f"{name}: the column is empty in every row; is it the right one?"
            continue
        unreadable = counts.reasons[Reason.INVALID_FORMAT] + counts.reasons[Reason.UNKNOWN_CODE]
        if unreadable > 0.2 * counts.given:
            yield f"{name}: {unreadable / counts.given:.0%} cannot be read; is it the right column?"
        if counts.reasons[Reason.US_ORDER] > 0.05 * counts.given:
            yield f'{name}: many dates are possible only as month/day/year; try date_order = "mdy"'
        if counts.reasons[Reason.NUMBER_DAMAGED]:
            yield f"{name}: a spreadsheet has damaged numbers; export them as text"
        first = counts.reasons[Reason.FIRST_OF_JANUARY]
        if first and first < 1.5 * _CHANCE_OF_FIRST_OF_JANUARY * counts.given and counts.given > 2_000:
            yield f'{name}: 1 January is no more frequent than by chance; consider first_of_january = "keep"'

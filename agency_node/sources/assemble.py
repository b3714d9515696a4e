"""From raw rows to subjects and case records, by the rules of a mapping.

Counts go to a :class:`NormalisationReport`, positions of dropped values to a :class:`ProblemLog`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Final

from agency_node.mapping import (
    FieldRule,
    FurtherKind,
    FurtherRule,
    RecordFieldRule,
    RecordRule,
    SubjectRule,
    TableRule,
)
from agency_node.mapping_markers import MarkerColumn, markers_of
from agency_node.normalise import (
    DateReading,
    DateRule,
    NormalisationReport,
    NormaliseRules,
    Outcome,
    joined_address,
    normaliser_of,
    read_address,
    read_date,
    read_date_parts,
    read_full_name,
    read_name,
)
from agency_node.normalise.text import is_blank
from agency_node.sources.problems import Problem, ProblemLog, RowFault
from agency_node.sources.rows import RawChunk, RawRow
from agency_node.subjects import CaseRecord, Identity, RecordId, Subject, SubjectId, SubjectType

_BIRTHS_KEPT: Final = 1 << 16
"""More distinct dates than people alive have; beyond, dates are read anew."""

_ADDRESS_FIELDS: Final = ("house", "street", "town", "address", "postcode", "uprn")
_NAME_FIELDS: Final = ("given_names", "family_name")
_SPECIAL: Final = frozenset({"date_of_birth", "full_name", "full_address"})
_TRUE: Final = frozenset({"true", "t", "yes", "y", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0"})


class Assembler:
    """Builds subjects and records; ``today`` bounds dates of birth from above."""

    def __init__(
        self, rules: NormaliseRules, report: NormalisationReport, problems: ProblemLog, today: date
    ) -> None:
        self._rules = replace(rules, dates=replace(rules.dates, latest=today))
        self._today = today
        self._plans: dict[int, _Plan] = {}
        self._report = report
        self._problems = problems

    def subjects(self, rule: SubjectRule, chunk: RawChunk) -> list[Subject]:
        """The subjects of a chunk of rows that were read by ``rule``."""
        sides = list(zip(rule.further, chunk.sides, strict=True))
        return [
            self.subject(
                rule.subject_type,
                SubjectId(subject),
                (rule.main, row),
                [(further, side) for further, found in sides for side in found.get(subject, ())],
            )
            for subject, row in zip(chunk.subjects, chunk.main.rows(), strict=True)
        ]

    def subject(
        self,
        subject_type: SubjectType,
        subject_id: SubjectId,
        main: tuple[TableRule, RawRow],
        further: Iterable[tuple[FurtherRule, RawRow]],
    ) -> Subject:
        """The subject of one main row and the rows of its aliases, former names and former addresses."""
        rule, row = main
        current, names = self._identity(rule, row)
        return Subject(
            subject_id,
            subject_type,
            self.identities(current, names, further),
            self._markers(rule.markers, row),
        )

    def identities(
        self,
        current: dict[str, str],
        names: Iterable[tuple[str, str]],
        further: Iterable[tuple[FurtherRule, RawRow]],
    ) -> tuple[Identity, ...]:
        """The current identity, those by further names of its name cells, and those of further rows."""
        identities = [current, *({**current, **_name(given, family)} for given, family in names)]
        for further_rule, further_row in further:
            fields, more_names = self._identity(further_rule.table, further_row)
            overlaid = _overlay(current, fields, further_rule.kind)
            if overlaid is not None:
                identities.append(overlaid)
                identities += [{**overlaid, **_name(given, family)} for given, family in more_names]
        if len(identities) == 1:
            return (Identity(current),)
        unique: dict[tuple[tuple[str, str], ...], Identity] = {}
        for fields in identities:
            unique.setdefault(tuple(sorted(fields.items())), Identity(fields))
        return tuple(unique.values())

    def record(self, rule: RecordRule, row: RawRow, inherited: frozenset[str]) -> CaseRecord | None:
        """The case record of one row, or None (reported) where the row has no record number."""
        record_id = row.cells[rule.record_id].strip()
        if not record_id:
            self._problems.add(Problem(row.table, row.line, rule.record_id, RowFault.NO_RECORD_ID))
            return None
        occurred = None
        if rule.occurred is not None:
            dates = rule.occurred.dates or self._rules.dates
            reading = self._read_date(
                rule.occurred, row.cells, replace(dates, latest=self._today, first_of_january="keep")
            )
            occurred = date.fromisoformat(reading.iso) if reading.iso else None
            if occurred is None and any(not is_blank(row.cells[name]) for name in rule.occurred.columns):
                column = " ".join(rule.occurred.columns)
                self._problems.add(Problem(row.table, row.line, column, RowFault.WRONG_TYPE, "not a date"))
        fields: dict[str, str] = {}
        for field in rule.fields:
            text = field.cell.read(row.cells).strip()
            typed = self._typed(field, text) if text else ""
            if typed is None:
                column = " ".join(field.cell.columns)
                self._problems.add(
                    Problem(row.table, row.line, column, RowFault.WRONG_TYPE, f"not {field.type}")
                )
            elif typed:
                fields[field.name] = typed
        markers = inherited | self._markers(rule.markers, row)
        subject_id = SubjectId(row.cells[rule.subject_id].strip())
        return CaseRecord(RecordId(record_id), subject_id, rule.record_type, occurred, fields, markers)

    def _markers(self, columns: tuple[MarkerColumn, ...], row: RawRow) -> frozenset[str]:
        """The markers that a row sets; cells that the mapping does not explain are reported."""
        for marker in columns:
            if not marker.explains(row.cells[marker.column]):
                self._problems.add(Problem(row.table, row.line, marker.column, RowFault.UNEXPLAINED_MARK))
        return markers_of(columns, row.cells)

    def _typed(self, field: RecordFieldRule, text: str) -> str | None:
        """The canonical text of a typed cell, None where it is not of the type."""
        match field.type:
            case "text":
                return text
            case "date":
                return read_date(text, field.dates or DateRule(first_of_january="keep")).iso or None
            case "boolean":
                folded = text.casefold()
                return "true" if folded in _TRUE else "false" if folded in _FALSE else None
        try:
            number = Decimal(text.replace(",", ""))
        except InvalidOperation:
            return None
        if not number.is_finite() or abs(number.adjusted()) > 30:
            return None
        if field.type == "integer":
            return str(int(number)) if number == int(number) else None
        return format(number, "f")

    def _identity(self, rule: TableRule, row: RawRow) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """The normalised fields of one row, and further names that its name cells tell of."""
        fields: dict[str, str] = {}
        names: list[tuple[str, str]] = []
        plan = self._plan(rule)
        cells = row.cells
        for step, normalise in plan.plain:
            text = step.rule.cell.read(cells)
            self._keep(fields, step, row, step.name, normalise(text), not is_blank(text))
        for step in plan.special:
            if step.name == "date_of_birth":
                self._date_of_birth(step, row, fields, plan)
            elif step.name == "full_address":
                self._full_address(step, row, step.rule.cell.read(cells), fields, plan)
            else:
                text = step.rule.cell.read(cells)
                full = read_full_name(text)
                names += full.further
                self._keep(fields, step, row, "given_names", full.given, not is_blank(text))
                self._keep(fields, step, row, "family_name", full.family, not is_blank(text))
        if any(plan.names):
            given, family = (part.rule.cell.read(cells) if part else "" for part in plan.names)
            two = read_name(given, family)
            names += two.further
            for part, text, outcome in zip(plan.names, (given, family), (two.given, two.family), strict=True):
                if part is not None:
                    self._keep(fields, part, row, part.name, outcome, not is_blank(text))
        address = joined_address(fields.get("house", ""), fields.get("street", ""))
        if address:
            fields["address"] = address
        return fields, names

    def _plan(self, rule: TableRule) -> _Plan:
        """What can be worked out once for a table rather than once for a row."""
        plan = self._plans.get(id(rule))
        if plan is None:
            steps = tuple(
                _Step(field.name, field, field.columns, " ".join(field.columns)) for field in rule.fields
            )
            by_name = {step.name: step for step in steps}
            own = next((field.dates for field in rule.fields if field.name == "date_of_birth"), None)
            plan = self._plans[id(rule)] = _Plan(
                rule=rule,
                plain=tuple(
                    (step, normaliser_of(step.name, self._rules))
                    for step in steps
                    if step.name not in _SPECIAL and step.name not in _NAME_FIELDS
                ),
                special=tuple(step for step in steps if step.name in _SPECIAL),
                names=(by_name.get("given_names"), by_name.get("family_name")),
                mapped=frozenset(by_name),
                dates=replace(own, latest=self._today) if own else self._rules.dates,
                births={},
            )
        return plan

    def _read_date(self, field: FieldRule, cells: Mapping[str, str], rule: DateRule) -> DateReading:
        if field.date_parts is not None:
            day, month, year = (part.read(cells) for part in field.date_parts)
            return read_date_parts(day, month, year, rule)
        return read_date(field.cell.read(cells), rule)

    def _date_of_birth(self, step: _Step, row: RawRow, fields: dict[str, str], plan: _Plan) -> None:
        birth = plan.births.get(cells := tuple([row.cells[column] for column in step.columns]))
        if birth is None:
            reading = self._read_date(step.rule, row.cells, plan.dates)
            given = not all(map(is_blank, cells))
            outcome = Outcome(reading.iso, reading.reasons)
            birth = _Birth(outcome, given, reading.birth_year, reading.birth_day_month)
            if len(plan.births) < _BIRTHS_KEPT:
                plan.births[cells] = birth
        self._keep(fields, step, row, "date_of_birth", birth.outcome, birth.given)
        if birth.year:
            fields["birth_year"] = birth.year
        if birth.day_month:
            fields["birth_day_month"] = birth.day_month

    def _full_address(self, step: _Step, row: RawRow, text: str, fields: dict[str, str], plan: _Plan) -> None:
        """The parts of an address in one cell; a part that has its own column is left to that column."""
        reading = read_address(text)
        parts = (("house", reading.house), ("street", reading.street), ("town", reading.town))
        for name, outcome in (*parts, ("postcode", reading.postcode)):
            if name not in plan.mapped:
                self._keep(fields, step, row, name, outcome, bool(outcome.value or outcome.reasons))

    def _keep(
        self, fields: dict[str, str], step: _Step, row: RawRow, name: str, outcome: Outcome, given: bool
    ) -> None:
        self._report.record(name, outcome, given=given)
        if outcome.value:
            fields[name] = outcome.value
            return
        for reason in outcome.reasons:
            if reason.effect == "dropped":
                self._problems.add(Problem(row.table, row.line, step.label, reason))


@dataclass(frozen=True, slots=True)
class _Step:
    """One field rule with its columns worked out; ``label`` names them in reports."""

    name: str
    rule: FieldRule
    columns: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True, repr=False)
class _Birth:
    """What the cells of a date of birth come to."""

    outcome: Outcome
    given: bool
    year: str
    day_month: str


@dataclass(frozen=True, slots=True, repr=False)
class _Plan:
    """How the rows of one table become identities. Holding the rule keeps its ``id`` from being reused."""

    rule: TableRule
    plain: tuple[tuple[_Step, Callable[[str], Outcome]], ...]
    special: tuple[_Step, ...]
    names: tuple[_Step | None, _Step | None]
    mapped: frozenset[str]
    dates: DateRule
    births: dict[tuple[str, ...], _Birth]


def _name(given: str, family: str) -> dict[str, str]:
    return {key: value for key, value in zip(_NAME_FIELDS, (given, family), strict=True) if value}


def _overlay(
    current: Mapping[str, str], fields: Mapping[str, str], kind: FurtherKind
) -> dict[str, str] | None:
    """The current identity with another name or address; None where the row says nothing usable."""
    if not fields:
        return None
    if kind != "former_addresses":
        overlaid = {**current, **fields}
    else:
        overlaid = {**{key: value for key, value in current.items() if key not in _ADDRESS_FIELDS}, **fields}
    return overlaid if overlaid != current else None

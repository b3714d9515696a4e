"""Which rows would get no encoding though they can be read: the part of ``check-mapping`` after the reading.

It goes by the encoding section that ships; an agreement may have another one, with other facts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agency_node.config import OnInvalidValue
from agency_node.encoding import EncodingKeys, EncodingSection, default_section
from agency_node.encoding.subjects import SubjectEncoder
from agency_node.mapping import SubjectRule
from agency_node.normalise import NormalisationReport
from agency_node.sources import JoinedSource, Problem, ProblemLog, RawChunk, RowFault
from agency_node.sources.assemble import Assembler
from agency_node.subjects import Subject
from protos.wire.limits import LIMITS


@dataclass(frozen=True, slots=True, repr=False)
class _Candidate:
    """An identity, and the row that it comes from."""

    table: str
    line: int
    fields: Mapping[str, str]

    def problem(self, fault: RowFault, fields: Collection[str] = ()) -> Problem:
        """The fault at this row; it tells the fields that are to blame."""
        return Problem(self.table, self.line, "", fault, ", ".join(sorted(fields)))


class EncodingCheck:
    """Looks at subjects of one kind as an encoding would, and reports to the source's problems."""

    def __init__(self, source: JoinedSource, rule: SubjectRule, on_invalid: OnInvalidValue) -> None:
        shipped = default_section(rule.subject_type)
        # the section of places is narrow; whether officers accept that is not asked here
        section = EncodingSection.from_json(shipped, [rule.subject_type])
        nobodys = EncodingKeys.derive(bytes(32), "check-mapping", 1, shipped)
        self._encoder = SubjectEncoder(section, nobodys, on_invalid)
        self._rule = rule
        self._problems = source.problems
        # the rows of further tables are read once more; that must not count them twice
        self._again = Assembler(source.mapping.rules, NormalisationReport(), ProblemLog(), source.today)

    def check(self, chunk: RawChunk, subjects: Sequence[Subject]) -> None:
        """Report the rows of a chunk that would be left out; ``subjects`` are what it became."""
        candidates = [
            candidate
            for place, subject in enumerate(subjects)
            for candidate in self._candidates(chunk, place, subject)
        ]
        found = self._encoder.screen([candidate.fields for candidate in candidates])
        reported: dict[Problem, None] = {}  # a row that gives several identities is told once
        for place, candidate in enumerate(candidates):
            if place in found.too_few:
                reported[candidate.problem(RowFault.TOO_FEW_FACTS)] = None
            if place in found.blanked:
                reported[candidate.problem(RowFault.VALUE_BLANKED, found.blanked[place])] = None
            if place in found.refused:
                reported[candidate.problem(RowFault.VALUE_REFUSED, found.refused[place])] = None
        for problem in reported:
            self._problems.add(problem)
        self._report_surplus(chunk, subjects)

    def _report_surplus(self, chunk: RawChunk, subjects: Sequence[Subject]) -> None:
        for place, subject in enumerate(subjects):
            count, most = len(subject.identities), LIMITS.rows_per_subject
            if count > most:
                row = chunk.main.row(place)
                detail = f"{count}, of which {most} are taken"
                self._problems.add(Problem(row.table, row.line, "", RowFault.TOO_MANY_IDENTITIES, detail))

    def _candidates(self, chunk: RawChunk, place: int, subject: Subject) -> Iterator[_Candidate]:
        """The subject's identities; those that a row of a further table gives stand under that row."""
        current = dict(subject.identities[0].fields)
        line = chunk.main.lines[place]
        yield _Candidate(chunk.main.table, line, current)
        if len(subject.identities) == 1:
            return
        of_further: list[Mapping[str, str]] = []
        for further, found in zip(self._rule.further, chunk.sides, strict=True):
            for row in found.get(chunk.subjects[place], ()):
                for identity in self._again.identities(current, (), [(further, row)])[1:]:
                    of_further.append(identity.fields)
                    yield _Candidate(row.table, row.line, identity.fields)
        for identity in subject.identities[1:]:
            if identity.fields not in of_further:
                yield _Candidate(chunk.main.table, line, identity.fields)

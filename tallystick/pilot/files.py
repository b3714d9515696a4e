"""Agency files to encoded rows, streamed: of each row only its encoding and a few facts for the report stay.

The truth and name-origin columns are read beside the mapped fields and never become part of an identity, so
they cannot reach the encoder. What is kept of a row: its encoding (128 bytes), which fields it has, year of
birth, sex, its line and record number. A sample of subjects stays in memory for the node's decoys.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding import EncodedRows, EncodingKeys, EncodingReport, EncodingSection, encode_subjects
from agency_node.mapping import TableRule
from agency_node.normalise import NormalisationReport
from agency_node.normalise.postcodes import normalise_postcode
from agency_node.sources.assemble import Assembler
from agency_node.sources.delimited import read_delimited
from agency_node.sources.problems import Problem, ProblemLog
from agency_node.sources.rows import RawRow
from agency_node.subjects import Identity, Subject, SubjectId
from broker.matching.model import PartyRows
from tallystick.pilot.errors import PilotError
from tallystick.pilot.mapping import FileMapping

FACTS: Final = ("given_names", "family_name", "birth_year", "birth_day_month", "sex", "address", "postcode")
"""What the report looks at when it says which records lack something; bit ``i`` of ``Facts.held``."""

SAMPLE_SUBJECTS: Final = 50_000
LOOK_ROWS: Final = 2_000
_CHUNK: Final = 8_192
_SHARED_BY: Final = 2
_RARELY: Final = 0.01


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns that are for scoring and subgroups only: "" where there is none."""

    truth: str = ""
    origin: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are given."""
        return tuple(name for name in (self.truth, self.origin) if name)


@dataclass(frozen=True, slots=True)
class Facts:
    """Per subject, in file order: what the report says of it. The repr shows none of it.

    ``held`` (n,) a bit for each of :data:`FACTS`; ``year`` (n,) of birth, 0 unknown; ``sex`` (n,) ``M F X``
    or empty; ``line`` (n,); ``record_id``, ``truth``, ``origin``: texts, empty lists where not given.
    """

    held: NDArray[np.uint8] = field(repr=False)
    year: NDArray[np.int16] = field(repr=False)
    sex: NDArray[np.str_] = field(repr=False)
    line: NDArray[np.int64] = field(repr=False)
    record_id: list[str] = field(repr=False)
    truth: list[str] = field(repr=False)
    origin: list[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.line)


@dataclass(frozen=True, slots=True)
class PilotParty:
    """One agency of a pilot: its encoded rows, as the broker would hold them, and what stays at the node.

    :param owner: ``(rows,)`` position in the file of the subject of each encoded row.
    :param sample: subjects for decoys and for the what-if part; personal data.
    """

    agency: str
    file: str
    rows: PartyRows
    owner: NDArray[np.int64] = field(repr=False)
    facts: Facts
    sample: tuple[Subject, ...] = field(repr=False)
    report: NormalisationReport = field(repr=False)
    problems: ProblemLog = field(repr=False)
    encoding: EncodingReport = field(repr=False)

    def __len__(self) -> int:
        return len(self.facts)


@dataclass(frozen=True, slots=True)
class Reader:
    """How every file of a pilot is read and encoded."""

    section: EncodingSection
    keys: EncodingKeys
    columns: Columns
    today: date
    seed: int
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Look:
    """What the first rows of a file show: the share of rows that have each field, and valid UK postcodes."""

    rows: int
    share: dict[str, float]
    uk_postcodes: float | None


def look(mapping: FileMapping, today: date) -> Look:
    """Normalise the first rows only, to know what the file has before anything is encoded."""
    rule, rows = _open(mapping, (), ProblemLog())
    log, counts, seen = ProblemLog(), Counter[str](), 0
    assembler = Assembler(mapping.rules, NormalisationReport(), log, today)
    code = next((r for r in mapping.fields if r.name == "postcode"), None)
    given = valid = 0
    for row in islice(rows, LOOK_ROWS):
        seen += 1
        counts.update(
            assembler.subject("person", SubjectId("-"), (rule, row), ()).identities[0].fields.keys()
        )
        if code is not None and (text := code.cell.read(row.cells).strip()):
            given += 1
            valid += bool(normalise_postcode(text).value)
    share = {name: count / max(1, seen) for name, count in counts.items()}
    return Look(seen, share, valid / given if given else None)


def settle(
    mappings: Sequence[FileMapping], today: date
) -> tuple[list[FileMapping], frozenset[str], list[str]]:
    """Fit mappings to each other: the form of postcodes, and the fields that only one file has.

    :return: the mappings; the linkage fields to leave out, because a field that one file alone has only adds
        noise; and notes that say so.
    """
    notes: list[str] = []
    looks = [look(mapping, today) for mapping in mappings]
    foreign = any(seen.uk_postcodes is not None and seen.uk_postcodes < 0.5 for seen in looks)
    if foreign and not all(mapping.postcodes_given for mapping in mappings):
        notes.append("most postcodes do not have the UK's form: they are read as postal codes of any country")
        mappings = [replace(m, rules=replace(m.rules, postcodes="any")) for m in mappings]
        looks = [look(mapping, today) for mapping in mappings]
    having = Counter(name for seen in looks for name, share in seen.share.items() if share > _RARELY)
    alone = frozenset(name for name, count in having.items() if count < _SHARED_BY)
    for name in sorted(alone & set(FACTS)):
        owner = next(m.agency for m, s in zip(mappings, looks, strict=True) if s.share.get(name, 0) > _RARELY)
        notes.append(f"{name}: only {owner} has it, so it is left out")
    for name in FACTS:
        if not having[name]:
            notes.append(f"{name}: in none of the files")
        elif name not in alone:
            notes += [
                f"{m.agency}: has no {name}; rows of this agency are compared without it"
                for m, seen in zip(mappings, looks, strict=True)
                if seen.share.get(name, 0) <= _RARELY
            ]
    return list(mappings), alone, notes


def read_party(mapping: FileMapping, reader: Reader, leave_out: frozenset[str]) -> PilotParty:
    """Read, normalise and encode one file.

    :raises PilotError: the file has no usable row, or lacks a column that was asked for.
    :raises SourceError: the file cannot be read, with the line.
    """
    problems, report, encoding = ProblemLog(), NormalisationReport(), EncodingReport()
    gather = _Gather(mapping, reader, leave_out, problems, report)
    chunks = list(
        encode_subjects(
            reader.section, gather.subjects(), reader.keys, gather.handles, encoding, on_invalid="blank"
        )
    )
    if not len(gather.lines):
        lost = f"; all {problems.rows_lost:,} rows are malformed" if problems.rows_lost else ""
        first = f": {problems.listed[0].render()}" if problems.listed else ""
        raise PilotError(f"{mapping.header.path}: has no usable row{lost}{first}")
    rows = party_rows(mapping.agency, reader.section, chunks)
    return PilotParty(
        agency=mapping.agency,
        file=mapping.header.path.name,
        rows=rows,
        owner=_owners(chunks, rows),
        facts=gather.facts(),
        sample=tuple(gather.sample),
        report=report,
        problems=problems,
        encoding=encoding,
    )


def party_rows(agency: str, section: EncodingSection, chunks: Sequence[EncodedRows]) -> PartyRows:
    """Encoded chunks as the broker's columns."""
    return PartyRows(
        agency=agency,
        handles=np.concatenate([chunk.handles for chunk in chunks]),
        row_numbers=np.concatenate([chunk.row_numbers for chunk in chunks]).astype(np.int64),
        clks={p.name: np.concatenate([c.clks[p.name] for c in chunks]) for p in section.projections},
        present={
            p.name: np.concatenate([c.clk_present[p.name] for c in chunks]) for p in section.projections
        },
        exact={t.name: np.concatenate([c.tokens[t.name] for c in chunks]) for t in section.exact_tokens},
        exact_present={
            t.name: np.concatenate([c.token_present[t.name] for c in chunks]) for t in section.exact_tokens
        },
    )


class Handles(dict[SubjectId, bytes]):
    """A random handle for each subject, drawn from the pilot's seed when it is first asked for."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    def get(self, key: SubjectId, default: bytes | None = None) -> bytes | None:  # type: ignore[override]  # narrower
        """The handle; position within the file in its last bytes, so that it need not be kept."""
        return self._rng.randbytes(8) + int(key).to_bytes(8, "big")


def _owners(chunks: Sequence[EncodedRows], rows: PartyRows) -> NDArray[np.int64]:
    return np.ascontiguousarray(rows.handles[:, 8:]).view(">u8").astype(np.int64).ravel()


class _Gather:
    """Reads rows one after the other and keeps the facts of each."""

    def __init__(
        self,
        mapping: FileMapping,
        reader: Reader,
        leave_out: frozenset[str],
        problems: ProblemLog,
        report: NormalisationReport,
    ) -> None:
        self._mapping, self._columns, self._leave_out = mapping, reader.columns, leave_out
        self._progress = reader.progress
        self._rule, self._rows = _open(mapping, reader.columns.names, problems)
        self._assembler = Assembler(mapping.rules, report, problems, reader.today)
        self._rng = random.Random(f"pilot {reader.seed} {mapping.agency}")  # noqa: S311 - sampling, no secret
        self.handles = Handles(self._rng)
        self.sample: list[Subject] = []
        self.lines: list[int] = []
        self._held: list[int] = []
        self._years: list[int] = []
        self._sexes: list[str] = []
        self._ids: list[str] = []
        self._truth: list[str] = []
        self._origin: list[str] = []

    def subjects(self) -> Iterator[Subject]:
        """Every subject of the file, in file order, numbered from 0."""
        draw = random.Random(f"pilot sample {self._mapping.agency}")  # noqa: S311 - sampling, no secret
        for row in self._rows:
            number = len(self.lines)
            subject = self._assembler.subject("person", SubjectId(str(number)), (self._rule, row), ())
            if self._leave_out:
                subject = replace(subject, identities=tuple(map(self._without, subject.identities)))
            self._note(row, subject)
            if number < SAMPLE_SUBJECTS:
                self.sample.append(subject)
            elif (place := draw.randrange(number + 1)) < SAMPLE_SUBJECTS:
                self.sample[place] = subject
            if number and number % 100_000 == 0:
                self._progress(f"{self._mapping.agency}: {number:,} rows encoded")
            yield subject

    def facts(self) -> Facts:
        """What was noted of each row."""
        return Facts(
            held=np.array(self._held, np.uint8),
            year=np.array(self._years, np.int16),
            sex=np.array(self._sexes, np.str_),
            line=np.array(self.lines, np.int64),
            record_id=self._ids,
            truth=self._truth,
            origin=self._origin,
        )

    def _without(self, identity: Identity) -> Identity:
        return Identity({k: v for k, v in identity.fields.items() if k not in self._leave_out})

    def _note(self, row: RawRow, subject: Subject) -> None:
        fields = subject.identities[0].fields
        self.lines.append(row.line)
        self._held.append(sum(1 << bit for bit, name in enumerate(FACTS) if name in fields))
        self._years.append(int(fields.get("birth_year", "0")))
        self._sexes.append(fields.get("sex", ""))
        if self._mapping.record_id:
            self._ids.append(row.cells[self._mapping.record_id].strip())
        if self._columns.truth:
            self._truth.append(row.cells[self._columns.truth].strip())
        if self._columns.origin:
            self._origin.append(row.cells[self._columns.origin].strip())


def _open(
    mapping: FileMapping, beside: Sequence[str], problems: ProblemLog
) -> tuple[TableRule, Iterator[RawRow]]:
    header = mapping.header
    for column in beside:
        if column not in header.columns:
            raise PilotError(
                f'{header.path.name} has no column "{column}", which was named for scoring; '
                f"its columns are {', '.join(header.columns)}"
            )

    def report(problem: Problem) -> None:
        problems.add(problem)

    columns = tuple(dict.fromkeys((*mapping.columns, *beside)))
    rule = TableRule(header.path.name, mapping.record_id, mapping.fields)
    return rule, read_delimited(header.settings, header.path.name, columns, report)

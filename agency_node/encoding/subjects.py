"""Subjects to encoding rows: what a node uploads to the broker.

Every identity of a subject (its current one, aliases, former names and addresses) is one row under the
subject's handle. A row has, for each projection, a hardened CLK or none, and each exact token or none.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding.clk import BLOCK_ROWS, ClkEncoder
from agency_node.encoding.errors import HandleError
from agency_node.encoding.exact import exact_tokens
from agency_node.encoding.hardening import Hardener
from agency_node.encoding.keys import EncodingKeys
from agency_node.encoding.section import EncodingSection, Projection
from agency_node.subjects import Subject, SubjectId

HANDLE_BYTES = 16
MAX_IDENTITIES = 256
"""Row numbers are one byte."""

FEWEST_ROW_FACTS = 3
"""A row with fewer facts gets no CLK: it would match half the country and be easy to attack."""

OnInvalid = Literal["drop", "blank"]
"""What happens to a row with a value outside the schema's format: leave the row out, or encode it without
the value."""


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """A chunk of encoding rows, columnar; ``n`` rows of one or more subjects, a subject's rows together.

    ``handles`` (n, 16), ``row_numbers`` (n,), per projection ``clks`` (n, l / 8) and ``clk_present`` (n,),
    per exact token ``tokens`` (n, 32) and ``token_present`` (n,). Absent CLKs and tokens are zero bytes.
    """

    handles: NDArray[np.uint8]
    row_numbers: NDArray[np.uint8]
    clks: Mapping[str, NDArray[np.uint8]]
    clk_present: Mapping[str, NDArray[np.bool_]]
    tokens: Mapping[str, NDArray[np.uint8]]
    token_present: Mapping[str, NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(self.row_numbers)

    def __repr__(self) -> str:
        return f"EncodedRows(<{len(self)} rows>)"


@dataclass(slots=True)
class EncodingReport:
    """Counts of what was encoded and of what was not, and why; never a value.

    ``invalid`` counts values by (projection, field, reason), ``absent_clks`` rows by projection that had
    too little to encode, ``dropped_rows`` rows left out for an invalid value, ``surplus_identities`` those
    past the 256th.
    """

    subjects: int = 0
    rows: int = 0
    dropped_rows: int = 0
    surplus_identities: int = 0
    invalid: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    absent_clks: Counter[str] = field(default_factory=Counter)
    absent_tokens: Counter[str] = field(default_factory=Counter)

    def merge(self, other: "EncodingReport") -> None:
        """Add the counts of ``other`` to this report."""
        self.subjects += other.subjects
        self.rows += other.rows
        self.dropped_rows += other.dropped_rows
        self.surplus_identities += other.surplus_identities
        self.invalid.update(other.invalid)
        self.absent_clks.update(other.absent_clks)
        self.absent_tokens.update(other.absent_tokens)


@dataclass(frozen=True, slots=True)
class IdentityRows:
    """Rows to encode, column by column: ``handles`` (n, 16), ``numbers`` (n,) within their subject, and
    normalised ``values`` by linkage field ("" where missing; a field that no row has may be left out)."""

    handles: NDArray[np.uint8]
    numbers: NDArray[np.uint8]
    values: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        return f"IdentityRows(<{len(self)} rows>)"

    def column(self, field_name: str) -> Sequence[str]:
        """The values of one field."""
        return self.values.get(field_name) or [""] * len(self)

    def take(self, places: Sequence[int]) -> "IdentityRows":
        """The rows at these places."""
        values = {name: [column[place] for place in places] for name, column in self.values.items()}
        return IdentityRows(self.handles[places], self.numbers[places], values)

    def without(self, blamed: Mapping[int, Collection[str]]) -> "IdentityRows":
        """The same rows without the named fields of the rows at these places."""
        values = {name: list(column) for name, column in self.values.items()}
        for place, names in blamed.items():
            for name in names:
                if name in values:
                    values[name][place] = ""
        return IdentityRows(self.handles, self.numbers, values)


@dataclass(frozen=True, slots=True)
class Screening:
    """What would become of identities, by their place among those that were screened.

    ``refused`` are left out for values in the named fields, ``blanked`` are encoded without them, and
    ``too_few`` have neither a CLK nor an exact token, because too little is known.
    """

    refused: Mapping[int, Collection[str]]
    blanked: Mapping[int, Collection[str]]
    too_few: frozenset[int]


class _ProjectionEncoder:
    """Encodes one projection of rows: clkhash, then hardening."""

    def __init__(self, projection: Projection, keys: EncodingKeys) -> None:
        self.name = projection.name
        self._projection = projection
        self._clk = ClkEncoder(projection.schema, keys.clk(projection.name))
        self._hardener = Hardener(projection.hardening, keys.harden(projection.name), self._clk.bits)
        self._fewest_facts = min(FEWEST_ROW_FACTS, len(projection.facts))

    def encode(self, rows: IdentityRows) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
        """Hardened CLKs (n, l / 8) and which rows have one, or None when a row is invalid."""
        clks = self._clk.try_encode(self._columns(rows), len(rows))
        if clks is None:
            return None
        present = self.enough(rows)
        hardened = self._hardener.apply(clks)
        if not present.all():
            hardened = np.where(present[:, None], hardened, np.uint8(0))
        return hardened, present

    def enough(self, rows: IdentityRows) -> NDArray[np.bool_]:
        """Which rows have facts enough for a CLK (n,)."""
        return self._projection.count_facts(rows.values, len(rows)) >= self._fewest_facts

    def invalid(self, rows: IdentityRows) -> Iterator[tuple[int, str, str]]:
        """(row, field, reason) of every value that the schema refuses."""
        for row, column, reason in self._clk.invalid_entries(self._columns(rows)):
            yield row, self._projection.fields[column], reason

    def _columns(self, rows: IdentityRows) -> list[Sequence[str]]:
        return [rows.column(name) for name in self._projection.fields]


def encode_subjects(
    section: EncodingSection,
    subjects: Iterable[Subject],
    keys: EncodingKeys,
    handles: Mapping[SubjectId, bytes],
    report: EncodingReport,
    *,
    on_invalid: OnInvalid = "drop",
    chunk: int = BLOCK_ROWS,
) -> Iterator[EncodedRows]:
    """Encode subjects as a stream of chunks of about ``chunk`` rows; memory does not grow with the stream.

    ``handles`` gives each subject's random 16 bytes.  ``report`` is filled as the chunks are taken.  Raises
    HandleError for a subject without a handle and clkhash's SchemaError for a bad schema.
    """
    yield from SubjectEncoder(section, keys, on_invalid).encode(subjects, handles, report, chunk=chunk)


class SubjectEncoder:
    """:func:`encode_subjects` for several calls, which share what was worked out once. Not thread-safe."""

    def __init__(self, section: EncodingSection, keys: EncodingKeys, on_invalid: OnInvalid = "drop") -> None:
        self._section = section
        self._keys = keys
        self._on_invalid: OnInvalid = on_invalid
        self._projections = [_ProjectionEncoder(projection, keys) for projection in section.projections]

    def __repr__(self) -> str:
        return f"<SubjectEncoder: {len(self._projections)} projections, keys hidden>"

    def encode(
        self,
        subjects: Iterable[Subject],
        handles: Mapping[SubjectId, bytes],
        report: EncodingReport,
        *,
        chunk: int = BLOCK_ROWS,
    ) -> Iterator[EncodedRows]:
        """As :func:`encode_subjects`."""
        rows = _rows(subjects, handles, report)
        while batch := list(islice(rows, chunk)):
            yield self.encode_rows(_in_columns(batch), report)

    def encode_rows(self, rows: IdentityRows, report: EncodingReport) -> EncodedRows:
        """Encode rows of subjects that were counted already; those left out are counted in ``report``."""
        encoded = _encode_projections(self._projections, rows)
        if encoded is None:
            rows = _valid_rows(self._projections, rows, report, self._on_invalid)
            encoded = _encode_projections(self._projections, rows)
            assert encoded is not None, "rows were screened with the schema's own rules"
        clks = {name: pair[0] for name, pair in encoded.items()}
        clk_present = {name: pair[1] for name, pair in encoded.items()}
        tokens, token_present = {}, {}
        for token in self._section.exact_tokens:
            columns = [rows.column(name) for name in token.fields]
            tokens[token.name], token_present[token.name] = exact_tokens(token, columns, self._keys)
        report.rows += len(rows)
        for name, present in clk_present.items():
            report.absent_clks[name] += int((~present).sum())
        for name, present in token_present.items():
            report.absent_tokens[name] += int((~present).sum())
        return EncodedRows(rows.handles, rows.numbers, clks, clk_present, tokens, token_present)

    def screen(self, identities: Sequence[Mapping[str, str]]) -> Screening:
        """What :meth:`encode` would make of identities, given by their fields, without encoding them."""
        rows = _in_columns([(bytes(HANDLE_BYTES), 0, fields) for fields in identities])
        refused, blanked = _invalid_fields(self._projections, rows, EncodingReport()), {}
        if self._on_invalid == "blank" and refused:
            blanked, rows = refused, rows.without(refused)
            refused = _invalid_fields(self._projections, rows, EncodingReport())
        encoded = np.zeros(len(rows), np.bool_)
        for projection in self._projections:
            encoded |= projection.enough(rows)
        for token in self._section.exact_tokens:
            columns = [rows.column(name) for name in token.fields]
            encoded |= np.fromiter(map(all, zip(*columns, strict=True)), np.bool_, len(rows))
        too_few = frozenset(np.flatnonzero(~encoded).tolist())
        return Screening(
            refused,
            {place: names for place, names in blanked.items() if place not in refused},
            too_few - refused.keys(),
        )


_Row = tuple[bytes, int, Mapping[str, str]]


def handle_bytes(
    handles: Mapping[SubjectId, bytes], subjects: Sequence[SubjectId], first: int = 1
) -> NDArray[np.uint8]:
    """The subjects' handles (n, 16). HandleError for one that has none, which names it by its number in this
    run, where the first of these has number ``first``."""
    found = [handles.get(subject) for subject in subjects]
    own = [handle for handle in found if handle is not None and len(handle) == HANDLE_BYTES]
    if len(own) < len(found):
        number = next(
            n for n, handle in enumerate(found, first) if handle is None or len(handle) != HANDLE_BYTES
        )
        raise HandleError(
            f"subject number {number} of this run has no {HANDLE_BYTES}-byte handle; "
            "assign handles for the epoch before encoding"
        )
    return np.frombuffer(b"".join(own), dtype=np.uint8).reshape(-1, HANDLE_BYTES)


def _rows(
    subjects: Iterable[Subject], handles: Mapping[SubjectId, bytes], report: EncodingReport
) -> Iterator[_Row]:
    for subject in subjects:
        handle = handle_bytes(handles, [subject.subject_id], report.subjects + 1).tobytes()
        report.subjects += 1
        report.surplus_identities += max(0, len(subject.identities) - MAX_IDENTITIES)
        for number, identity in enumerate(subject.identities[:MAX_IDENTITIES]):
            yield handle, number, identity.fields


def _in_columns(rows: Sequence[_Row]) -> IdentityRows:
    names = dict.fromkeys(name for _, _, values in rows for name in values)
    return IdentityRows(
        np.frombuffer(b"".join(row[0] for row in rows), dtype=np.uint8).reshape(-1, HANDLE_BYTES),
        np.fromiter((row[1] for row in rows), dtype=np.uint8, count=len(rows)),
        {name: [values.get(name, "") for _, _, values in rows] for name in names},
    )


def _encode_projections(
    projections: list[_ProjectionEncoder], rows: IdentityRows
) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]] | None:
    encoded = {}
    for projection in projections:
        result = projection.encode(rows)
        if result is None:
            return None
        encoded[projection.name] = result
    return encoded


def _valid_rows(
    projections: list[_ProjectionEncoder], rows: IdentityRows, report: EncodingReport, on_invalid: OnInvalid
) -> IdentityRows:
    """The rows that every projection accepts; invalid values are counted, then blanked or their rows
    dropped."""
    invalid = _invalid_fields(projections, rows, report)
    if on_invalid == "blank":
        rows = rows.without(invalid)
        # A schema may refuse the blank too (a field that must be there); such rows go.
        invalid = _invalid_fields(projections, rows, report)
    report.dropped_rows += len(invalid)
    return rows.take([place for place in range(len(rows)) if place not in invalid]) if invalid else rows


def _invalid_fields(
    projections: list[_ProjectionEncoder], rows: IdentityRows, report: EncodingReport
) -> dict[int, set[str]]:
    """Fields to blame by row."""
    blamed: dict[int, set[str]] = {}
    for projection in projections:
        for index, name, reason in projection.invalid(rows):
            report.invalid[projection.name, name, reason] += 1
            blamed.setdefault(index, set()).add(name)
    return blamed

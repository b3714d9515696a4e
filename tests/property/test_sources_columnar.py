"""Columns at a time give what rows one by one give: blocks of a file, cells, identities and all counts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency_node.encoding import (
    EncodingKeys,
    EncodingReport,
    EncodingSection,
    default_section,
    encode_subjects,
)
from agency_node.mapping import CsvSettings, SourceMapping, load_mapping
from agency_node.normalise import NormalisationReport, Outcome
from agency_node.normalise.names import _read_part, _read_unusual_part
from agency_node.normalise.numbers import are_plain_nhs_numbers, normalise_nhs_number
from agency_node.pipeline import ChunkEncoder, EncodingJob
from agency_node.sources import CsvFolderSource
from agency_node.sources.assemble import Assembler
from agency_node.sources.columnar import ColumnAssembler
from agency_node.sources.delimited import read_blocks
from agency_node.sources.problems import Problem, ProblemLog
from agency_node.sources.rows import RawRow
from agency_node.subjects import SubjectId

TODAY = date(2026, 1, 1)
CELLS = (
    "", " ", "Anna", "ANNA", "anna  maria", "Mr Bob", "Jones (nee Smith)", 'William "Bill"', "O'Brien",
    "UNKNOWN", "Zo\u00eb", "N/A", "03/04/1980", "1980-01-01", "31/02/1990", "1900-01-01", "04/17/1975", "M",
    "2", "?", "12", "Flat 2", "High St", "LEEDS", "LS1 4AP", "LS14AP", "ZZ99 3VZ", "LSI 4AP", "9434765919",
    "943 476 5919", "9434765918", "9990000000", "1111111111", "SMITH, John aka Jack",
    "12 High St, Leeds, LS1 4AP", "7", "Baby",
)  # fmt: skip
SEPARATE = """
[people.fields]
given_names = "a"
family_name = "b"
date_of_birth = { day = "c", month = "d", year = "e" }
sex = { column = "f", values = { "7" = "M" } }
house = { template = "{c} {d}" }
street = { columns = ["e", "f"] }
town = { constant = "Leeds" }
postcode = "g"
nhs_number = "h"
[[people.markers]]
marker = "refuge"
column = "f"
values = ["M", "7"]
unmarked_values = ["Anna"]
[[people.markers]]
marker = "restricted"
column = "f"
values = ["2"]
[[people.former_names]]
table = "names.csv"
subject_id = "id"
fields = { family_name = "was" }
"""
JOINED = """
[people.fields]
full_name = "a"
family_name = "b"
date_of_birth = "c"
full_address = "d"
town = "e"
sex = "f"
postcode = "g"
nhs_number = { column = "h", values = { "7" = "9434765919" } }
"""


def register(
    folder: Path, fields: str, rows: list[list[str]], former: list[tuple[int, str]]
) -> SourceMapping:
    quoted = ('"' + '","'.join(cell.replace('"', '""') for cell in row) + '"\n' for row in rows)
    people = "".join(f"{number},{row}" for number, row in enumerate(quoted))
    (folder / "people.csv").write_text("id,a,b,c,d,e,f,g,h\n" + people, encoding="utf-8")
    (folder / "names.csv").write_text(
        "id,was\n" + "".join(f'{number},"{name}"\n' for number, name in former if '"' not in name),
        encoding="utf-8",
    )
    text = '[source]\n[people]\ntable = "people.csv"\nsubject_id = "id"\n' + fields
    (folder / "m.toml").write_text(text, encoding="utf-8")
    return load_mapping(folder / "m.toml")


@settings(max_examples=40, deadline=None)
@given(
    fields=st.sampled_from([SEPARATE, JOINED]),
    rows=st.lists(st.lists(st.sampled_from(CELLS), min_size=8, max_size=8), min_size=1, max_size=30),
    former=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(CELLS)), max_size=6),
)
def test_identities_counts_and_encodings_are_those_of_the_row_by_row_way(
    fields: str, rows: list[list[str]], former: list[tuple[int, str]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        mapping = register(Path(name), fields, rows, former)
        with CsvFolderSource(mapping, today=TODAY) as source:
            (chunk,) = source.raw_chunks("person", chunk=100)
    rule = mapping.subject_rule("person")
    assert rule is not None
    by_row, by_column = (NormalisationReport(), ProblemLog()), (NormalisationReport(), ProblemLog())
    subjects = Assembler(mapping.rules, *by_row, TODAY).subjects(rule, chunk)
    assembler = ColumnAssembler(rule, mapping.rules, *by_column, TODAY)
    columns = assembler.read(chunk)
    assert list(assembler.subjects(chunk, columns, len(chunk))) == subjects
    assert by_column[0].to_json() == by_row[0].to_json()
    assert by_column[1].counts == by_row[1].counts

    section = default_section("person")
    checked = EncodingSection.from_json(section)
    keys = EncodingKeys.derive(bytes(32), "linkage", 1, section)
    handles = {SubjectId(subject): int(subject).to_bytes(16, "big") for subject in chunk.subjects}
    counts = EncodingReport()
    (expected,) = encode_subjects(checked, subjects, keys, handles, counts, on_invalid="blank")
    job = EncodingJob(rule, mapping.rules, TODAY, checked, keys, "blank", 256)
    encoded = ChunkEncoder(job).encode(chunk, handles)
    assert encoded.encoding == counts
    for ours, theirs in ((encoded.rows[0].clks, expected.clks), (encoded.rows[0].tokens, expected.tokens)):
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    assert np.array_equal(encoded.rows[0].handles, expected.handles)
    assert np.array_equal(encoded.rows[0].row_numbers, expected.row_numbers)


LINES = st.lists(
    st.sampled_from(
        ["1,a,b", '2,"a","b"', "3,a", "4,a,b,c", '5,"a', 'b",c', '6,a"b,c', " 7, a, b", "", "8,\u00e9,\udcff",
         "9,\x00,b", '10,"a""b",c', '11,"a"b,c']
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(lines=LINES, end=st.sampled_from(["\n", "\r\n", "\r"]), size=st.integers(1, 7), last=st.booleans())
def test_blocks_of_any_size_hold_the_same_rows_and_report_the_same_faults(
    lines: list[str], end: str, size: int, last: bool
) -> None:
    text = end.join(["id,x,y", *lines]) + end * last
    with tempfile.TemporaryDirectory() as name:
        Path(name, "t.csv").write_bytes(text.encode("utf-8", "surrogateescape"))

        def read(size: int) -> tuple[list[RawRow], list[Problem]]:
            problems: list[Problem] = []
            blocks = list(read_blocks(CsvSettings(Path(name)), "t.csv", ("y", "id"), problems.append, size))
            assert all(0 < len(block) <= size for block in blocks)
            return [row for block in blocks for row in block.rows()], problems

        assert read(size) == read(1)


@settings(max_examples=300, deadline=None)
@given(
    words=st.lists(
        st.sampled_from(["Anna", "ANNA", "van", "Mr", "nee", "aka", "A", "K", "f", "x", "Unknown", "Jr",
                         "Baby", "Boy", "o", "Z", "Jones", "formerly", "known", "PREV", "born", "Twin"]),
        max_size=4,
    ),
    family=st.booleans(),
)  # fmt: skip
def test_the_short_way_to_read_a_name_agrees_with_the_long_one(words: list[str], family: bool) -> None:
    text = " ".join(words)
    assert _read_part(text, family=family) == _read_unusual_part(text, family=family)


@pytest.mark.parametrize(
    "change", [lambda text: text, lambda text: "9" + text[1:], lambda text: text[0] * 10]
)
def test_plain_nhs_numbers_are_those_that_normalising_leaves_alone(change: Callable[[str], str]) -> None:
    cells = [change(f"{number * 7919 + 4_000_000_000:010d}") for number in range(500)]
    cells += ["", "943 476 5919", "9434765919 ", "943476591\u0669", "abcdefghij", "/434765919", "9990000000"]
    plain = [normalise_nhs_number(cell) == Outcome(cell) and bool(cell) for cell in cells]
    assert are_plain_nhs_numbers(cells).tolist() == plain

"""Mapping files: what is read, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency_node.mapping import CsvSettings, MappingError, SqlSettings, load_mapping

_GOOD = """
[source]
kind = "csv"
folder = "data"

[people]
table = "people.csv"
subject_id = "id"

[people.fields]
given_names = "forename"
family_name = { columns = ["middle", "surname"] }
date_of_birth = { day = "d", month = "m", year = "y" }
town = { constant = "Leeds" }
street = { template = "{a} {b}" }

[[people.aliases]]
table = "aliases.csv"
subject_id = "id"
fields = { family_name = "alias" }

[[records]]
record_type = "incident"
table = "incidents.csv"
record_id = "no"
subject_id = "id"
occurred = { column = "when", formats = ["%Y%m%d"] }

[records.fields]
summary = "text"
injuries = { column = "n", type = "integer" }
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "mapping.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_mapping_is_read(tmp_path: Path) -> None:
    mapping = load_mapping(_write(tmp_path, _GOOD))
    assert mapping.source == CsvSettings(tmp_path / "data")
    people = mapping.subject_rule("person")
    assert people is not None
    assert people.main.columns == ("id", "forename", "middle", "surname", "d", "m", "y", "a", "b")
    assert [further.kind for further in people.further] == ["aliases"]
    assert mapping.subject_rule("place") is None
    assert mapping.records[0].columns == ("id", "no", "when", "text", "n")
    assert mapping.records[0].occurred is not None
    assert mapping.records[0].occurred.dates is not None
    assert mapping.records[0].occurred.dates.first_of_january == "keep"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("given_names =", "given_nams =", 11, ["people.fields.given_nams", 'did you mean "given_names"?']),
        (
            'folder = "data"',
            'foldr = "data"',
            4,
            ["source.foldr", "not a known key", 'did you mean "folder"?'],
        ),
        ('kind = "csv"', 'kind = "cvs"', 3, ["source.kind", "must be one of csv, sql"]),
        ('kind = "csv"', 'kind = "csv"\nencoding = "utf-9"', 4, ["source.encoding", "cp1252"]),
        ('kind = "csv"', 'kind = "csv"\ndelimiter = ";;"', 4, ["source.delimiter", "one character"]),
        ('kind = "csv"', 'kind = "csv"\non_bad_row = "stop"', 4, ["source.on_bad_row", "skip, refuse"]),
        ('subject_id = "id"\n\n[people', "\n[people", 6, ["people.subject_id", "is missing"]),
        ('{ constant = "Leeds" }', '{ constant = "x", column = "y" }', 14, ["exactly one of"]),
        ('"{a} {b}"', '"{a.__class__}"', 15, ["plain places"]),
        ('"{a} {b}"', '"{a"', 15, ["unpaired brace"]),
        ('"{a} {b}"', '"High Street"', 15, ["use constant"]),
        (
            'type = "integer"',
            'type = "int"',
            31,
            ["records[1].fields.injuries.type", 'did you mean "integer"?'],
        ),
        ('record_id = "no"', "record_id = 7", 25, ["records[1].record_id", "text in quotes"]),
        ('["%Y%m%d"]', '["Ymd"]', 27, ["strptime"]),
        (
            'record_type = "incident"',
            'record_type = "incident"\nsubject_type = "place"',
            22,
            ["does not map"],
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, words: list[str]
) -> None:
    assert old in _GOOD
    with pytest.raises(MappingError) as caught:
        load_mapping(_write(tmp_path, _GOOD.replace(old, new, 1)))
    message = str(caught.value)
    assert message.startswith(f"mapping.toml, line {line}, ")
    for word in words:
        assert word in message


def test_broken_toml_and_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="not valid TOML"):
        load_mapping(_write(tmp_path, "[source"))
    with pytest.raises(MappingError, match="cannot be read"):
        load_mapping(tmp_path / "none.toml")
    with pytest.raises(MappingError, match=r"begin with \[source\]"):
        load_mapping(_write(tmp_path, ""))
    with pytest.raises(MappingError, match=r"needs \[people\] or \[places\]"):
        load_mapping(_write(tmp_path, '[source]\nfolder = "."\n'))
    (tmp_path / "mapping.toml").write_bytes(b"# \xff\n")
    with pytest.raises(MappingError, match="not UTF-8"):
        load_mapping(tmp_path / "mapping.toml")


def test_a_database_url_comes_from_the_environment_and_is_never_shown(tmp_path: Path) -> None:
    text = _GOOD.replace('kind = "csv"\nfolder = "data"', 'kind = "sql"\nurl_env = "CASES_URL"')
    path = _write(tmp_path, text)
    mapping = load_mapping(path, {"CASES_URL": "postgresql+psycopg://u:secret@db/cases"})
    assert isinstance(mapping.source, SqlSettings)
    assert "secret" not in repr(mapping)
    with pytest.raises(MappingError, match="environment variable that is not set"):
        load_mapping(path, {})


def test_the_example_mapping_loads() -> None:
    path = Path(__file__).parents[2] / "deploy" / "examples" / "mapping" / "police.toml"
    assert load_mapping(path).records[0].record_type == "incident"

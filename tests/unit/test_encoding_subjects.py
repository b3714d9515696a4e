"""Subjects to rows: columns, keys, what is left out and how it is counted."""

import copy
from typing import Any

import numpy as np
import pytest

from agency_node.encoding import (
    EncodedRows,
    EncodingKeys,
    EncodingReport,
    EncodingSection,
    EncodingSectionError,
    HandleError,
    Hardener,
    NarrowProjectionError,
    default_section,
    encode_clks,
    encode_subjects,
)
from agency_node.encoding.exact import exact_token
from agency_node.encoding.subjects import OnInvalid
from agency_node.subjects import Identity, Subject, SubjectId

SUSAN = {
    "given_names": "SUSAN",
    "family_name": "OBRIEN",
    "date_of_birth": "1980-03-14",
    "birth_year": "1980",
    "birth_day_month": "03-14",
    "sex": "F",
    "address": "14 HIGH STREET",
    "town": "LEEDS",
    "postcode": "LS11AA",
    "nhs_number": "9434765919",
}
KEY = bytes(range(32))


def subject(number: int, *identities: dict[str, str]) -> Subject:
    return Subject(SubjectId(str(number)), "person", tuple(map(Identity, identities)))


def handle(number: int) -> bytes:
    return number.to_bytes(16, "big")


def run(
    subjects: list[Subject],
    section: dict[str, Any] | None = None,
    *,
    on_invalid: OnInvalid = "drop",
    chunk: int = 1000,
    epoch: int = 1,
) -> tuple[list[EncodedRows], EncodingReport, EncodingKeys]:
    document = section or default_section("person")
    keys = EncodingKeys.derive(KEY, "harm", epoch, document)
    report = EncodingReport()
    handles = {one.subject_id: handle(int(one.subject_id)) for one in subjects}
    checked = EncodingSection.from_json(document)
    rows = list(encode_subjects(checked, subjects, keys, handles, report, on_invalid=on_invalid, chunk=chunk))
    return rows, report, keys


def test_rows_are_clkhash_then_diffusion_under_the_projection_keys() -> None:
    (rows,), report, keys = run([subject(7, SUSAN)])
    section = EncodingSection.from_json(default_section("person"))
    projection = section.projections[0]
    plain = encode_clks([[SUSAN[name] for name in projection.fields]], projection.schema, keys.clk("person"))
    hardened = Hardener(projection.hardening, keys.harden("person"), 1024).apply(plain)
    assert np.array_equal(rows.clks["person"], hardened)
    assert rows.clk_present["person"].tolist() == [True]
    assert rows.tokens["nhs-dob"][0].tobytes() == exact_token(section.exact_tokens[0], SUSAN, keys)
    assert rows.handles.tobytes() == handle(7)
    assert (report.subjects, report.rows) == (1, 1)
    assert "OBRIEN" not in repr(rows) + repr(report) + repr(keys)


def test_former_names_are_further_rows_of_the_same_handle() -> None:
    subjects = [subject(1, SUSAN, SUSAN | {"family_name": "SMITH"}), subject(2, SUSAN)]
    (rows,), _, _ = run(subjects)
    assert rows.row_numbers.tolist() == [0, 1, 0]
    assert [bytes(row) for row in rows.handles] == [handle(1), handle(1), handle(2)]
    clks = rows.clks["person"]
    assert np.array_equal(clks[0], clks[2])
    assert not np.array_equal(clks[0], clks[1])


def test_chunks_do_not_change_what_is_encoded() -> None:
    subjects = [subject(n, SUSAN | {"given_names": f"NAME {chr(65 + n)}"}) for n in range(7)]
    (whole,), _, _ = run(subjects)
    parts, report, _ = run(subjects, chunk=3)
    assert [len(part) for part in parts] == [3, 3, 1]
    assert np.array_equal(np.concatenate([part.clks["person"] for part in parts]), whole.clks["person"])
    assert report.rows == 7


def test_a_missing_part_of_an_exact_token_leaves_it_out() -> None:
    incomplete = {name: value for name, value in SUSAN.items() if name != "nhs_number"}
    (rows,), report, _ = run([subject(1, incomplete), subject(2, SUSAN)])
    assert rows.token_present["nhs-dob"].tolist() == [False, True]
    assert not rows.tokens["nhs-dob"][0].any()
    assert report.absent_tokens["nhs-dob"] == 1


def test_exact_tokens_cannot_be_confused_by_moving_characters_between_fields() -> None:
    section = EncodingSection.from_json(default_section("person"))
    keys = EncodingKeys.derive(KEY, "harm", 1, default_section("person"))
    token = section.exact_tokens[0]
    one = exact_token(token, {"nhs_number": "12", "date_of_birth": "3"}, keys)
    two = exact_token(token, {"nhs_number": "1", "date_of_birth": "23"}, keys)
    assert one != two


def test_a_row_with_hardly_any_facts_has_no_clk() -> None:
    (rows,), report, _ = run([subject(1, {"given_names": "SUSAN", "sex": "F"}), subject(2, SUSAN)])
    assert rows.clk_present["person"].tolist() == [False, True]
    assert not rows.clks["person"][0].any()
    assert report.absent_clks["person"] == 1


def test_invalid_rows_are_dropped_and_counted_without_their_values() -> None:
    subjects = [
        subject(1, SUSAN | {"postcode": "ls1 secret"}),
        subject(2, SUSAN),
        subject(3, SUSAN | {"sex": "?"}),
    ]
    (rows,), report, _ = run(subjects)
    assert [bytes(row) for row in rows.handles] == [handle(2)]
    assert report.dropped_rows == 2
    assert {(field, count) for (_, field, _), count in report.invalid.items()} == {
        ("postcode", 1),
        ("sex", 1),
    }
    assert "secret" not in repr(report)


def test_invalid_values_can_be_blanked_instead() -> None:
    wrong, without = SUSAN | {"postcode": "ls1 secret"}, {k: v for k, v in SUSAN.items() if k != "postcode"}
    (rows,), report, _ = run([subject(1, wrong), subject(2, without)], on_invalid="blank")
    assert np.array_equal(rows.clks["person"][0], rows.clks["person"][1])
    assert (report.rows, report.dropped_rows, sum(report.invalid.values())) == (2, 0, 1)


def test_a_blank_that_the_schema_refuses_drops_the_row() -> None:
    section: Any = default_section("person")
    postcode = section["projections"][0]["schema"]["features"][-1]
    assert postcode["identifier"] == "postcode"
    del postcode["hashing"]["missingValue"]
    parts, report, _ = run(
        [subject(1, SUSAN | {"postcode": "?"}), subject(2, SUSAN)], section, on_invalid="blank"
    )
    assert [len(part) for part in parts] == [1]
    assert report.dropped_rows == 1


def test_a_subject_without_a_handle_is_refused() -> None:
    document = default_section("person")
    keys = EncodingKeys.derive(KEY, "harm", 1, document)
    section = EncodingSection.from_json(document)
    for handles in ({}, {SubjectId("1"): b"short"}):
        with pytest.raises(HandleError):
            list(encode_subjects(section, [subject(1, SUSAN)], keys, handles, EncodingReport()))


def test_more_identities_than_row_numbers_are_counted() -> None:
    (rows,), report, _ = run([subject(1, *[SUSAN] * 260)])
    assert (len(rows), report.surplus_identities) == (256, 4)


def test_linkage_epoch_schema_and_projection_separate_the_keys() -> None:
    document: Any = default_section("person")
    other: Any = copy.deepcopy(document)
    other["minimum_fields"] = 6
    keys = EncodingKeys.derive(KEY, "harm", 1, document)
    assert keys == EncodingKeys.derive(KEY, "harm", 1, document)
    different = [
        EncodingKeys.derive(KEY, "harm", 2, document),
        EncodingKeys.derive(KEY, "other", 1, document),
        EncodingKeys.derive(KEY, "harm", 1, other),
        EncodingKeys.derive(bytes(32), "harm", 1, document),
    ]
    secrets = [item.clk("person") for item in [keys, *different]]
    secrets += [keys.clk("place"), keys.harden("person"), keys.exact("person"), keys.dummy, keys.identity]
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret) == 32 for secret in secrets)


def test_a_narrow_projection_needs_an_exception() -> None:
    document = default_section("place")
    with pytest.raises(NarrowProjectionError, match="'place'"):
        EncodingSection.from_json(document)
    assert EncodingSection.from_json(document, narrow_exceptions={"place"}).projections[0].name == "place"


def test_parts_of_one_fact_count_once() -> None:
    document: Any = default_section("person")
    schema = document["projections"][0]["schema"]
    kept = {"given_names", "family_name", "birth_year", "birth_day_month", "sex"}
    schema["features"] = [item for item in schema["features"] if item["identifier"] in kept]
    with pytest.raises(NarrowProjectionError, match="made of 4"):
        EncodingSection.from_json(document)


def test_ignored_features_are_not_facts() -> None:
    document: Any = default_section("person")
    features = document["projections"][0]["schema"]["features"]
    features[:] = [
        item if index < 4 else {"identifier": item["identifier"], "ignored": True}
        for index, item in enumerate(features)
    ]
    with pytest.raises(NarrowProjectionError):
        EncodingSection.from_json(document)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.pop("minimum_fields"),
        lambda document: document.update(minimum_fields=4),
        lambda document: document.update(minimum_fields=True),
        lambda document: document.update(extra=1),
        lambda document: document.update(projections=[], exact_tokens=[]),
        lambda document: document["projections"].append(document["projections"][0]),
        lambda document: document["projections"][0].update(name=""),
        lambda document: document["projections"][0]["schema"]["features"][0].update(identifier="shoe_size"),
        lambda document: document["projections"][0]["schema"].update(features=[]),
        lambda document: document["exact_tokens"][0].update(fields=[]),
        lambda document: document["exact_tokens"][0].update(fields=["upn", "upn"]),
        lambda document: document["exact_tokens"].append("upn"),
    ],
)
def test_a_malformed_section_is_refused(spoil: Any) -> None:
    document: Any = default_section("person")
    spoil(document)
    with pytest.raises(EncodingSectionError):
        EncodingSection.from_json(document)

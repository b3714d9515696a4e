"""clkhash 0.18.3 is the oracle: for generated schemas and rows, the same bytes or the same error."""

import base64
import random
from copy import deepcopy
from datetime import date
from typing import Any

import numpy as np
import pytest
from clkhash.clk import generate_clks
from clkhash.schema import from_json_dict
from clkhash.validate_data import FormatError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from agency_node.encoding import ClkEncoder, encode_clks, iter_encode

Schema = dict[str, Any]
Row = tuple[str, ...]

WORDS = st.text(alphabet="abcABCéß 01'-Σσ語\U0001f600", max_size=12)
CASED = {
    "upper": st.text(alphabet="ABC 01'-Σ", min_size=1, max_size=7),
    "lower": st.text(alphabet="abc 01'-é", min_size=1, max_size=7),
    "mixed": st.text(alphabet="ABCabc -", min_size=1, max_size=7),
}
ANY_TEXT = st.text(max_size=6)


def reference(rows: list[Row], schema: Schema, secret: bytes) -> tuple[str, object]:
    try:
        filters = generate_clks(rows, from_json_dict(deepcopy(schema)), secret, max_workers=1)
    except Exception as error:  # noqa: BLE001  the point is to compare whatever is raised
        return type(error).__name__, str(error)
    return "bytes", [clk.tobytes() for clk in filters]


def ours(rows: list[Row], schema: Schema, secret: bytes) -> tuple[str, object]:
    try:
        clks = encode_clks(rows, schema, secret)
    except Exception as error:  # noqa: BLE001  the point is to compare whatever is raised
        return type(error).__name__, str(error)
    assert clks.dtype == np.uint8
    assert clks.shape == (len(rows), -(-schema["clkConfig"]["l"] // 8))
    return "bytes", [row.tobytes() for row in clks]


@st.composite
def comparisons(draw: DrawFn, numbers: bool) -> dict[str, Any]:
    kind = draw(st.sampled_from(["ngram", "ngram", "exact", "numeric" if numbers else "ngram"]))
    if kind == "ngram":
        comparison: dict[str, Any] = {"type": "ngram", "n": draw(st.integers(1, 5))}
        if draw(st.booleans()):
            comparison["positional"] = draw(st.booleans())
        return comparison
    if kind == "exact":
        return {"type": "exact"}
    return {
        "type": "numeric",
        "thresholdDistance": draw(st.sampled_from([0.5, 1, 2.5, 3, 10])),
        "resolution": draw(st.integers(1, 4)),
        "fractional_precision": draw(st.integers(0, 2)),
    }


@st.composite
def formats(draw: DrawFn, spoil: bool) -> tuple[dict[str, Any], SearchStrategy[str]]:
    """A format and a strategy of values, most of them valid for it."""
    kind = draw(st.sampled_from(["text", "cased", "pattern", "integer", "date", "enum"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-32", "ascii" if spoil else "utf-8"]))
    if kind == "text":
        return {"type": "string", "encoding": encoding}, WORDS
    if kind == "cased":
        limits = {
            "minLength": draw(st.integers(0, 2 if spoil else 1)),
            "maxLength": draw(st.integers(3 if spoil else 7, 12)),
        }
        case = draw(st.sampled_from(["upper", "lower", "mixed"]))
        return {"type": "string", "encoding": encoding, "case": case, **limits}, CASED[case]
    if kind == "pattern":
        return {"type": "string", "pattern": "[A-Z]{1,2}[0-9]*"}, st.from_regex(r"\A[A-Z]{1,2}[0-9]{0,4}\Z")
    if kind == "integer":
        digits = st.integers(-50 if spoil else -40, 45).flatmap(
            lambda n: st.sampled_from([str(n), f" {n}", f"{n:+d}", f"{n:04d}"])
        )
        return {"type": "integer", "minimum": -40, "maximum": 45}, digits
    if kind == "date":
        layout = draw(st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%Y%m%d"]))
        return {"type": "date", "format": layout}, st.dates(
            min_value=date(1000 if not spoil else 1, 1, 1)
        ).map(lambda day: day.strftime(layout))
    return {"type": "enum", "values": ["M", "F", ""]}, st.sampled_from(["M", "F", ""])


@st.composite
def features(
    draw: DrawFn, number: int, hashes: list[str], spoil: bool
) -> tuple[dict[str, Any], SearchStrategy[str]]:
    identifier = f"field{number}"
    if draw(st.integers(0, 9)) == 0:
        return {"identifier": identifier, "ignored": True}, ANY_TEXT
    layout, values = draw(formats(spoil))
    strategy = draw(st.sampled_from(["bitsPerToken", "bitsPerFeature"]))
    hashing: dict[str, Any] = {
        "comparison": draw(comparisons(layout["type"] == "integer")),
        "strategy": {strategy: draw(st.integers(1, 90))},
    }
    hashing["hash"] = {"type": draw(st.sampled_from(hashes))}
    if hashing["hash"]["type"] == "doubleHash":
        hashing["hash"]["prevent_singularity"] = draw(st.booleans())
    if draw(st.booleans()):
        sentinel = draw(st.sampled_from(["", "N/A", "0"]))
        hashing["missingValue"] = {"sentinel": sentinel}
        values = values | st.just(sentinel)
        if draw(st.booleans()):
            hashing["missingValue"]["replaceWith"] = draw(
                st.sampled_from(["", "0", "12.5", "none"] if spoil else ["", "0", "12.5"])
            )
    if spoil and draw(st.booleans()):
        values = values | ANY_TEXT
    return {"identifier": identifier, "format": layout, "hashing": hashing}, values


@st.composite
def cases(draw: DrawFn) -> tuple[Schema, list[Row]]:
    # Most cases are valid throughout; the spoilt ones compare errors. BLAKE2 needs a power of two.
    spoil = draw(st.sampled_from([False, False, False, True]))
    bits, hashes = draw(
        st.sampled_from([8, 64, 128, 256, 1024]).map(lambda bits: (bits, ["blakeHash", "doubleHash"]))
        | st.sampled_from([12, 37, 100, 1000]).map(lambda bits: (bits, ["doubleHash"]))
        | st.just((100, ["blakeHash"]) if spoil else (512, ["blakeHash"]))
    )
    drawn = [draw(features(number, hashes, spoil)) for number in range(draw(st.integers(1, 4)))]
    config: dict[str, Any] = {
        "l": bits,
        "kdf": {"type": "HKDF", "hash": draw(st.sampled_from(["SHA256", "SHA512"]))},
    }
    if draw(st.booleans()):
        config["xor_folds"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        config["kdf"]["salt"] = base64.b64encode(draw(st.binary(min_size=1, max_size=8))).decode()
        config["kdf"]["info"] = base64.b64encode(draw(st.binary(max_size=8))).decode()
        config["kdf"]["keySize"] = draw(st.sampled_from([16, 32, 65 if spoil else 64]))
    schema = {"version": 3, "clkConfig": config, "features": [feature for feature, _ in drawn]}
    rows = draw(st.lists(st.tuples(*(values for _, values in drawn)), min_size=2, max_size=6))
    return schema, rows


def text_schema(**hashing: Any) -> Schema:
    return {
        "version": 3,
        "clkConfig": {"l": 64, "kdf": {"type": "HKDF"}},
        "features": [
            {
                "identifier": "name",
                "format": {"type": "string"},
                "hashing": {
                    "comparison": {"type": "ngram", "n": 2},
                    "strategy": {"bitsPerFeature": 20},
                    **hashing,
                },
            }
        ],
    }


@settings(deadline=None, max_examples=150)
@given(cases(), st.binary(min_size=1, max_size=40))
@example((text_schema(), [("a" * 2000,), ("",), ("语",)]), b"key")
@example((text_schema(missingValue={"sentinel": "", "replaceWith": "\ud800"}), [("",)]), b"key")
@example((text_schema(hash={"type": "doubleHash", "prevent_singularity": True}), [("abc",)]), b"key")
def test_same_bytes_or_same_error(case: tuple[Schema, list[Row]], secret: bytes) -> None:
    schema, rows = case
    before = deepcopy(schema)
    assert ours(rows, schema, secret) == reference(rows, schema, secret)
    assert schema == before, "the caller's schema must not be changed"


@pytest.mark.parametrize(
    "rows",
    [
        [("a", "b")],
        [("a",), ()],
        [(None,)],
        [(["a"],)],
        [("a",)] * 3 + [("a", "b")],
    ],
)
def test_malformed_rows_raise_what_clkhash_raises(rows: list[Any]) -> None:
    result = ours(rows, text_schema(), b"key")
    assert result[0] != "bytes"
    assert result == reference(rows, text_schema(), b"key")


def test_error_numbers_agree_beyond_the_first_block() -> None:
    schema = text_schema()
    schema["features"][0]["format"] = {"type": "string", "maxLength": 3}
    rows: list[Row] = [("abc",)] * 10_500
    for wrong in (("abcd",), ("a", "b")):
        rows[10_321] = wrong
        assert ours(rows, schema, b"key") == reference(rows, schema, b"key")


def test_many_distinct_values_overflow_every_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agency_node.encoding.columns._FIRST_SLOTS", 32)
    monkeypatch.setattr("agency_node.encoding.columns._MOST_SLOTS", 64)
    monkeypatch.setattr("agency_node.encoding.columns._CLASSES", 3)
    monkeypatch.setattr("agency_node.encoding.columns._MOST_MASKS", 20)
    monkeypatch.setattr("agency_node.encoding.features._CACHE_BYTES", 4096)
    monkeypatch.setattr("agency_node.encoding.ngrams._MAX_TOKENS", 50)
    monkeypatch.setattr("agency_node.encoding.ngrams._FIRST_TABLE", 8)
    monkeypatch.setattr("agency_node.encoding.features._MAX_CACHED_POSITIONS", 100)
    monkeypatch.setattr("agency_node.encoding.clk._BLOCK_BYTES", 1000)
    rng = random.Random(4)
    rows: list[Row] = [("".join(rng.choices("abcdefghij", k=rng.randint(0, 12))),) for _ in range(400)]
    for n, positional in ((2, False), (2, True), (3, False), (4, True)):
        schema = text_schema(comparison={"type": "ngram", "n": n, "positional": positional})
        encoder = ClkEncoder(schema, b"key")
        got = [row.tobytes() for start in (0, 200) for row in encoder.encode(rows[start : start + 200])]
        assert ("bytes", got) == reference(rows, schema, b"key")


@pytest.mark.parametrize(
    "values", [["ann", "zo\u00eb", "", "\x1e", "bo"], ["ann", "a\x1fb", "bo"], ["a\0b", "a", "\0"]]
)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_columns_that_the_fast_path_must_leave_or_share(values: list[str], n: int) -> None:
    schema = text_schema(
        comparison={"type": "ngram", "n": n}, missingValue={"sentinel": "bo", "replaceWith": "x"}
    )
    rows: list[Row] = [(value,) for value in values]
    assert ours(rows, schema, b"key") == reference(rows, schema, b"key")
    without = [row for row in rows if "\x1e" not in row[0]]
    assert ours(without, schema, b"key") == reference(without, schema, b"key")


@pytest.mark.parametrize("length", [6, 7, 8, 9, 127, 128, 129, 200])
@pytest.mark.parametrize("bits", [5, 33, 300])
def test_exact_values_of_every_length(length: int, bits: int) -> None:
    schema = text_schema(comparison={"type": "exact"}, strategy={"bitsPerFeature": bits})
    rows: list[Row] = [
        ("a" * length,),
        ("b" + "a" * (length - 1),),
        ("a" * (length - 1) + "b",),
        ("a" * length,),
    ]
    assert ours(rows, schema, b"key") == reference(rows, schema, b"key")


def test_a_refused_block_leaves_the_encoder_usable() -> None:
    schema = text_schema()
    schema["features"][0]["format"] = {"type": "string", "maxLength": 3}
    encoder = ClkEncoder(schema, b"key")
    with pytest.raises(ValueError, match="row 1"):
        encoder.encode([("ab",), ("abcd",)])
    rows: list[Row] = [("ab",), ("b",), ("ab",)]
    assert ("bytes", [row.tobytes() for row in encoder.encode(rows)]) == reference(rows, schema, b"key")


def test_headers_are_checked_as_clkhash_does() -> None:
    encoder = ClkEncoder(text_schema(), b"key")
    encoder.check_header(["name"])
    assert encoder.field_names == ("name",)
    for wrong in (["names"], ["name", "name"], []):
        with pytest.raises(FormatError):
            encoder.check_header(wrong)


def test_no_rows_give_an_empty_array() -> None:
    assert encode_clks([], text_schema(), b"key").shape == (0, 8)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_streaming_equals_one_call(chunk: int) -> None:
    rows = [(name,) for name in ("susan", "alan", "", "ann", "susan", "zoe", "bo")]
    whole = encode_clks(rows, text_schema(), b"key")
    streamed = list(iter_encode(iter(rows), text_schema(), b"key", chunk))
    assert [len(part) for part in streamed[:-1]] == [chunk] * (len(streamed) - 1)
    assert np.array_equal(np.concatenate(streamed), whole)


@pytest.mark.parametrize("masks", [2, 1 << 10])
@pytest.mark.parametrize("distinct", [4, 400])
def test_values_that_come_again_have_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, distinct: int, masks: int
) -> None:
    """In every comparison, around the longest value that is kept whole; with 400 it soon stops looking."""
    monkeypatch.setattr("agency_node.encoding.columns._FIRST_VALUES", 4)
    monkeypatch.setattr("agency_node.encoding.columns._MOST_VALUES", 64)
    monkeypatch.setattr("agency_node.encoding.columns._FIRST_MASKS", masks)
    rng = random.Random(8)
    lengths = (*range(1, 9), 23, 24, 25, 30, 31, 32, 40)
    texts = ["", "-", *("".join(rng.choices("ab ", k=length)) for length in lengths * distinct)]
    texts += [text[:-1] + "c" for text in texts if text]
    dates = [
        "",
        *(date.fromordinal(rng.randrange(700_000, 730_000)).isoformat() for _ in range(9 * distinct)),
    ]
    schema = text_schema(missingValue={"sentinel": "", "replaceWith": "a b"})
    schema["clkConfig"]["l"] = 1024
    schema["features"] = [deepcopy(schema["features"][0]) | {"identifier": f"{place}"} for place in range(4)]
    two, three, exact, born = schema["features"]
    two["format"] |= {"case": "lower"}
    three["hashing"]["comparison"] = {"type": "ngram", "n": 3, "positional": True}
    exact["hashing"]["comparison"] = {"type": "exact"}
    born["format"] = {"type": "date", "format": "%Y-%m-%d"}
    born["hashing"]["missingValue"] = {"sentinel": ""}
    rows: list[Row] = [(*rng.choices(texts, k=3), rng.choice(dates)) for _ in range(6_000)]
    encoder = ClkEncoder(schema, b"key")
    got = [row.tobytes() for start in range(0, 6_000, 1_500) for row in encoder.encode(rows[start:][:1_500])]
    assert ("bytes", got) == reference(rows, schema, b"key")

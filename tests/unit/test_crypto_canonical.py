"""Canonical JSON: what is accepted, and everything that is not."""

import pytest

from crypto.canonical import (
    MAX_DEPTH,
    b64u,
    canonical_json,
    parse_canonical,
    parse_strict,
    require_integer,
    require_object,
    require_text,
    unb64u,
)
from crypto.errors import CanonicalError


def test_keys_are_ordered_by_utf_16_code_units_as_the_rfc_has_it() -> None:
    # The sample of RFC 8785 section 3.2.3: the emoji sorts before U+FB33 because of its surrogates.
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    parsed = parse_canonical(canonical_json(value))
    assert isinstance(parsed, dict)
    assert list(parsed) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"b":2,"a":3}}',
        b"1.0",
        b"1e3",
        b"NaN",
        b"Infinity",
        b"-0",
        b"9007199254740992",
        b"-9007199254740992",
        b"1" * 5000,
        b"",
        b"{",
        b"{} {}",
        b"{}\n\x00",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'"\\ud800"',
        b'"tab\there"',
        '{"a":1}'.encode("utf-16"),
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b"[" * 200_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_documents_that_could_be_read_in_two_ways_are_refused(data: bytes) -> None:
    with pytest.raises(CanonicalError):
        parse_strict(data)
    with pytest.raises(CanonicalError):
        parse_canonical(data)


@pytest.mark.parametrize(
    "data", [b'{ "a":1}', b'{"b":1,"a":2}', b'"\\u0041"', b'"\\/"', b"[1,2]\n", b'"\\u00e9"']
)
def test_another_layout_is_for_authors_only(data: bytes) -> None:
    parse_strict(data)
    with pytest.raises(CanonicalError, match="not canonical"):
        parse_canonical(data)


def test_the_size_limit_counts_bytes() -> None:
    assert parse_canonical(b'"abc"', max_bytes=5) == "abc"
    with pytest.raises(CanonicalError, match="limit is 4"):
        parse_canonical(b'"abc"', max_bytes=4)


def test_the_depth_limit_is_the_same_both_ways() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert canonical_json(parse_canonical(deepest)) == deepest
    with pytest.raises(CanonicalError, match="deeper"):
        canonical_json([[parse_canonical(deepest)]])


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**53, -(2**53), b"x", {1: 2}, {"a": {1.0}}, "\ud800"])
def test_values_that_json_cannot_carry_exactly_are_refused(value: object) -> None:
    with pytest.raises(CanonicalError):
        canonical_json(value)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("text", ["QQ==", "QR", "Q", "Q Q", "+/+/", "QUJD\n", "\u00e9", "QUJDR"])
def test_base64url_has_one_text_for_one_value(text: str) -> None:
    with pytest.raises(CanonicalError):
        unb64u(text)


def test_base64url_is_that_of_rfc_4648() -> None:
    assert b64u(b"\xfb\xff\xfe") == "-__-"
    assert unb64u("") == b""
    assert [b64u(b"foobar"[:n]) for n in range(4)] == ["", "Zg", "Zm8", "Zm9v"]


def test_unknown_and_missing_fields_are_named_or_refused() -> None:
    assert require_object({"a": 1}, frozenset({"a"}), "it") == {"a": 1}
    assert require_object({"a": 1, "o": 2}, frozenset({"a"}), "it", frozenset({"o"})) == {"a": 1, "o": 2}
    with pytest.raises(CanonicalError, match="it lacks the field 'b'"):
        require_object({"a": 1}, frozenset({"a", "b"}), "it")
    with pytest.raises(CanonicalError, match="unknown field"):
        require_object({"a": 1, "zz": 2}, frozenset({"a"}), "it")
    with pytest.raises(CanonicalError, match="must be a JSON object"):
        require_object([1], frozenset(), "it")


def test_typed_readers_refuse_other_types() -> None:
    assert (require_text("a", "t"), require_integer(0, "i")) == ("a", 0)
    for wrong in (True, -1, "1", None):
        with pytest.raises(CanonicalError):
            require_integer(wrong, "i")
    with pytest.raises(CanonicalError):
        require_text(1, "t")

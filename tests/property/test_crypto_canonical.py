"""Canonical JSON against `rfc8785`, the library that does nothing else."""

from __future__ import annotations

import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from crypto.canonical import MAX_INTEGER, JsonValue, canonical_json, parse_canonical

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_SCALARS = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | _TEXT


@given(
    st.recursive(
        _SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
        max_leaves=30,
    )
)
@example("".join(map(chr, range(0x100))) + "\u2028\u2029\ufeff\uffff\U0001f600")
@example({"\ufb33": {"b": 1, "a": [{"\U0001f600": 2, "\ufb33": 3}]}, "\U0001f600": 1})
@example({"a": {"\U0001f600": 2, "\ufb33": 3}})
def test_the_same_bytes_as_the_library_and_back(value: JsonValue) -> None:
    encoded = canonical_json(value)
    assert encoded == rfc8785.dumps(value)
    assert parse_canonical(encoded) == value

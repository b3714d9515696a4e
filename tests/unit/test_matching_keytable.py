"""The key table against a dictionary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.matching.errors import MatchInputError
from broker.matching.keytable import KeyTable
from broker.matching.subjects import SubjectTable, unique_handles

# Eight leading bytes of few values: many keys that a table sorted by them alone must still tell apart.
KEYS = st.tuples(st.integers(0, 2), st.integers(0, 2)).map(lambda ends: bytes([ends[0]] * 8 + [ends[1]] * 8))


def _array(keys: list[bytes]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)


@given(batches=st.lists(st.lists(KEYS, max_size=6), max_size=8), drop=st.sets(st.integers(0, 47)))
def test_it_finds_what_a_dictionary_would(batches: list[list[bytes]], drop: set[int]) -> None:
    table = KeyTable(16)
    entries: list[tuple[bytes, int]] = []
    for batch in batches:
        numbers = np.arange(len(entries), len(entries) + len(batch), dtype=np.int64)
        table.append(_array(batch), numbers)
        entries += zip(batch, numbers.tolist(), strict=True)
    gone = np.array([number in drop for number in range(48)])
    table.discard(gone)
    entries = [(key, number) for key, number in entries if number not in drop]
    asked = [*sorted({key for batch in batches for key in batch}), b"\xff" * 16]
    positions, values = table.find(_array(asked))
    found = sorted(zip(positions.tolist(), values.tolist(), strict=True))
    assert found == sorted((asked.index(key), number) for key, number in entries)
    assert len(table) == len(entries)
    assert table.count(_array(asked)) >= len(found)


@given(keys=st.lists(KEYS))
def test_unique_handles_come_in_byte_order(keys: list[bytes]) -> None:
    handles, positions = unique_handles(_array(keys))
    assert [handle.tobytes() for handle in handles] == sorted(set(keys))
    assert [handles[position].tobytes() for position in positions] == keys


@given(keys=st.lists(st.tuples(st.sampled_from("abc"), KEYS), unique=True, min_size=2))
def test_the_canonical_order_is_that_of_agency_and_handle(keys: list[tuple[str, bytes]]) -> None:
    subjects = SubjectTable(["c", "a", "b"])
    for agency, handle in keys:
        subjects.add(subjects.party(agency), _array([handle]))
    numbers = np.arange(len(keys), dtype=np.int64)
    order = subjects.canonical_order(numbers)
    assert [keys[at] for at in order] == sorted(keys)
    first, second = subjects.oriented(numbers[:-1], numbers[1:])
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        assert keys[one] < keys[other]


def test_keys_of_another_width_are_refused() -> None:
    with pytest.raises(MatchInputError, match=r"\(1, 16\)"):
        KeyTable(16).append(np.zeros((1, 32), np.uint8), np.zeros(1, np.int64))


def test_a_removed_subject_leaves_no_handle() -> None:
    subjects = SubjectTable(["a"])
    handle = _array([b"0123456789abcdef"])
    numbers = subjects.add(0, handle)
    subjects.remove(numbers)
    assert not subjects.handles.any()
    assert subjects.find(0, handle).tolist() == [-1]
    assert subjects.add(0, handle).tolist() == [1]

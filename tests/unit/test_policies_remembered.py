"""What is remembered of bytes: bounded, by kind, and never an error."""

from __future__ import annotations

import pytest

from policies.remembered import Remembered


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    made: list[bytes] = []
    memory = Remembered[bytes](100)

    def of(data: bytes) -> bytes:
        def make() -> bytes:
            made.append(data)
            return data

        return memory.of(bytes, data, make)

    items = [bytes([n]) * 10 for n in range(10)]
    for item in (*items, items[0]):
        assert of(item) == item
    assert made == items and memory.held_bytes == 100
    of(b"x" * 10)  # in place of the second, for the first was used since
    for item in (items[0], items[1], items[2]):
        of(item)
    assert made[len(items) :] == [b"x" * 10, items[1], items[2]]
    assert memory.held_bytes == 100


def test_large_ones_are_made_every_time() -> None:
    memory = Remembered[object](80)
    assert memory.of(bytes, b"x" * 11, object) is not memory.of(bytes, b"x" * 11, object)
    assert memory.held_bytes == 0


def test_the_same_bytes_of_two_kinds_are_two() -> None:
    memory = Remembered[str](100)
    assert memory.of(int, b"1", lambda: "int") == "int"
    assert memory.of(str, b"1", lambda: "str") == "str"


def test_errors_are_not_remembered() -> None:
    memory = Remembered[int](100)
    with pytest.raises(ZeroDivisionError):
        memory.of(int, b"1", lambda: 1 // 0)
    assert memory.of(int, b"1", lambda: 7) == 7

"""The parts of anonlink's similarity-function contract that are not pairs: types, errors, odd arguments."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from anonlink.similarities import dice_coefficient_accelerated
from bitarray import bitarray

from broker.matching.similarity import Record, dice_bitsliced

ONES, NONE, HALF = bitarray("1" * 16), bitarray("0" * 16), bitarray("10" * 8)


@pytest.mark.parametrize(
    "datasets",
    [
        pytest.param(([ONES],), id="one dataset"),
        pytest.param(([ONES], [ONES], [ONES]), id="three datasets"),
        pytest.param(([ONES], [bitarray("1" * 8)]), id="lengths differ"),
        pytest.param(([bitarray("101")], [bitarray("101")]), id="no multiple of eight"),
        pytest.param(([ONES], [object()]), id="no record"),
    ],
)
def test_errors_have_the_same_type_and_text(datasets: Any) -> None:
    errors = []
    for similarity in (dice_coefficient_accelerated, dice_bitsliced):
        with pytest.raises((ValueError, NotImplementedError, TypeError)) as caught:
            similarity(datasets, 0.8)
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("similarity", [dice_coefficient_accelerated, dice_bitsliced])
def test_a_threshold_must_be_a_number(similarity: Callable[..., Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        similarity(([ONES], [ONES]), None)


def test_a_negative_k_is_refused_with_words() -> None:
    with pytest.raises(ValueError, match="k must not be negative"):
        dice_bitsliced(([ONES], [ONES]), 0.8, -1)


@pytest.mark.parametrize("threshold", [math.nan, 0.0, -0.0, math.inf, -math.inf])
@pytest.mark.parametrize("k", [None, 0, 1])
def test_thresholds_that_are_hardly_numbers(threshold: float, k: int | None) -> None:
    datasets = ([NONE, ONES, HALF, NONE], [HALF, NONE, ONES])
    assert dice_bitsliced(datasets, threshold, k) == dice_coefficient_accelerated(datasets, threshold, k)


@pytest.mark.parametrize("datasets", [([], []), ([ONES], []), ([], [ONES])])
def test_an_empty_side_gives_empty_arrays_of_the_right_types(datasets: Any) -> None:
    ours, theirs = dice_bitsliced(datasets, 0.5), dice_coefficient_accelerated(datasets, 0.5)
    assert ours == theirs
    assert [a.typecode for a in (ours[0], *ours[1])] == ["d", "I", "I"]


def test_bytes_are_records_too() -> None:
    first: list[Record] = [b"\xff\x00", bytearray(b"\x0f\x0f")]
    second: list[Record] = [memoryview(b"\xff\x01"), bitarray("1" * 16)]
    datasets = (first, second)
    assert dice_bitsliced(datasets, 0.1) == dice_coefficient_accelerated(datasets, 0.1)


def test_ties_go_to_the_lower_record_number() -> None:
    datasets = ([HALF, HALF], [HALF, ONES, HALF, HALF])
    scores, (left, right) = dice_bitsliced(datasets, 0.5, k=2)
    assert list(zip(scores, left, right, strict=True)) == [
        (1.0, 0, 0),
        (1.0, 0, 2),
        (1.0, 1, 0),
        (1.0, 1, 2),
    ]


def test_the_rounding_of_anonlinks_popcount_bound_is_followed() -> None:
    # The score 2*7/15 equals the threshold, but anonlink's bound 2*7*(1/t - 1) rounds to below 1.
    found = 0
    for small in range(1, 40):
        for large in range(small, 80):
            threshold = 2 * small / (small + large)
            datasets = ([bitarray(f"{'1' * small:0<128}")], [bitarray(f"{'1' * large:0<128}")])
            theirs = dice_coefficient_accelerated(datasets, threshold)
            assert dice_bitsliced(datasets, threshold, threads=1) == theirs
            found += not len(theirs[0])
    assert found > 0  # pairs that reach the threshold, and that anonlink leaves out


def test_bit_order_of_bitarrays_does_not_matter() -> None:
    little = [bitarray("1100101000001111", endian="little"), bitarray("1" * 16, endian="little")]
    assert dice_bitsliced((little, little), 0.3) == dice_coefficient_accelerated((little, little), 0.3)

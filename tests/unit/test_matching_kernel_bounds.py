"""Whole-number bounds agree with the floating-point score, and blocks hold what was put into them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.matching import transpose
from broker.matching.bounds import dice_scores, needed_overlaps
from broker.matching.errors import MatchInputError

thresholds = st.one_of(
    st.floats(-0.5, 2.5),
    st.sampled_from([0.0, 1.0, 5e-324, 1e-12, 0.1, 0.6, 0.7, 0.8]),
    st.just(float("inf")),
)


@given(thresholds)
@settings(max_examples=200, deadline=None)
def test_needed_overlap_is_the_least_whose_score_reaches_the_threshold(threshold: float) -> None:
    needed = needed_overlaps(48, threshold)
    for total, least in enumerate(needed.tolist()):
        possible = [c for c in range(total + 1) if (2.0 * c / total if total else 0.0) >= threshold]
        assert least == (possible[0] if possible else total + 1)


def test_a_threshold_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        needed_overlaps(8, float("nan"))


def test_two_empty_encodings_score_nothing() -> None:
    assert dice_scores(np.array([0, 3], np.int32), np.array([0, 6], np.int32)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("bits", [8, 64, 72, 1000, 1024])
@pytest.mark.parametrize("size", [1, 255, 256, 700])
def test_compiled_and_plain_transposition_agree_and_invert(
    bits: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(bits + size)
    packed = rng.integers(0, 256, (size, bits // 8), dtype=np.uint8)
    order = rng.permutation(bits).astype(np.uint16)
    blocks = -(-size // transpose.LANES)
    compiled, plain = (transpose.aligned_planes(blocks, bits) for _ in range(2))
    transpose.write_planes(packed, order, compiled)
    monkeypatch.setattr(transpose, "kernel_available", lambda: False)
    transpose.write_planes(packed, order, plain)
    assert np.array_equal(compiled, plain)
    back = transpose.read_packed(plain, order)
    assert np.array_equal(back[:size], packed)
    assert not back[size:].any()


def test_planes_start_on_a_cache_line() -> None:
    assert all(transpose.aligned_planes(n, 1024).ctypes.data % 64 == 0 for n in range(1, 20))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 2), np.int64),
        np.zeros(4, np.uint8),
        np.zeros((2, 0), np.uint8),
        np.zeros((2, 3), np.uint8),
    ],
)
def test_encodings_of_another_shape_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(MatchInputError):
        transpose.checked_packed(wrong, 16)

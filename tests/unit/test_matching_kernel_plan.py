"""Likeness decides the order of work, and a plan lists every row of every query exactly once."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.matching import likeness
from broker.matching.bounds import needed_overlaps, stricter_bounds
from broker.matching.likeness import likeness_order
from broker.matching.plan import DEPTH, FEWEST, MOST, NO_QUERY, OFFSET, PAST, QUERY, STEPS, make_plan
from broker.matching.transpose import LANE_WORDS, popcounts
from broker.matching.vertical import ROWS_PER_STEP

Packed = npt.NDArray[np.uint8]

sizes = st.sampled_from([0, 1, 2, 3, 15, 64, 255, 256, 257, 700, 1300])
lengths = st.sampled_from([8, 64, 72, 1000, 1024])


def _people(seed: int, size: int, bits: int) -> Packed:
    """Three kinds of encodings, so that there is likeness to find."""
    rng = np.random.default_rng(seed)
    kinds = rng.random((3, bits)) < 0.4
    return np.packbits(kinds[rng.integers(0, 3, size)] ^ (rng.random((size, bits)) < 0.1), axis=1)


@given(st.integers(0, 2**32), sizes, lengths, st.sampled_from([1, 2, 256]))
@settings(max_examples=60, deadline=None)
def test_likeness_order_is_an_order(seed: int, size: int, bits: int, smallest: int) -> None:
    order = likeness_order(_people(seed, size, bits), smallest)
    assert sorted(order.tolist()) == list(range(size))


@pytest.mark.parametrize("encoding", [0, 255])
def test_equal_encodings_can_be_ordered(encoding: int) -> None:
    order = likeness_order(np.full((600, 128), encoding, np.uint8), 1)
    assert sorted(order.tolist()) == list(range(600))


def test_like_encodings_come_together() -> None:
    rng = np.random.default_rng(4)
    centres = rng.random((2, 1024)) < 0.4
    kind = rng.permutation(np.repeat([0, 1], 512))
    packed = np.packbits(centres[kind] ^ (rng.random((1024, 1024)) < 0.1), axis=1)
    blocks = kind[likeness_order(packed, 256)].reshape(4, 256)
    assert (blocks == blocks[:, :1]).all()


def test_without_numba_the_order_is_by_popcount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "kernel_available", lambda: False)
    packed = _people(1, 300, 128)
    assert np.all(np.diff(popcounts(packed)[likeness_order(packed, 2)]) >= 0)


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3, 15, 64, 129, 255, 256]), lengths)
@settings(max_examples=40, deadline=None)
def test_a_plan_lists_each_row_of_each_query_once(seed: int, size: int, bits: int) -> None:
    packed = _people(seed, size, bits)
    packed = packed[likeness_order(packed, 2)]
    rank = np.random.default_rng(seed).permutation(bits).astype(np.uint16)
    counts = popcounts(packed)
    nodes, rows = make_plan(packed, counts, rank)
    seen = []
    path: list[int] = []
    for number, node in enumerate(nodes.tolist()):
        path = [*path[: node[DEPTH]], number]
        assert len(path) == node[DEPTH] + 1
        assert all(number < nodes[above, PAST] for above in path)
        query = node[QUERY]
        if query == NO_QUERY:
            continue
        assert node[PAST] == number + 1
        assert node[FEWEST] == node[MOST] == counts[query]
        for above in path:
            assert nodes[above, FEWEST] <= counts[query] <= nodes[above, MOST]
        listed = np.concatenate(
            [rows[nodes[i, OFFSET] : nodes[i, OFFSET] + nodes[i, STEPS] * ROWS_PER_STEP] for i in path]
        )
        listed = listed[listed != bits * LANE_WORDS]  # the row of no misses
        expected = rank[np.flatnonzero(np.unpackbits(packed[query]))]
        assert sorted((listed // LANE_WORDS).tolist()) == sorted(expected.tolist())
        seen.append(query)
    assert seen == list(range(size))


@given(st.floats(-0.5, 2.5))
@settings(max_examples=100, deadline=None)
def test_stricter_bounds_never_forbid_what_the_threshold_allows(threshold: float) -> None:
    bits = 64
    needed, stricter = needed_overlaps(bits, threshold), stricter_bounds(bits, threshold)
    for more in range(bits + 1):
        for total in range(2 * bits + 1 - more):
            if needed[total + more] <= (total + more) // 2:  # an overlap that can be
                assert needed[total + more] - needed[total] >= stricter[more]

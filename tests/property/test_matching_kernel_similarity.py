"""``dice_bitsliced`` gives what anonlink gives: the same pairs, order and scores to the last bit."""

import random

import anonlink
import numpy as np
import pytest
from anonlink.similarities import dice_coefficient_accelerated
from bitarray import bitarray
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.matching import scan
from broker.matching.similarity import dice_bitsliced

Dataset = list[bitarray]

lengths = st.sampled_from([8, 16, 24, 56, 64, 72, 128, 256, 1000, 1024, 2048, 4096])
fractions = st.builds(lambda a, b: 2 * a / b, st.integers(1, 30), st.integers(30, 60))
thresholds = st.one_of(
    st.sampled_from([0.0, 0.1, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1e-7, 1e-300, 5e-324, 1.5, -1.0]),
    st.floats(0, 1),
    fractions,  # whole-number ratios, where a score can equal the threshold
)
limits = st.one_of(st.none(), st.sampled_from([0, 1, 2, 3, 1000]))


def _dataset(rng: random.Random, size: int, bits: int, fill: float) -> Dataset:
    made = []
    for _ in range(size):
        kind = rng.random()
        density = 0.0 if kind < 0.06 else 1.0 if kind < 0.12 else fill
        made.append(bitarray([rng.random() < density for _ in range(bits)]))
    return made


@st.composite
def pairs_of_datasets(draw: st.DrawFn) -> tuple[Dataset, Dataset]:
    """Datasets that share some records, some empty, some all ones; either side may have none."""
    bits = draw(lengths)
    rng = random.Random(draw(st.integers(0, 2**32)))  # drawing each bit would be slow and shrink no better
    sizes = st.integers(0, 40 if bits <= 256 else 8)
    fill = draw(st.sampled_from([0.05, 0.3, 0.47, 0.8]))
    first = _dataset(rng, draw(sizes), bits, fill)
    second = _dataset(rng, draw(sizes), bits, fill)
    for i in range(min(len(first), len(second)) // 2):
        second[i] = first[i].copy()
        if rng.random() < 0.5:
            second[i].invert(rng.randrange(bits))
    return first, second


@given(pairs_of_datasets(), thresholds, limits)
@settings(max_examples=250, deadline=None)
def test_equal_to_anonlink(datasets: tuple[Dataset, Dataset], threshold: float, k: int | None) -> None:
    assert dice_bitsliced(datasets, threshold, k) == dice_coefficient_accelerated(datasets, threshold, k)


@given(pairs_of_datasets(), thresholds, limits)
@settings(max_examples=60, deadline=None)
def test_equal_without_the_compiled_kernel(
    datasets: tuple[Dataset, Dataset], threshold: float, k: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "kernel_available", lambda: False)
        assert dice_bitsliced(datasets, threshold, k) == dice_coefficient_accelerated(datasets, threshold, k)


@given(st.integers(0, 2**32), st.sampled_from([0.5, 0.65, 0.8]), st.sampled_from([None, 1, 3]))
@settings(max_examples=20, deadline=None)
def test_many_blocks_and_threads(seed: int, threshold: float, k: int | None) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.random((40, 128)) < 0.4
    sides = []
    for size in (700, 900):
        bits = centres[rng.integers(0, 40, size)] ^ (rng.random((size, 128)) < 0.1)
        sides.append([bitarray(row.tolist()) for row in bits])
    datasets = (sides[0], sides[1])
    expected = dice_coefficient_accelerated(datasets, threshold, k)
    assert dice_bitsliced(datasets, threshold, k, threads=3) == expected
    assert len(expected[0]) > 100


@given(pairs_of_datasets(), st.sampled_from([0.3, 0.6, 0.8]), limits)
@settings(max_examples=30, deadline=None)
def test_plugs_into_find_candidate_pairs(
    datasets: tuple[Dataset, Dataset], threshold: float, k: int | None
) -> None:
    ours = anonlink.candidate_generation.find_candidate_pairs(datasets, dice_bitsliced, threshold, k=k)
    theirs = anonlink.candidate_generation.find_candidate_pairs(
        datasets, dice_coefficient_accelerated, threshold, k=k
    )
    assert ours == theirs

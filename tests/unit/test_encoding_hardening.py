"""Keyed diffusion: what it computes, how evenly, and that a key decides it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency_node.encoding import Hardener, Hardening, HardeningError
from agency_node.encoding.hardening import diffusion_taps
from tests.vectors import make_encoding

KEY = bytes(range(32))


def test_vectors_have_not_drifted() -> None:
    assert make_encoding.main(["--check"]) == 0


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([8, 24, 64, 100, 1024]),
    st.integers(2, 4),
    st.integers(0, 130),
    st.binary(min_size=32, max_size=32),
)
def test_every_output_bit_is_the_xor_of_its_taps(bits: int, taps: int, rows: int, key: bytes) -> None:
    plain = np.random.default_rng(rows).integers(0, 2, (rows, bits), dtype=np.uint8)
    table = diffusion_taps(key, bits, taps)
    expected = np.bitwise_xor.reduce(plain[:, table], axis=2)
    hardened = Hardener(Hardening("sparse-diffusion/v1", taps), key, bits).apply(np.packbits(plain, axis=1))
    assert np.array_equal(hardened, np.packbits(expected, axis=1).reshape(rows, -(-bits // 8)))


@pytest.mark.parametrize(("bits", "taps"), [(8, 4), (12, 5), (64, 7), (1024, 5)])
def test_taps_are_distinct_and_use_every_input_bit_equally(bits: int, taps: int) -> None:
    for number in range(20):
        table = diffusion_taps(bytes([number]) * 32, bits, taps)
        assert all(len(set(row)) == taps for row in table.tolist())
        assert np.bincount(table.ravel(), minlength=bits).tolist() == [taps] * bits


def test_shuffles_are_unbiased() -> None:
    """Chi-squared of where input bit 0 lands, over 4,000 keys: 7 degrees of freedom, p = .0001 at 29.9."""
    counts = np.zeros(8)
    for number in range(4000):
        table = diffusion_taps(number.to_bytes(32, "big"), 8, 2)
        counts[np.flatnonzero((table == 0).any(axis=1))] += 1
    assert ((counts - 1000) ** 2 / 1000).sum() < 29.9


def test_another_key_gives_another_code() -> None:
    clk = np.random.default_rng(1).integers(0, 256, (1, 128), dtype=np.uint8)
    hardening = Hardening("sparse-diffusion/v1", 5)
    one, two = (Hardener(hardening, key, 1024).apply(clk) for key in (KEY, bytes(32)))
    different = int(np.bitwise_count(one ^ two).sum())
    assert 400 < different < 624


def test_rows_do_not_depend_on_their_neighbours() -> None:
    clks = np.random.default_rng(1).integers(0, 256, (150, 128), dtype=np.uint8)
    hardener = Hardener(Hardening("sparse-diffusion/v1", 5), KEY, 1024)
    alone = np.concatenate([hardener.apply(clks[row : row + 1]) for row in range(150)])
    assert np.array_equal(hardener.apply(clks), alone)


def test_plain_changes_nothing() -> None:
    clks = np.random.default_rng(1).integers(0, 256, (3, 128), dtype=np.uint8)
    assert np.array_equal(Hardener(Hardening("plain/v1"), KEY, 1024).apply(clks), clks)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "plain/v1",
        {"kind": "plain/v2"},
        {"kind": "plain/v1", "taps": 5},
        {"kind": "sparse-diffusion/v1"},
        {"kind": "sparse-diffusion/v1", "taps": True},
        {"kind": "sparse-diffusion/v1", "taps": 1},
        {"kind": "sparse-diffusion/v1", "taps": 5, "more": 1},
    ],
)
def test_unknown_hardening_is_refused(value: object) -> None:
    with pytest.raises(HardeningError):
        Hardening.from_json(value)


@pytest.mark.parametrize("value", [{"kind": "plain/v1"}, {"kind": "sparse-diffusion/v1", "taps": 5}])
def test_hardening_round_trip(value: dict[str, object]) -> None:
    assert Hardening.from_json(value).to_json() == value


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(HardeningError, match="from 2 to 4 taps"):
        diffusion_taps(KEY, 8, 5)
    with pytest.raises(HardeningError, match="32 bytes"):
        diffusion_taps(b"short", 1024, 5)
    with pytest.raises(HardeningError, match="1024 bits"):
        Hardener(Hardening("sparse-diffusion/v1", 5), KEY, 1024).apply(np.zeros((2, 64), dtype=np.uint8))
    assert KEY.hex() not in repr(Hardener(Hardening("plain/v1"), KEY, 1024))

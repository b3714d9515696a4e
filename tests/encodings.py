"""Encodings that need no encoder: random bits for each person, a few of them flipped at each sight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protos.wire.linkage import Column, EncodingBatch

CLK_BYTES = 128


def person_clks(people: int, seed: int = 1) -> NDArray[np.uint8]:
    """`(people, 128)`: about half of the bits set."""
    return np.random.default_rng(seed).integers(0, 256, (people, CLK_BYTES), np.uint8)


def noisy(clks: NDArray[np.uint8], flips: int, seed: int) -> NDArray[np.uint8]:
    """The same with some bits of each flipped."""
    rng = np.random.default_rng(seed)
    bits = np.unpackbits(clks, axis=1)
    for row in bits:
        row[rng.choice(len(row), flips, replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def handles(agency: str, people: range) -> list[bytes]:
    """One handle for each person: random-looking, different for each agency."""
    seed = int.from_bytes(agency.encode(), "big") % 2**32
    table = np.random.default_rng(seed).integers(0, 256, (max(people.stop, 1), 16), np.uint8)
    return [table[number].tobytes() for number in people]


def batch(
    agency: str,
    people: range,
    clks: NDArray[np.uint8],
    *,
    withdrawn: tuple[bytes, ...] = (),
    row_number: int = 0,
) -> EncodingBatch:
    """One row for each person, with a CLK and without an exact token."""
    count = len(people)
    return EncodingBatch(
        handles=b"".join(handles(agency, people)),
        row_numbers=bytes([row_number]) * count,
        projections=(Column(b"\x01" * count, clks[people.start : people.stop].tobytes()),) if count else (),
        exact_tokens=(Column(b"\x00" * count, b""),) if count else (),
        withdrawn=withdrawn,
    )

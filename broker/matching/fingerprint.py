"""A number for a set of rows, kept up to date as rows come and go, in any order.

It tells whether saved edges belong to the rows at hand. Each row is hashed to 128 bits (multilinear hashing
modulo 2**64 with fixed pseudo-random multipliers, then the SplitMix64 finaliser), and sets are summed. It
guards against mistakes, not malice: saved edges and rows lie in the same hands.
"""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from broker.matching.model import MatchSpec, PartyRows

LANES = 2
CHUNK_ROWS = 65_536

Words = NDArray[np.uint64]


def fingerprints(spec: MatchSpec, rows: PartyRows) -> Words:
    """``(n, 2)``: one number for each row, over its agency, handle, row number, encodings and tokens."""
    result = np.zeros((len(rows), LANES), np.uint64)
    _absorb(result, f"handle of {rows.agency}", rows.handles)
    _absorb(result, "row number", rows.row_numbers.astype("<i8").reshape(-1, 1).view(np.uint8))
    for projection in spec.projections:
        present = rows.present[projection.name]
        _absorb(result, f"clk {projection.name}", rows.clks[projection.name], present)
    for name in spec.exact_tokens:
        _absorb(result, f"token {name}", rows.exact[name], rows.exact_present[name])
    return _finalised(result)


def _absorb(
    result: Words, name: str, column: NDArray[np.uint8], present: NDArray[np.bool_] | None = None
) -> None:
    """Add a column of bytes to the hashes of its rows; a row where it is absent adds a constant."""
    width = -(-column.shape[1] // 8)
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(sha256(name.encode()).digest()[:16])))
    multipliers = rng.integers(0, 2**64, (LANES, width), np.uint64) | np.uint64(1)
    here, absent = rng.integers(0, 2**64, (2, LANES), np.uint64)
    for start in range(0, len(column), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        padded = np.zeros((len(column[rows]), width * 8), np.uint8)
        padded[:, : column.shape[1]] = column[rows]
        for lane in range(LANES):
            hashed = (padded.view("<u8") * multipliers[lane]).sum(axis=1, dtype=np.uint64) + here[lane]
            result[rows, lane] += hashed if present is None else np.where(present[rows], hashed, absent[lane])


def _finalised(hashes: Words) -> Words:
    """SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))

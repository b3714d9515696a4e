"""Made-up encodings with known likenesses, for tests and benchmarks of matching."""

from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from broker.matching.model import LinkGroup, MatchSpec, PartyRows, ProjectionSpec

Packed = NDArray[np.uint8]


def one_projection(
    threshold: float = 0.7, *, bits: int = 256, one_to_one: bool = True, limit: int = 1_000_000
) -> MatchSpec:
    """A specification with the single projection ``person``."""
    projection = ProjectionSpec("person", bits, threshold, max(threshold, 0.8), max(threshold, 0.9))
    return MatchSpec((projection,), one_to_one=one_to_one, max_candidate_pairs=limit)


def random_clks(rng: np.random.Generator, rows: int, bits: int = 256, fill: float = 0.3) -> Packed:
    """``(rows, bits // 8)`` encodings with about ``fill`` of their bits set."""
    return np.packbits(rng.random((rows, bits)) < fill, axis=1)


def noisy(rng: np.random.Generator, clks: Packed, flips: float) -> Packed:
    """The same encodings with a fraction of ``flips`` of the bits drawn anew."""
    bits = np.unpackbits(clks, axis=1)
    drawn = rng.random(bits.shape) < flips
    fresh = rng.random(bits.shape) < (bits.mean() if bits.size else 0.0)
    return np.packbits(np.where(drawn, fresh, bits).astype(np.uint8), axis=1)


def random_handles(rng: np.random.Generator, rows: int) -> Packed:
    """``(rows, 16)`` opaque handles."""
    return rng.integers(0, 256, (rows, 16), np.uint8)


def party(agency: str, handles: Packed, clks: Packed, name: str = "person") -> PartyRows:
    """Rows with one projection, all present."""
    return PartyRows(
        agency=agency,
        handles=handles,
        row_numbers=np.zeros(len(handles), np.int64),
        clks={name: clks},
        present={name: np.ones(len(handles), np.bool_)},
    )


def overlapping_parties(
    rng: np.random.Generator, sizes: Sequence[int], *, bits: int = 256, people: int | None = None
) -> list[PartyRows]:
    """Parties ``a``, ``b``, ... whose encodings are noisy copies of those of a common population."""
    population = random_clks(rng, people or max(sizes, default=1), bits)
    result = []
    for number, size in zip(count(), sizes):
        chosen = population[rng.integers(0, len(population), size)]
        noise = float(rng.choice([0.02, 0.1, 0.2]))
        result.append(party(chr(ord("a") + number), random_handles(rng, size), noisy(rng, chosen, noise)))
    return result


def memberships(groups: Sequence[LinkGroup]) -> set[frozenset[tuple[str, bytes]]]:
    """Groups as sets of members, without ids."""
    return {frozenset((member.agency, member.handle) for member in group.members) for group in groups}


def links(groups: Sequence[LinkGroup]) -> set[tuple[object, ...]]:
    """Groups as members and ties, without ids."""
    return {(group.members, group.ties) for group in groups}

"""Strangers that a node can compare without a partner: its own records with each other, and its decoys.

In a file without duplicates two records are two people, so the likeness of a record to its own neighbours
shows how alike strangers get in this population, households and all. Each node can compare them by itself.
Decoys (``agency_node.encoding.decoys``) show the same where a file has duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from broker.matching.index import BitslicedIndex
from broker.matching.model import Candidates
from tallystick.pilot.files import PilotParty
from tallystick.pilot.matching import Field

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_QUERIES = 50_000
_MOST_PAIRS = 20_000_000


@dataclass(frozen=True, slots=True)
class Likeness:
    """Likenesses of things that are known not to be the same person, highest first.

    :param source: for each, the record or decoy that is compared.
    :param target: the record of the file (of the partner's file, for decoys) that it resembles.
    :param compared: how many records or decoys were compared.
    """

    source: Ints = field(repr=False)
    target: Ints = field(repr=False)
    score: Floats = field(repr=False)
    compared: int

    def __len__(self) -> int:
        return len(self.score)


def own_neighbours(party: PilotParty, floor: float, rng: np.random.Generator) -> Likeness:
    """Records of one file with the other records of the same file, above ``floor``.

    :raises PairLimitError: the floor is too low for this file.
    """
    chosen = np.arange(len(party), dtype=np.int64)
    if len(chosen) > MOST_QUERIES:
        chosen = np.sort(rng.permutation(len(party))[:MOST_QUERIES].astype(np.int64))
    parts: list[tuple[Ints, Ints, Floats]] = []
    for name, clks in party.rows.clks.items():
        present = party.rows.present[name]
        clks, owner = clks[present], party.owner[present]
        if not len(clks):
            continue
        asked = np.isin(owner, chosen) if len(chosen) < len(party) else np.ones(len(owner), np.bool_)
        index = BitslicedIndex.build(clks)
        found = index.query(clks[asked], floor, max_pairs=_MOST_PAIRS)
        source, target = owner[asked][found.query_row], owner[found.record_row]
        other = source != target
        parts.append((source[other], target[other], found.score[other]))
    return _highest(parts, len(chosen))


def decoy_likeness(found: Field, party: int, partner: int) -> Likeness:
    """Decoys of ``party`` with the real records of ``partner``."""
    pairs: Candidates = found.pairs
    ends = [(pairs.a, pairs.b), (pairs.b, pairs.a)]
    parts: list[tuple[Ints, Ints, Floats]] = []
    for one, other in ends:
        wanted = (
            (found.party[one] == party)
            & found.decoy[one]
            & (found.party[other] == partner)
            & ~found.decoy[other]
        )
        parts.append((one[wanted], other[wanted] - found.first[partner], pairs.score[wanted]))
    decoys = int(np.count_nonzero(found.decoy & (found.party == party)))
    return _highest(parts, decoys)


def _highest(parts: list[tuple[Ints, Ints, Floats]], compared: int) -> Likeness:
    if not parts:
        none = np.empty(0, np.int64)
        return Likeness(none, none, np.empty(0), compared)
    source, target, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-score, kind="stable")
    return Likeness(source[order], target[order], score[order], compared)

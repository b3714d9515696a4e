"""The solver's results are anonlink's, and do not depend on order or on how the graph is divided."""

import random

import anonlink
import numpy as np
import pytest
from anonlink.similarities import dice_coefficient_accelerated
from anonlink.solving import greedy_solve
from bitarray import bitarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from broker.matching.groups import GroupTable
from broker.matching.incremental import MatchState
from broker.matching.model import Band, Candidates, PartyRows
from broker.matching.regroup import regrouped
from broker.matching.solve import solve
from broker.matching.subjects import SubjectTable
from tests.simulator.matching import memberships, one_projection, overlapping_parties, random_handles

Memberships = set[frozenset[tuple[str, bytes]]]


def _bitarrays(rows: PartyRows) -> list[bitarray]:
    result = []
    for clk in rows.clks["person"]:
        result.append(bitarray())
        result[-1].frombytes(clk.tobytes())
    return result


def _by_anonlink(parties: list[PartyRows], threshold: float) -> tuple[Memberships, int]:
    """anonlink's own pipeline on datasets in order of agency, each sorted by handle."""
    ordered = [
        rows.take(np.array(sorted(range(len(rows)), key=lambda row: rows.handles[row].tobytes()), np.int64))
        for rows in sorted(parties, key=lambda rows: rows.agency)
    ]
    pairs = anonlink.candidate_generation.find_candidate_pairs(
        [_bitarrays(rows) for rows in ordered], dice_coefficient_accelerated, threshold
    )
    groups = {
        frozenset(
            (ordered[dataset].agency, ordered[dataset].handles[record].tobytes()) for dataset, record in group
        )
        for group in greedy_solve(pairs)
    }
    return groups, len(pairs[0])


@pytest.mark.parametrize("sizes", [(120, 150), (80, 100, 90), (40, 0, 50, 60)])
@pytest.mark.parametrize("threshold", [0.55, 0.7, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_groups_are_those_of_anonlink(sizes: tuple[int, ...], threshold: float, seed: int) -> None:
    parties = overlapping_parties(np.random.default_rng(seed), sizes, bits=64, people=60)
    agencies = [rows.agency for rows in parties]
    state = MatchState.build(one_projection(threshold, bits=64), agencies, parties)
    expected, pair_count = _by_anonlink(parties, threshold)
    assert expected
    assert state.pair_count() == pair_count
    assert memberships(state.result().groups) == expected


def _tangle(rng: np.random.Generator, count: int = 300, edges: int = 300) -> tuple[SubjectTable, Candidates]:
    """Random subjects of three agencies and random edges with many equal scores."""
    subjects = SubjectTable(["a", "b", "c"])
    for party in rng.permutation(3):
        subjects.add(int(party), random_handles(rng, count // 3))
    first, second = rng.integers(0, count, (2, edges))
    apart = subjects.parties[first] != subjects.parties[second]
    a, b = subjects.oriented(first[apart], second[apart])
    a, b = np.unique(np.stack([a, b]), axis=1)
    codes = np.full(len(a), Band.POSSIBLE, np.int8)
    return subjects, Candidates(a, b, rng.choice([0.8, 0.85, 0.9], len(a)), codes, codes)


def _sets(members: np.ndarray, positions: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(members[positions == position].tolist()) for position in np.unique(positions)}


@pytest.mark.parametrize("one_to_one", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_components_may_be_solved_apart(one_to_one: bool, seed: int) -> None:
    subjects, pairs = _tangle(np.random.default_rng(seed))
    whole = _sets(*solve(subjects, pairs, one_to_one=one_to_one))
    graph = coo_array((np.ones(len(pairs)), (pairs.a, pairs.b)), shape=(len(subjects), len(subjects)))
    labels = connected_components(graph, directed=False)[1]
    apart: set[frozenset[int]] = set()
    for label in np.unique(labels[pairs.a]):
        part = pairs.take(labels[pairs.a] == label)
        apart |= _sets(*solve(subjects, part, one_to_one=one_to_one))
    assert len(np.unique(labels[pairs.a])) > 5
    assert whole == apart


@pytest.mark.parametrize("one_to_one", [True, False])
def test_the_order_of_pairs_does_not_matter(one_to_one: bool) -> None:
    rng = np.random.default_rng(9)
    subjects, pairs = _tangle(rng)
    expected = _sets(*solve(subjects, pairs, one_to_one=one_to_one))
    for _ in range(5):
        shuffled = pairs.take(rng.permutation(len(pairs)))
        assert _sets(*solve(subjects, shuffled, one_to_one=one_to_one)) == expected


@pytest.mark.parametrize("part", [1, 7, 40])
@pytest.mark.parametrize("seed", range(5))
def test_pairs_may_be_solved_in_parts(part: int, seed: int) -> None:
    subjects, pairs = _tangle(np.random.default_rng(seed), 60, 600)
    whole = _sets(*solve(subjects, pairs, one_to_one=True))
    assert any(len(group) == 3 for group in whole)
    assert _sets(*solve(subjects, pairs, one_to_one=True, part=part)) == whole


def test_no_pairs_make_no_groups() -> None:
    subjects = SubjectTable(["a", "b"])
    members, positions = solve(subjects, Candidates.none(), one_to_one=True)
    assert len(members) == len(positions) == 0


def _without(pairs: Candidates, gone: np.ndarray) -> Candidates:
    return pairs.take(~(np.isin(pairs.a, gone) | np.isin(pairs.b, gone)))


@pytest.mark.parametrize("one_to_one", [True, False])
@pytest.mark.parametrize("density", [0.3, 0.8, 1.6])
@pytest.mark.parametrize("seed", range(15))
def test_solving_around_a_change_is_solving_the_whole(one_to_one: bool, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    subjects, pairs = _tangle(rng, 600)
    pairs = pairs.take(rng.random(len(pairs)) < density / 2)
    touched = rng.choice(600, 6, replace=False)
    gone, come, changed = touched[:2], touched[2:4], touched[4:]
    before = _without(pairs, come)
    scores = np.where(
        np.isin(pairs.a, changed) | np.isin(pairs.b, changed), 0.99 - pairs.score / 10, pairs.score
    )
    after = _without(Candidates(pairs.a, pairs.b, scores, pairs.band, pairs.via), gone)

    groups = GroupTable(random.Random(seed).randbytes)
    groups.resize(len(subjects))
    everyone = np.arange(len(subjects))
    groups.replace(everyone, *solve(subjects, before, one_to_one=one_to_one))
    old = groups.all_slots().copy()
    change = regrouped(subjects, groups, before, after, touched, one_to_one=one_to_one)
    groups.replace(change.subjects, change.members, change.positions)

    expected = _sets(*solve(subjects, after, one_to_one=one_to_one))
    grouped = np.flatnonzero(groups.all_slots() >= 0)
    assert _sets(grouped, groups.all_slots()[grouped]) == expected
    # Only what moved was mentioned, and everybody else kept the group and its name.
    assert 6 <= len(change.subjects) < 300
    others = np.setdiff1d(everyone, change.subjects)
    assert (groups.all_slots()[others] == old[others]).all()

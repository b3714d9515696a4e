"""From candidate pairs to groups, by anonlink's greedy solvers.

Order is everything to a greedy solver, so it is fixed here: falling score, then agency of the first
subject, agency of the second, handle bytes of the first, handle bytes of the second. That is anonlink's own
order for datasets that are given in order of agency and sorted by handle, hence the groups are those of
``anonlink.find_candidate_pairs`` followed by ``anonlink.solving.greedy_solve`` on such datasets. It depends
on nothing else, least of all on who came first, hence the groups after any sequence of changes are those of
a full run.

Connected components of the candidate graph may be solved apart or together, with equal groups: a greedy
step looks at the two groups that its pair belongs to, both in that pair's component, so it is not affected
by the steps of other components that come between. ``broker.matching.regroup`` goes further.

One-to-one linkages use ``greedy_solve``: every pair inside a group is a candidate, and as there are no
candidates within an agency, a group has at most one subject of each. So, and because groups only grow, two
subjects whose groups already share an agency never come together, and the pair between them may be left out:
it can bring about nothing, and no merger waits for it. Millions of pairs are therefore solved in parts, best
first: each part together with what is left of those before, which is little, for most subjects soon have
their group. That takes a fraction of the solver's memory and time. Linkages with duplicates use
``probabilistic_greedy_solve``: groups merge when half of the pairs between them are candidates.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from broker.matching.model import Candidates, Flags, Ints, Scores
from broker.matching.subjects import SubjectTable

with warnings.catch_warnings():
    # It imports pkg_resources and a deprecated type: of no interest to those who run a broker.
    warnings.simplefilter("ignore")
    from anonlink.solving import greedy_solve, probabilistic_greedy_solve

MERGE_THRESHOLD = 0.5
"""Part of the pairs between two groups that must be candidates, in linkages with duplicates (anonlink's
default)."""

PART_PAIRS = 1_000_000
"""Pairs that the one-to-one solver is given anew at a time."""

_MOST_AGENCIES = 64
"""As many as have a bit each in a word; linkages of more are solved in one part."""

Ranks = NDArray[np.uint32]
RawGroups = Sequence[Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Candidate pairs in the solver's order; ``first`` and ``second`` number the connected subjects."""

    score: Scores
    first: Ranks
    second: Ranks
    #: Of each connected subject, its agency.
    party: Ranks

    def take(self, chosen: Ints) -> tuple[Scores, tuple[Ranks, Ranks], tuple[Ranks, Ranks]]:
        """Some pairs as the solvers take them."""
        # Numbers run over all agencies; within one they rise with the handle: all that the order needs.
        first, second = self.first[chosen], self.second[chosen]
        return self.score[chosen], (self.party[first], self.party[second]), (first, second)


def solve(
    subjects: SubjectTable, pairs: Candidates, *, one_to_one: bool, part: int = PART_PAIRS
) -> tuple[Ints, Ints]:
    """Group the subjects that ``pairs`` connect.

    :param pairs: oriented and folded, in any order.
    :param part: pairs that are solved anew at a time; the groups do not depend on it.
    :return: members (subject numbers) and, for each, the position of its group, 0, 1, 2, ...; a subject
        that ends in no group is not mentioned.
    """
    if not len(pairs):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    nodes, first, second = _ranked(subjects, pairs)
    party = subjects.parties[nodes].astype(np.uint32)
    agencies = party[first] * len(subjects.agencies) + party[second]
    order = np.lexsort((first * np.int64(len(nodes)) + second, agencies, -pairs.score))
    del agencies  # at ten million pairs, memory that the solver needs
    ordered = _Sorted(pairs.score[order], first[order], second[order], party)
    del first, second, order
    if not one_to_one:
        everything = np.arange(len(pairs), dtype=np.int64)
        groups = probabilistic_greedy_solve(
            ordered.take(everything), merge_threshold=MERGE_THRESHOLD, deduplicated=False
        )
        members, positions = _flat(groups)
    else:
        in_parts = len(subjects.agencies) <= _MOST_AGENCIES
        members, positions = _one_to_one(ordered, part if in_parts else len(pairs))
    return nodes[members], positions


def _one_to_one(pairs: _Sorted, part: int) -> tuple[Ints, Ints]:
    """Members and positions of their groups."""
    kept = members = positions = np.empty(0, np.int64)
    for start in range(0, len(pairs.first), part):
        new = np.arange(start, min(start + part, len(pairs.first)), dtype=np.int64)
        group, agencies = _state(pairs.party, members, positions)
        useful = _useful(pairs, np.concatenate([kept, new]), group, agencies)
        if len(useful) and useful[-1] >= start:
            kept = useful
            members, positions = _flat(greedy_solve(pairs.take(kept)))
    return members, positions


def _useful(pairs: _Sorted, chosen: Ints, group: Ints, agencies: NDArray[np.uint64]) -> Ints:
    """Those of the chosen pairs that are inside a group, or between groups that have no agency in common."""
    first, second = group[pairs.first[chosen]], group[pairs.second[chosen]]
    useful: Flags = (first == second) | (agencies[first] & agencies[second] == 0)
    return chosen[useful]


def _state(party: Ranks, members: Ints, positions: Ints) -> tuple[Ints, NDArray[np.uint64]]:
    """The group of each subject, who may be alone in one, and the agencies of each group as bits."""
    count = int(positions.max()) + 1 if len(positions) else 0
    group = count + np.arange(len(party), dtype=np.int64)
    group[members] = positions
    agencies = np.zeros(count + len(party), np.uint64)
    np.bitwise_or.at(agencies, group, np.uint64(1) << party.astype(np.uint64))
    return group, agencies


def _flat(groups: RawGroups) -> tuple[Ints, Ints]:
    """Members and positions of their groups."""
    sizes = np.fromiter(map(len, groups), np.int64, len(groups))
    flat = np.fromiter(chain.from_iterable(chain.from_iterable(groups)), np.int64, 2 * int(sizes.sum()))
    return flat[1::2], np.repeat(np.arange(len(groups), dtype=np.int64), sizes)


def _ranked(subjects: SubjectTable, pairs: Candidates) -> tuple[Ints, Ranks, Ranks]:
    """The connected subjects in canonical order, and both ends of each pair as positions among them."""
    connected = np.zeros(len(subjects), np.bool_)
    connected[pairs.a] = True
    connected[pairs.b] = True
    nodes = np.flatnonzero(connected)
    nodes = nodes[subjects.canonical_order(nodes)]
    rank = np.empty(len(subjects), np.uint32)
    rank[nodes] = np.arange(len(nodes), dtype=np.uint32)
    return nodes, rank[pairs.a], rank[pairs.b]

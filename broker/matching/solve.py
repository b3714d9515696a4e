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
candidates within an agency, a group has at most one subject of each. Linkages with duplicates use
``probabilistic_greedy_solve``: groups merge when half of the pairs between them are candidates.
"""

import warnings
from collections.abc import Sequence
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

from broker.matching.model import Candidates, Ints
from broker.matching.subjects import SubjectTable

with warnings.catch_warnings():
    # It imports pkg_resources and a deprecated type: of no interest to those who run a broker.
    warnings.simplefilter("ignore")
    from anonlink.solving import greedy_solve, probabilistic_greedy_solve

MERGE_THRESHOLD = 0.5
"""Part of the pairs between two groups that must be candidates, in linkages with duplicates (anonlink's
default)."""

Ranks = NDArray[np.uint32]
RawGroups = Sequence[Sequence[tuple[int, int]]]


def solve(subjects: SubjectTable, pairs: Candidates, *, one_to_one: bool) -> tuple[Ints, Ints]:
    """Group the subjects that ``pairs`` connect.

    :param pairs: oriented and folded, in any order.
    :return: members (subject numbers) and, for each, the position of its group, 0, 1, 2, ...; a subject
        that ends in no group is not mentioned.
    """
    if not len(pairs):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    nodes, first, second = _ranked(subjects, pairs)
    party = subjects.parties[nodes].astype(np.uint32)
    agencies = party[first] * len(subjects.agencies) + party[second]
    order = np.lexsort((first * np.int64(len(nodes)) + second, agencies, -pairs.score))
    first, second = first[order], second[order]
    # Ranks run over all agencies; within one they rise with the handle, which is all that the order needs.
    arrays = (pairs.score[order], (party[first], party[second]), (first, second))
    del order, agencies  # at ten million pairs, memory that the solver needs
    groups = cast(
        RawGroups,
        greedy_solve(arrays)
        if one_to_one
        else probabilistic_greedy_solve(arrays, merge_threshold=MERGE_THRESHOLD, deduplicated=False),
    )
    sizes = np.fromiter(map(len, groups), np.int64, len(groups))
    flat = np.fromiter(chain.from_iterable(chain.from_iterable(groups)), np.int64, 2 * int(sizes.sum()))
    return nodes[flat[1::2]], np.repeat(np.arange(len(groups), dtype=np.int64), sizes)


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

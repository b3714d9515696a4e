"""Solving again only where a submission can have made a difference.

At a low threshold most subjects end in one huge connected component, so components alone do not keep the
work small. What does is that a greedy step depends only on the two groups that its pair joins and the pairs
between them, and that groups only grow. Hence, for any set of subjects that holds each of its members'
final groups whole, the solver's steps inside the set are those of a run on the edges inside the set alone.

*Theorem.* Let T be the subjects whose rows changed, so that every edge that came or went has an end in T.
Let C be a set that contains T, all its neighbours before and after, and the old group of each member whole.
Solve the new edges inside C. If no subject whose group differs from its old one, and none of T, has an edge
that leaves C, then this solution of C with the old groups elsewhere is the solution of the whole.

*Proof*, by induction over the solver's order. A pair outside C meets groups that are as before. A pair
inside meets those of the run inside C. A pair (u, y) that leaves C has not changed, and did not join its
groups before, C being closed under old groups. u is not in T and ends in its old group M, and M holds
nobody of T (for T has no edge out of C, and a group with T that had one through u is made to count as
changed below); so the edges inside M are as before, M grew by the same steps at the same times, and the
pair meets the same two groups: again it joins nothing.

If the condition fails, C grows by the neighbours of those subjects, and is solved again.
"""

from dataclasses import dataclass, field

import numpy as np

from broker.matching.groups import NO_GROUP, GroupTable
from broker.matching.model import Candidates, Flags, Ints
from broker.matching.solve import solve
from broker.matching.subjects import SubjectTable


@dataclass(frozen=True, slots=True)
class Regrouping:
    """New groups of some subjects: ``members[i]`` is in group ``positions[i]``, the other subjects in none.

    :param subjects: the touched ones and all whose group changed, each old and new group whole, rising.
    """

    subjects: Ints = field(repr=False)
    members: Ints = field(repr=False)
    positions: Ints = field(repr=False)


def regrouped(
    subjects: SubjectTable,
    groups: GroupTable,
    before: Candidates,
    after: Candidates,
    touched: Ints,
    *,
    one_to_one: bool,
) -> Regrouping:
    """What becomes of the groups when the edges ``before`` turn into ``after``.

    :param touched: at least one end of each edge that came or went.
    """
    slots = groups.all_slots()
    restless = np.zeros(len(subjects), np.bool_)
    restless[touched] = True
    inside = restless | _neighbours(before, restless)
    while True:
        inside |= _neighbours(after, restless)
        inside |= groups.members_of(slots[inside])
        chosen = np.flatnonzero(inside)
        members, positions = solve(
            subjects, after.take(inside[after.a] & inside[after.b]), one_to_one=one_to_one
        )
        old, new = slots[chosen], np.full(len(chosen), NO_GROUP, np.int64)
        new[np.searchsorted(chosen, members)] = positions
        with_touched = np.zeros(len(subjects), np.bool_)
        with_touched[touched] = True
        moved = _differs(old, new) | _shared(old, with_touched[chosen]) | _shared(new, with_touched[chosen])
        restless[:] = False
        restless[chosen[moved]] = True
        if not (_neighbours(after, restless) & ~inside).any():
            kept = restless[members]
            numbers = np.unique(positions[kept], return_inverse=True)[1].astype(np.int64)
            return Regrouping(chosen[moved], members[kept], numbers)


def _neighbours(edges: Candidates, chosen: Flags) -> Flags:
    result = np.zeros(len(chosen), np.bool_)
    result[edges.b[chosen[edges.a]]] = True
    result[edges.a[chosen[edges.b]]] = True
    return result


def _differs(old: Ints, new: Ints) -> Flags:
    """Of each subject, whether its companions differ; both numberings must cover their groups whole."""
    old, new = _labels(old), _labels(new)
    _, both, common = np.unique(old * (len(new) + 1) + new, return_inverse=True, return_counts=True)
    same: Flags = (common[both] == np.bincount(old)[old]) & (common[both] == np.bincount(new)[new])
    return ~same


def _shared(groups: Ints, chosen: Flags) -> Flags:
    """Of each subject, whether it is chosen or in a group with a chosen one."""
    labels = _labels(groups)
    hit = np.zeros(len(groups), np.bool_)
    hit[labels[chosen]] = True
    return hit[labels]


def _labels(groups: Ints) -> Ints:
    """Group numbers below their count, in which each subject without a group is a group of its own."""
    alone = groups == NO_GROUP
    labels = groups.copy()
    labels[alone] = np.arange(np.count_nonzero(alone)) + groups.max(initial=0) + 1
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)

"""Which group each subject is in, and the names that groups keep while their members come and go."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from broker.matching.model import (
    Band,
    Bytes2d,
    Candidates,
    Flags,
    GroupChange,
    GroupId,
    Ints,
    LinkGroup,
    MatchDelta,
    Member,
    Tie,
)
from broker.matching.subjects import SubjectTable

ID_BYTES = 16
NO_GROUP = -1

RandomBytes = Callable[[int], bytes]
"""A source of random bytes, such as ``secrets.token_bytes``."""


class GroupTable:
    """Group membership as columns: a *slot* stands for a group, and each slot has its random id.

    :param new_bytes: where the ids of new groups come from.
    """

    def __init__(self, new_bytes: RandomBytes) -> None:
        self._new_bytes = new_bytes
        self._slots: Ints = np.empty(0, np.int64)
        self._ids: Bytes2d = np.empty((0, ID_BYTES), np.uint8)

    def slots(self, subjects: Ints) -> Ints:
        """The slot of each subject, ``NO_GROUP`` where it is in none."""
        return self._slots[subjects]

    def all_slots(self) -> Ints:
        """The slots of all subjects, by number."""
        return self._slots

    def count(self) -> int:
        """Groups that somebody is in."""
        taken = np.zeros(len(self._ids) + 1, np.bool_)
        taken[self._slots] = True
        return int(np.count_nonzero(taken[:NO_GROUP]))

    def members_of(self, slots: Ints) -> Flags:
        """Of each subject, whether it is in one of some groups."""
        # The last place stands for NO_GROUP, which is no group.
        wanted = np.zeros(len(self._ids) + 1, np.bool_)
        wanted[slots] = True
        wanted[NO_GROUP] = False
        return wanted[self._slots]

    def ids(self, slots: Ints) -> Bytes2d:
        """Ids ``(n, 16)`` of slots."""
        return self._ids[slots]

    def resize(self, subject_count: int) -> None:
        """Make room for subject numbers below ``subject_count``."""
        grown = np.full(subject_count - len(self._slots), NO_GROUP, np.int64)
        self._slots = np.concatenate([self._slots, grown])

    def join(self, members: Ints, positions: Ints) -> None:
        """Put ``members[i]`` into group ``positions[i]`` of those that the next :meth:`name` brings."""
        self._slots[members] = len(self._ids) + positions

    def name(self, ids: Bytes2d) -> None:
        """Take over groups that were named elsewhere, with their ids ``(n, 16)``."""
        self._ids = np.concatenate([self._ids, ids])

    def replace(self, subjects: Ints, members: Ints, positions: Ints) -> None:
        """Regroup ``subjects``: ``members[i]`` is now in group ``positions[i]``, the others in none.

        A new group keeps the id of the old one with which it shares most members, unless another new group
        shares more of them; only a group that shares none, or lost, gets a fresh id. So a group whose
        members stay keeps its id, and one that gains or loses a member does too.

        :param subjects: with every member of every old group that it touches.
        :param positions: 0, 1, 2, ... without gaps.
        """
        count = int(positions.max()) + 1 if len(positions) else 0
        slots = np.full(count, NO_GROUP, np.int64)
        old = self._slots[members]
        for position, slot in _by_overlap(positions[old != NO_GROUP], old[old != NO_GROUP], slots):
            slots[position] = slot
        fresh = np.flatnonzero(slots == NO_GROUP)
        slots[fresh] = len(self._ids) + np.arange(len(fresh))
        new_ids = np.frombuffer(self._new_bytes(ID_BYTES * len(fresh)), np.uint8).reshape(-1, ID_BYTES)
        self._ids = np.concatenate([self._ids, new_ids])
        self._slots[subjects] = NO_GROUP
        self._slots[members] = slots[positions]


def _by_overlap(positions: Ints, old: Ints, taken: Ints) -> Iterator[tuple[int, int]]:
    """Pairs of a new group and an old slot, each at most once, those with most common members first."""
    if not len(old):
        return
    pairs, common = np.unique(np.stack([positions, old]), axis=1, return_counts=True)
    used: set[int] = set()
    for at in np.lexsort((pairs[0], pairs[1], -common)):
        position, slot = int(pairs[0, at]), int(pairs[1, at])
        if taken[position] == NO_GROUP and slot not in used:
            used.add(slot)
            yield position, slot


def link_groups(
    subjects: SubjectTable, table: GroupTable, chosen: Ints, pairs: Candidates
) -> tuple[LinkGroup, ...]:
    """The groups of the ``chosen`` subjects as values, in order of their first member.

    :param chosen: with every member of each group that it touches.
    :param pairs: oriented candidates, with all those between ``chosen``.
    """
    chosen = chosen[table.slots(chosen) != NO_GROUP]
    chosen = chosen[subjects.canonical_order(chosen)]
    slots = table.slots(chosen)
    names, first, group = np.unique(slots, return_index=True, return_inverse=True)
    by_group = np.argsort(group, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=len(names)))])
    place = np.zeros(len(subjects), np.int64)
    place[chosen[by_group]] = np.arange(len(chosen)) - starts[group[by_group]]
    ties = _ties(table, names, pairs, place)
    agencies = [subjects.agencies[party] for party in subjects.parties[chosen[by_group]].tolist()]
    handles = subjects.handles[chosen[by_group]].tobytes()
    members = [
        Member(agency, handles[at : at + 16])
        for agency, at in zip(agencies, range(0, len(handles), 16), strict=True)
    ]
    ids = table.ids(names).tobytes()
    return tuple(
        LinkGroup(
            GroupId(ids[ID_BYTES * at : ID_BYTES * (at + 1)]),
            tuple(members[starts[at] : starts[at + 1]]),
            ties[at],
        )
        for at in np.argsort(first).tolist()
    )


def _ties(table: GroupTable, names: Ints, pairs: Candidates, place: Ints) -> list[tuple[Tie, ...]]:
    """For each slot in ``names`` (sorted) the ties of its group, sorted; ``place`` is a subject's place in
    its group."""
    found: list[list[Tie]] = [[] for _ in names]
    slot = table.slots(pairs.a)
    inside: NDArray[np.bool_] = (slot != NO_GROUP) & (slot == table.slots(pairs.b))
    kept = pairs.take(inside)
    at = np.searchsorted(names, slot[inside])
    for group, first, second, band in zip(
        at.tolist(), place[kept.a].tolist(), place[kept.b].tolist(), kept.band.tolist(), strict=True
    ):
        found[group].append(Tie(first, second, Band(band)))
    return [tuple(sorted(ties)) for ties in found]


def difference(before: Sequence[LinkGroup], after: Sequence[LinkGroup]) -> MatchDelta:
    """What became of groups, told apart by their ids."""
    old = {group.id: group for group in before}
    new = {group.id: group for group in after}
    return MatchDelta(
        added=tuple(group for group in after if group.id not in old),
        changed=tuple(
            GroupChange(old[group.id], group)
            for group in after
            if group.id in old and not group.same_links(old[group.id])
        ),
        removed=tuple(group for group in before if group.id not in new),
    )

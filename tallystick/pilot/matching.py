"""The broker's part of a pilot: candidates and groups by the broker's own code, with the node's decoys in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding import EncodingSection
from broker.matching.candidates import RunControl, find_candidates
from broker.matching.engine import ThreadsEngine
from broker.matching.exact import ExactTokens
from broker.matching.model import Candidates, Ints, MatchSpec, PartyRows, ProjectionSpec
from broker.matching.scoring import folded
from broker.matching.sink import PartyColumns
from broker.matching.solve import solve
from broker.matching.subjects import SubjectTable
from tallystick.pilot.errors import PilotError
from tallystick.pilot.files import PilotParty

_SAMPLED_ROWS = 1_500
_CHANCE_PAIRS = 4_000_000
_CHANCE_PAIRS_PER_ROW = (4, 100)
_MOST_CHANCE = 0.02
_LOWEST = 0.05


@dataclass(frozen=True, slots=True)
class Field:
    """Every candidate above a floor, of subjects and decoys, before any threshold is chosen.

    :param party: ``(n,)`` party of each subject number.
    :param decoy: ``(n,)`` whether each subject number is a decoy.
    :param first: the subject number of each party's first record; records follow in file order.
    """

    spec: MatchSpec
    subjects: SubjectTable = field(repr=False)
    pairs: Candidates = field(repr=False)
    party: NDArray[np.int16] = field(repr=False)
    decoy: NDArray[np.bool_] = field(repr=False)
    first: tuple[int, ...]

    def score_of(self, a: Ints, b: Ints) -> NDArray[np.float64]:
        """The scores of oriented pairs of subject numbers; 0 where a pair is no candidate."""
        return _scores(self.pairs, a, b, len(self.subjects))

    @property
    def one_to_one(self) -> bool:
        """Whether an agency has at most one subject in a group."""
        return self.spec.one_to_one


def match_spec(
    section: EncodingSection, lengths: dict[str, int], floor: float, *, one_to_one: bool
) -> MatchSpec:
    """A specification with one threshold for every projection and no bands yet."""
    return MatchSpec(
        projections=tuple(
            ProjectionSpec(p.name, lengths[p.name], floor, floor, floor) for p in section.projections
        ),
        exact_tokens=tuple(token.name for token in section.exact_tokens),
        one_to_one=one_to_one,
    )


def chance_floor(parties: Sequence[PilotParty], projection: str, rng: np.random.Generator) -> float:
    """A Dice coefficient below which strangers would outnumber people: where to begin looking.

    From random pairs of records of different agencies: from 4 to 100 chance pairs per record lie above it,
    fewer where files are large, so that memory stays bounded.
    """
    scores = []
    for one, other in ((a, b) for k, b in enumerate(parties) for a in parties[:k]):
        left, right = (_bits(party.rows, projection, rng) for party in (one, other))
        if not len(left) or not len(right):
            continue
        both = left.sum(axis=1)[:, None] + right.sum(axis=1)[None, :]
        dice = 2 * (left @ right.T) / np.maximum(both, 1)
        pairs = len(one) * len(other)
        rows = len(one) + len(other)
        wanted = rows * float(np.clip(_CHANCE_PAIRS / rows, *_CHANCE_PAIRS_PER_ROW)) / pairs
        wanted = min(wanted, _MOST_CHANCE)
        scores.append(float(np.quantile(dice, max(0.0, 1 - wanted))))
    if not scores:
        raise PilotError("fewer than two agencies have rows with enough fields to encode")
    return max(_LOWEST, round(max(scores), 4))


def _bits(rows: PartyRows, projection: str, rng: np.random.Generator) -> NDArray[np.float32]:
    present = np.flatnonzero(rows.present[projection])
    chosen = rng.permutation(present)[:_SAMPLED_ROWS]
    return np.unpackbits(rows.clks[projection][chosen], axis=1).astype(np.float32)


def find_field(
    spec: MatchSpec,
    parties: Sequence[PilotParty],
    decoys: Sequence[PartyRows],
    progress: Callable[[str], None],
) -> Field:
    """All candidates: real with real, and each agency's decoys with the real rows of the others.

    Decoys do not meet decoys: each is judged by what it would win if it alone were added.
    """
    agencies = [party.agency for party in parties]
    subjects = SubjectTable(agencies)
    reals, fakes, first, decoy, owner = [], [], [], [], []
    for code, (party, own) in enumerate(zip(parties, decoys, strict=True)):
        handles = np.zeros((len(party), 16), np.uint8)
        handles[party.owner] = party.rows.handles
        missing = np.setdiff1d(np.arange(len(party)), party.owner)
        # a subject whose every row was left out still has a number, which nothing will ever match
        handles[missing, 8:] = missing.astype(">u8").view(np.uint8).reshape(-1, 8)
        numbers = subjects.add(code, handles)
        first.append(int(numbers[0]))
        reals.append(PartyColumns(party.rows, numbers[party.owner]))
        fake = subjects.add(code, own.handles)
        fakes.append(PartyColumns(own, fake))
        decoy += [np.zeros(len(party), np.bool_), np.ones(len(own), np.bool_)]
        owner.append(np.full(len(party) + len(fake), code, np.int16))
    progress("comparing records")
    found = [_search(spec, subjects, reals)]
    across = MatchSpec(spec.projections, spec.exact_tokens, True, spec.max_candidate_pairs)
    for code in range(len(parties)):
        for other in range(len(parties)):
            if other == code or not len(fakes[code].rows):
                continue
            progress(f"comparing decoys of {agencies[code]} with {agencies[other]}")
            columns = [
                fakes[k] if k == code else reals[k] if k == other else _none(agencies[k], spec)
                for k in range(len(parties))
            ]
            found.append(_search(across, subjects, columns))
    pairs = folded(Candidates.concatenate(found))
    return Field(spec, subjects, pairs, np.concatenate(owner), np.concatenate(decoy), tuple(first))


def _none(agency: str, spec: MatchSpec) -> PartyColumns:
    return PartyColumns(PartyRows.empty(agency, spec), np.empty(0, np.int64))


def _search(spec: MatchSpec, subjects: SubjectTable, columns: Sequence[PartyColumns]) -> Candidates:
    tokens = ExactTokens(spec, len(columns))
    for code, party in enumerate(columns):
        tokens.add(code, party)
    return find_candidates(spec, subjects, columns, tokens, ThreadsEngine(), RunControl())


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of subjects of different agencies that ended in one group; ``score`` 0 where only others tie
    them."""

    a: Ints = field(repr=False)
    b: Ints = field(repr=False)
    score: NDArray[np.float64] = field(repr=False)
    groups: int
    own_pairs: int

    def __len__(self) -> int:
        return len(self.a)


def without_beaten(pairs: Candidates, count: int) -> Candidates:
    """Pairs of two agencies without those that one-to-one greedy solving cannot take.

    Two subjects that are each other's single best are linked first, so no other pair of theirs can be; to
    leave those out spares the solver nearly all of the work at a low threshold.
    """
    best = np.zeros(count)
    np.maximum.at(best, pairs.a, pairs.score)
    np.maximum.at(best, pairs.b, pairs.score)
    top = (pairs.score == best[pairs.a]) & (pairs.score == best[pairs.b])
    # with ties, the solver's own order decides, so tied subjects keep all their pairs
    times = np.bincount(pairs.a[top], minlength=count) + np.bincount(pairs.b[top], minlength=count)
    sure = top & (times[pairs.a] == 1) & (times[pairs.b] == 1)
    settled = np.zeros(count, np.bool_)
    settled[pairs.a[sure]] = settled[pairs.b[sure]] = True
    return pairs.take(sure | ~(settled[pairs.a] | settled[pairs.b]))


def links_at(found: Field, pairs: Candidates) -> Links:
    """Solve ``pairs`` and list the links between agencies, with the score of each direct tie."""
    members, position = solve(found.subjects, pairs, one_to_one=found.one_to_one)
    a, b = _pairs_within(members, position)
    groups = int(position.max()) + 1 if len(position) else 0
    cross = found.party[a] != found.party[b]
    own = int(np.count_nonzero(~cross))
    a, b = found.subjects.oriented(a[cross], b[cross])
    return Links(a, b, _scores(pairs, a, b, len(found.subjects)), groups, own)


def _pairs_within(members: Ints, position: Ints) -> tuple[Ints, Ints]:
    """All pairs of members with the same group."""
    order = np.argsort(position, kind="stable")
    members, position = members[order], position[order]
    ones, others = [], []
    step = 1
    while step < len(members):
        same = position[step:] == position[:-step]
        if not same.any():
            break
        ones.append(members[:-step][same])
        others.append(members[step:][same])
        step += 1
    none = np.empty(0, np.int64)
    return (np.concatenate(ones), np.concatenate(others)) if ones else (none, none)


def _scores(pairs: Candidates, a: Ints, b: Ints, count: int) -> NDArray[np.float64]:
    keys = pairs.a * count + pairs.b
    order = np.argsort(keys)
    keys = keys[order]
    wanted = a * count + b
    place = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
    if not len(keys):
        return np.zeros(len(a))
    return np.where(keys[place] == wanted, pairs.score[order][place], 0.0)

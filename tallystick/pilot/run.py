"""A whole pilot: files in, result out. The order is that of a real linkage, in one process.

Read and normalise, encode, find candidates above a low floor together with decoys, estimate, choose, solve
at the chosen threshold, and only then compare with the truth, where there is one.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding import (
    EncodingKeys,
    EncodingReport,
    EncodingSection,
    default_section,
    encode_subjects,
)
from agency_node.encoding.decoys import decoy_rng, make_decoys
from agency_node.encoding.errors import DecoyError
from agency_node.subjects import SubjectId
from broker.matching.errors import PairLimitError
from broker.matching.incremental import MatchState
from broker.matching.model import LinkGroup, MatchSpec, PartyRows, ProjectionSpec
from crypto.canonical import JsonValue
from tallystick.pilot.choose import Choice, choose
from tallystick.pilot.errors import PilotError, UnsupportedDataError
from tallystick.pilot.estimate import Curve, Side, estimate, grid_from, total
from tallystick.pilot.files import FACTS, Columns, Handles, PilotParty, Reader, party_rows, read_party, settle
from tallystick.pilot.guess import guess_mapping
from tallystick.pilot.mapping import FileMapping, MappingPlan, check_agencies, fit_plan
from tallystick.pilot.matching import (
    Field,
    Links,
    chance_floor,
    find_field,
    links_at,
    match_spec,
    without_beaten,
)
from tallystick.pilot.neighbours import Likeness, decoy_likeness, own_neighbours
from tallystick.pilot.score import GroupScore, Score, TruthPairs, score_links, score_subgroups, truth_pairs

Duplicates = Literal["auto", "yes", "no"]

DECOYS: Final = (4_000, 20_000)
SIBLING_SHARE: Final = 0.25
"""Of the decoys, those made of a real household: strangers at the same address are the hard ones."""

FEWEST_ROWS: Final = 50
FEWEST_FACTS: Final = 3
_MANY_DUPLICATES: Final = 0.02
_FLOOR_STEP: Final = 0.02
_FACT_OF: Final = {"birth_year": "date_of_birth", "birth_day_month": "date_of_birth"}


@dataclass(frozen=True, slots=True)
class PilotOptions:
    """What the person asked for.

    :param plans: mapping by agency; "" for all others. Without any, mappings are guessed.
    :param ceiling: the highest estimated false discovery rate that is allowed.
    :param threshold: instead of choosing one.
    """

    files: tuple[tuple[str, Path], ...]
    today: date
    plans: dict[str, MappingPlan] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    section: dict[str, JsonValue] | None = None
    ceiling: float = 0.05
    threshold: float | None = None
    duplicates: Duplicates = "auto"
    seed: int = 1


@dataclass(frozen=True, slots=True)
class TruthResult:
    """What a truth column adds: the score at the threshold, over thresholds, and by subgroup."""

    score: Score
    curve: tuple[Score, ...] = field(repr=False)
    subgroups: tuple[GroupScore, ...]


@dataclass(frozen=True, slots=True)
class PilotLinks:
    """The links found, as positions within the files; ``score`` 0 where only others tie two records."""

    party_a: NDArray[np.int64] = field(repr=False)
    row_a: NDArray[np.int64] = field(repr=False)
    party_b: NDArray[np.int64] = field(repr=False)
    row_b: NDArray[np.int64] = field(repr=False)
    band: NDArray[np.int64] = field(repr=False)
    score: NDArray[np.float64] = field(repr=False)
    group: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.row_a)


@dataclass(frozen=True, slots=True)
class PilotResult:
    """Everything that a pilot reports."""

    parties: tuple[PilotParty, ...] = field(repr=False)
    section: dict[str, JsonValue] = field(repr=False)
    spec: MatchSpec
    curve: Curve = field(repr=False)
    choice: Choice
    links: PilotLinks = field(repr=False)
    groups: int
    own_duplicates: int
    notes: tuple[str, ...]
    truth: TruthResult | None
    seed: int


def run_pilot(options: PilotOptions, progress: Callable[[str], None]) -> PilotResult:
    """Run a pilot.

    :raises PilotError: something is wrong with the files, the mapping or the options.
    :raises UnsupportedDataError: the data do not support the choice of a threshold.
    """
    section_json = options.section or default_section("person")
    section = EncodingSection.from_json(section_json)
    if not section.projections:
        raise PilotError("the schema has no projection; a pilot needs one to estimate anything")
    key = hashlib.sha256(f"tallystick pilot {options.seed}".encode()).digest()
    keys = EncodingKeys.derive(key, "pilot", 1, section_json)
    reader = Reader(section, keys, options.columns, options.today, options.seed, progress)
    mappings, alone, notes = settle(_mappings(options), options.today)
    parties = []
    for mapping in mappings:
        progress(f"{mapping.agency}: reading and encoding {mapping.header.path.name}")
        parties.append(read_party(mapping, reader, alone))
    parties.sort(key=lambda party: party.agency)
    notes = [note for mapping in mappings for note in mapping.notes] + notes + _lost(parties)
    _check_support(parties, section)
    rng = np.random.default_rng(options.seed)
    found, curve, one_to_one, more = _estimated(parties, section, keys, options, rng, progress)
    notes += more
    choice = choose(curve, options.ceiling, rng, options.threshold)
    spec = _chosen_spec(found.spec, choice, one_to_one=one_to_one)
    progress(f"linking at threshold {choice.threshold:.4g}")
    state = MatchState.build(
        spec, [party.agency for party in parties], [party.rows for party in parties],
        new_bytes=random.Random(f"pilot groups {options.seed}").randbytes,  # noqa: S311 - repeatable, not secret
    )  # fmt: skip
    groups = state.result().groups
    links, duplicates = _links_of(groups, parties, found)
    truth = _against_truth(parties, found, curve, links, options) if options.columns.truth else None
    return PilotResult(
        parties=tuple(parties),
        section=section_json,
        spec=spec,
        curve=curve,
        choice=choice,
        links=links,
        groups=len(groups),
        own_duplicates=duplicates,
        notes=tuple(notes),
        truth=truth,
        seed=options.seed,
    )


def load_section(path: Path) -> dict[str, JsonValue]:
    """An ``encoding`` section from a file, or one out of a linkage agreement.

    :raises PilotError: it cannot be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PilotError(f"{path}: is not a readable JSON schema ({error})") from None
    if isinstance(value, dict) and isinstance(value.get("encoding"), dict):
        value = value["encoding"]
    if not isinstance(value, dict):
        raise PilotError(f"{path}: must hold an object with projections, exact_tokens and minimum_fields")
    return value


def _mappings(options: PilotOptions) -> list[FileMapping]:
    agencies = [agency for agency, _ in options.files]
    for plan in options.plans.values():
        check_agencies(plan, agencies)
    mappings = []
    for agency, path in options.files:
        named = options.plans.get(agency) or options.plans.get("")
        if named is None:
            mappings.append(guess_mapping(agency, path, options.columns.names))
            continue
        mapping = fit_plan(named, agency, path)
        secret = sorted(set(mapping.columns) & set(options.columns.names) - {mapping.record_id})
        if secret:
            raise PilotError(
                f'the mapping of {agency} uses the column "{secret[0]}", which is for scoring only; '
                "linking by the answer would measure nothing"
            )
        mappings.append(mapping)
    return mappings


def _lost(parties: Sequence[PilotParty]) -> list[str]:
    notes = []
    for party in parties:
        if party.problems.rows_lost:
            bad = [problem for problem in party.problems.listed if problem.drops_row]
            more = f" and {party.problems.rows_lost - 3:,} more" if party.problems.rows_lost > 3 else ""
            notes.append(
                f"{party.agency}: {party.problems.rows_lost:,} malformed rows left out: "
                + "; ".join(problem.render() for problem in bad[:3])
                + more
            )
    return notes


def _check_support(parties: Sequence[PilotParty], section: EncodingSection) -> None:
    name = section.projections[0].name
    for party in parties:
        if len(party) < FEWEST_ROWS:
            raise UnsupportedDataError(
                "too-few-rows",
                f"{party.agency} has {len(party)} usable rows; at least {FEWEST_ROWS} are needed to tell how "
                "often strangers look alike",
            )
    shared = set(FACTS)
    for party in parties:
        often = [np.count_nonzero(party.facts.held >> bit & 1) for bit in range(len(FACTS))]
        shared &= {name for name, count in zip(FACTS, often, strict=True) if count > 0.01 * len(party)}
    facts = {_FACT_OF.get(name, name) for name in shared}
    if len(facts) < FEWEST_FACTS:
        raise UnsupportedDataError(
            "too-few-fields",
            f"the files share only {', '.join(sorted(facts)) or 'no field'}; at least {FEWEST_FACTS} of name "
            "parts, date of birth, sex, address and postcode are needed to tell people apart",
        )
    for party in parties:
        usable = np.count_nonzero(party.rows.present[name])
        if usable < FEWEST_ROWS:
            raise UnsupportedDataError(
                "too-few-fields",
                f"only {usable:,} of {len(party):,} rows of {party.agency} have enough fields to be encoded",
            )


def _decoys(
    party: PilotParty, section: EncodingSection, keys: EncodingKeys, options: PilotOptions
) -> PartyRows:
    count = int(np.clip(4 * len(party), *DECOYS))
    try:
        made = make_decoys(party.sample, count, decoy_rng(keys, party.agency), SIBLING_SHARE)
    except DecoyError as error:
        raise UnsupportedDataError("indistinguishable", f"{party.agency}: {error}") from None
    numbered = [replace(one, subject_id=SubjectId(str(number))) for number, one in enumerate(made)]
    handles = Handles(random.Random(f"pilot decoys {options.seed} {party.agency}"))  # noqa: S311 - not secret
    chunks = encode_subjects(section, numbered, keys, handles, EncodingReport(), on_invalid="blank")
    return party_rows(party.agency, section, list(chunks))


def _estimated(
    parties: Sequence[PilotParty],
    section: EncodingSection,
    keys: EncodingKeys,
    options: PilotOptions,
    rng: np.random.Generator,
    progress: Callable[[str], None],
) -> tuple[Field, Curve, bool, list[str]]:
    """Candidates, the estimated curve, and whether the linkage is one-to-one."""
    lengths = {p.name: parties[0].rows.clks[p.name].shape[1] * 8 for p in section.projections}
    floor = min(chance_floor(parties, p.name, rng) for p in section.projections)
    if options.threshold is not None:
        floor = min(floor, options.threshold)
    progress("making decoys")
    decoys = [_decoys(party, section, keys, options) for party in parties]
    while True:
        spec = match_spec(section, lengths, floor, one_to_one=True)
        try:
            found = find_field(spec, parties, decoys, progress)
            progress("comparing each file with itself")
            own = [own_neighbours(party, floor, rng) for party in parties]
            break
        except PairLimitError:
            # records that are more alike than the sample showed, such as many with few fields
            floor = min(0.95, floor + _FLOOR_STEP)
            progress(f"too many likenesses; looking only above {floor:.3f}")
            if floor >= 0.95 or (options.threshold is not None and floor > options.threshold):
                raise
    progress("estimating")
    pairs = [(a, b) for b in range(len(parties)) for a in range(b)]
    scores = {pair: _link_scores(found, parties, pair) for pair in pairs}
    notes: list[str] = []
    many = options.duplicates == "yes"
    if options.duplicates == "auto":
        repeated = [_repeats(own[k], k, scores, len(party)) for k, party in enumerate(parties)]
        many = any(share > _MANY_DUPLICATES for share in repeated)
        notes = [
            f"{party.agency}: about {share:.0%} of its records seem to be in its file more than once, so "
            "several records of one agency may be linked (--duplicates no forbids it)"
            for party, share in zip(parties, repeated, strict=True)
            if share > _MANY_DUPLICATES
        ]
    grid = grid_from(floor)
    curves = []
    for (a, b), both in scores.items():
        sides = [
            Side(
                both[at] if not many else _best_scores(found, parties, (a, b), at),
                None if many else own[party],
                decoy_likeness(found, party, partner),
            )
            for at, (party, partner) in enumerate(((a, b), (b, a)))
        ]
        curves.append(estimate(sides[0], sides[1], grid, one_to_one=not many))
    return found, total(curves), not many, notes


def _real_pairs(found: Field, pair: tuple[int, int]) -> NDArray[np.bool_]:
    a, b = found.pairs.a, found.pairs.b
    chosen = (found.party[a] == pair[0]) & (found.party[b] == pair[1])
    return np.asarray(chosen & ~found.decoy[a] & ~found.decoy[b])


def _pair_links(found: Field, pair: tuple[int, int]) -> Links:
    return links_at(found, without_beaten(found.pairs.take(_real_pairs(found, pair)), len(found.subjects)))


def _link_scores(
    found: Field, parties: Sequence[PilotParty], pair: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each record of two agencies, the score of its link with the other, one-to-one; 0 without one."""
    links = _pair_links(found, pair)
    scores = tuple(np.zeros(len(parties[party])) for party in pair)
    scores[0][links.a - found.first[pair[0]]] = links.score
    scores[1][links.b - found.first[pair[1]]] = links.score
    return scores[0], scores[1]


def _best_scores(
    found: Field, parties: Sequence[PilotParty], pair: tuple[int, int], at: int
) -> NDArray[np.float64]:
    """Of each record of ``pair[at]``, the best score with any record of the other agency; 0 without one."""
    chosen = found.pairs.take(_real_pairs(found, pair))
    ends = (chosen.a, chosen.b)[at] - found.first[pair[at]]
    best = np.zeros(len(parties[pair[at]]))
    np.maximum.at(best, ends, chosen.score)
    return best


def _repeats(
    own: Likeness,
    party: int,
    scores: dict[tuple[int, int], tuple[NDArray[np.float64], NDArray[np.float64]]],
    rows: int,
) -> float:
    """The part of a file's records that resemble another of the same file as links resemble each other.

    Half of the true links lie above their median, hence twice the records that reach it.
    """
    linked = np.concatenate([both[pair.index(party)] for pair, both in scores.items() if party in pair])
    linked = linked[linked > 0]
    if len(linked) < FEWEST_ROWS:
        return 0.0
    usual = float(np.quantile(linked, 0.75))
    return 4 * len(np.unique(own.source[own.score >= usual])) / max(1, own.compared)


def _chosen_spec(spec: MatchSpec, choice: Choice, *, one_to_one: bool) -> MatchSpec:
    projections = tuple(
        ProjectionSpec(p.name, p.length_bits, choice.threshold, choice.probable, choice.strong)
        for p in spec.projections
    )
    return MatchSpec(projections, spec.exact_tokens, one_to_one, spec.max_candidate_pairs)


def _links_of(
    groups: Sequence[LinkGroup], parties: Sequence[PilotParty], found: Field
) -> tuple[PilotLinks, int]:
    """The links between agencies in all groups, and how many pairs within an agency there are."""
    place = {party.agency: at for at, party in enumerate(parties)}
    rows: list[tuple[int, int, int, int, int, int]] = []
    own = 0
    for number, group in enumerate(groups):
        at = [(place[m.agency], int.from_bytes(m.handle[8:], "big")) for m in group.members]
        position = dict(zip(group.members, at, strict=True))
        for one, other, band in group.pairs():
            (pa, ra), (pb, rb) = position[one], position[other]
            rows.append((pa, ra, pb, rb, int(band), number))
        counts = np.bincount([party for party, _ in at])
        own += int(np.sum(counts * (counts - 1) // 2))
    columns = np.array(rows, np.int64).reshape(-1, 6).T
    a = np.array(found.first)[columns[0]] + columns[1]
    b = np.array(found.first)[columns[2]] + columns[3]
    a, b = found.subjects.oriented(a, b)
    score = found.score_of(a, b)
    return PilotLinks(columns[0], columns[1], columns[2], columns[3], columns[4], score, columns[5]), own


def _against_truth(
    parties: Sequence[PilotParty], found: Field, curve: Curve, links: PilotLinks, options: PilotOptions
) -> TruthResult:
    truth = truth_pairs(parties)
    if not len(truth.a):
        raise PilotError(
            f'no value of "{options.columns.truth}" is in more than one file; is it the right truth column?'
        )
    start = np.concatenate([[0], np.cumsum([len(party) for party in parties])]).astype(np.int64)
    a, b = start[links.party_a] + links.row_a, start[links.party_b] + links.row_b
    return TruthResult(
        score=score_links(truth, a, b),
        curve=_truth_curve(truth, parties, found, curve, start),
        subgroups=tuple(score_subgroups(truth, parties, a, b, options.today.year)),
    )


def _truth_curve(
    truth: TruthPairs, parties: Sequence[PilotParty], found: Field, curve: Curve, start: NDArray[np.int64]
) -> tuple[Score, ...]:
    """Scores over the thresholds that were judged, each two agencies linked one-to-one."""
    scores, right = [], []
    for pair in ((a, b) for b in range(len(parties)) for a in range(b)):
        links = _pair_links(found, pair)
        scores.append(links.score)
        right.append(
            truth.right(
                start[pair[0]] + links.a - found.first[pair[0]],
                start[pair[1]] + links.b - found.first[pair[1]],
            )
        )
    score, correct = np.concatenate(scores), np.concatenate(right)
    return tuple(
        Score(int(np.count_nonzero(score >= t)), int(np.count_nonzero(correct & (score >= t))), len(truth.a))
        for t in curve.grid
    )

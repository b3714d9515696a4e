"""Runs every attack against every projection of a section, and their union, and keeps what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from agency_node.encoding import EncodingSection, schema_hash
from agency_node.subjects import SubjectType
from crypto.canonical import JsonValue, canonical_json, sha256_hex
from tallystick.privacy.cost import CostResult, linkage_quality
from tallystick.privacy.encodings import Bits, Target, encode, made_up_keys, targets_of
from tallystick.privacy.errors import PrivacyReportError
from tallystick.privacy.gates import AttackResults, Gate, TargetReport, Verdict, gates_of, verdict_of
from tallystick.privacy.grams import cuts_of, grams_of
from tallystick.privacy.graph import GraphResult, graph_matching_attack
from tallystick.privacy.key_holder import KeyHolderResult, TokenResult, key_holder_attack, token_frequencies
from tallystick.privacy.known_pairs import known_pairs_attack
from tallystick.privacy.mining import pattern_mining_attack
from tallystick.privacy.people import Fields, Records, subject_type_of, synthetic_records, synthetic_views
from tallystick.privacy.profile import bit_profile
from tallystick.privacy.proportion import Proportion

FORMAT: Final = "tallystick-privacy-report/v1"
FEWEST_ROWS: Final = 300
MOST_ROWS: Final = 50_000
MOST_GRAPH_ROWS: Final = 10_000
_NAMES: Final = ("given_names", "family_name")
_ADDRESS: Final = ("house", "street", "town", "address", "postcode")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How large the attacks are. Graph matching takes the square of ``graph_rows`` in memory and time.

    :param repeats: draws of known pairs.
    """

    rows: int = 5_000
    graph_rows: int = 2_000
    cost_rows: int = 3_000
    seed: int = 1
    pairs: tuple[int, ...] = (50, 200, 500)
    overlaps: tuple[int, ...] = (100, 50, 20)
    repeats: int = 2

    @classmethod
    def quick(cls, seed: int = 1) -> Settings:
        """A smoke run of seconds, whose numbers are not for signing."""
        return cls(rows=1_500, graph_rows=400, cost_rows=600, seed=seed, pairs=(20, 60, 150), repeats=1)

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {
            "rows": self.rows,
            "graph_rows": self.graph_rows,
            "cost_rows": self.cost_rows,
            "seed": self.seed,
            "pairs": list(self.pairs),
            "overlaps": list(self.overlaps),
            "repeats": self.repeats,
        }


@dataclass(frozen=True, slots=True)
class FieldUse:
    """One encoded field in the data: how many have it, and how many share their value with nobody."""

    name: str
    having: Proportion
    unique: Proportion

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {"name": self.name, "having": self.having.to_json(), "unique": self.unique.to_json()}


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """What was tried on an encoding section, and what came out.

    :param schema_hash: of the section, as linkage agreements name it.
    :param held_out: for people: which data were held out for this; empty for synthetic ones.
    """

    schema_hash: str
    subject_type: SubjectType
    source: str
    held_out: str
    records: int
    settings: Settings
    fields: tuple[FieldUse, ...]
    targets: tuple[TargetReport, ...]
    key_holder: KeyHolderResult
    tokens: tuple[TokenResult, ...]
    cost: tuple[CostResult, ...] = field(default=())

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Every limit and whether it is kept, by projection; the worst decides."""
        return tuple(gate for target in self.targets for gate in gates_of(target))

    @property
    def verdict(self) -> Verdict:
        """``pass``, ``concern`` or ``fail``."""
        return verdict_of(self.gates)

    def to_json(self) -> dict[str, JsonValue]:
        """The whole report, without floats. The same inputs give the same report on the same machine."""
        return {
            "format": FORMAT,
            "schema_hash": self.schema_hash,
            "subject_type": self.subject_type,
            "data": {"source": self.source, "held_out": self.held_out, "records": self.records},
            "settings": self.settings.to_json(),
            "fields": [item.to_json() for item in self.fields],
            "targets": [item.to_json() for item in self.targets],
            "key_holder": self.key_holder.to_json(),
            "exact_tokens": [item.to_json() for item in self.tokens],
            "hardening_cost": [item.to_json() for item in self.cost],
            "gates": [item.to_json() for item in self.gates],
            "verdict": self.verdict,
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785): the file whose hash the agreement names."""
        return canonical_json(self.to_json())

    @property
    def digest(self) -> str:
        """SHA-256 hex of :meth:`to_bytes`: ``privacy_report_hash`` of the linkage agreement."""
        return sha256_hex(self.to_bytes())


def privacy_report(
    section_json: Mapping[str, JsonValue],
    settings: Settings,
    *,
    held_out: Records | None = None,
    held_out_as: str = "",
    narrow_exceptions: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> PrivacyReport:
    """Attack the encodings that an agreement's ``encoding`` section would make.

    Works on synthetic records unless ``held_out`` gives others, which must never be live; ``held_out_as``
    says for people which they are. The accuracy cost is always measured on synthetic agencies.

    :raises PrivacyReportError: too few records, or a section without a projection.
    :raises EncodingSectionError: the section is malformed.
    """
    section = EncodingSection.from_json(section_json, narrow_exceptions)
    targets = targets_of(section)
    if not targets:
        raise PrivacyReportError("the encoding section has no projection, so there is nothing to attack")
    _check(settings)
    subject_type = subject_type_of(section)
    wanted = max(settings.rows, round(settings.graph_rows * (2 - min(settings.overlaps) / 100)) + 1)
    if held_out is None:
        progress("making synthetic records")
        held_out = synthetic_records(subject_type, wanted, settings.seed)
    if len(held_out) < FEWEST_ROWS:
        raise PrivacyReportError(
            f"{len(held_out)} distinct records are too few; at least {FEWEST_ROWS} are needed for any figure"
        )
    settings = _fitted(settings, len(held_out))
    bench = _Bench(held_out, settings, progress)
    reports = [bench.attack(target, subject_type) for target in targets]
    keys = made_up_keys(settings.seed, "agencies")
    rows = bench.rows
    progress("a key holder's dictionary")
    widest = targets[-1]
    key_holder = key_holder_attack(widest, rows, keys, settings.seed)
    return PrivacyReport(
        schema_hash=schema_hash(dict(section_json)),
        subject_type=subject_type,
        source=held_out.source,
        held_out=held_out_as,
        records=len(held_out),
        settings=settings,
        fields=tuple(_field_use(name, rows) for name in widest.fields),
        targets=tuple(reports),
        key_holder=key_holder,
        tokens=tuple(token_frequencies(section, rows, keys)),
        cost=tuple(_cost(widest, subject_type, settings, progress)),
    )


class _Bench:
    """The records, dealt once, and the attacks on them."""

    def __init__(self, records: Records, settings: Settings, progress: Progress) -> None:
        self._all = records.rows
        self.rows = records.rows[: settings.rows]
        self._settings = settings
        self._progress = progress

    def attack(self, target: Target, subject_type: SubjectType) -> TargetReport:
        """Every attack on a target, and the same on its plain form as a control."""
        plain = target.plain()
        control = None if plain == target else self._attacks(plain, subject_type, "control without hardening")
        results = self._attacks(target, subject_type, ", ".join(target.kinds))
        return TargetReport(target.name, target.fields, target.kinds, results, control)

    def _attacks(self, target: Target, subject_type: SubjectType, what: str) -> AttackResults:
        settings, seed = self._settings, self._settings.seed
        say = f"{target.name}, {what}"
        self._progress(f"{say}: bit profile")
        bits = encode(target, self.rows, made_up_keys(seed, "agencies"))
        cuts = cuts_of(target)
        known = []
        for knows, fields in lists_of(target, subject_type):
            grams = grams_of(self.rows, cuts, fields)
            for pairs in settings.pairs:
                self._progress(f"{say}: {pairs} known pairs, {knows}")
                rng = np.random.default_rng([seed, 3, pairs])
                known.append(known_pairs_attack(bits, grams, pairs, knows, rng, settings.repeats))
        self._progress(f"{say}: pattern mining")
        grams = grams_of(self.rows, cuts, target.fields)
        mining = pattern_mining_attack(bits, grams, np.random.default_rng([seed, 5]))
        graph = tuple(self._graph(target, overlap, say) for overlap in settings.overlaps)
        return AttackResults(bit_profile(bits), graph, tuple(known), mining)

    def _graph(self, target: Target, overlap: int, say: str) -> GraphResult:
        self._progress(f"{say}: graph matching at {overlap} per cent overlap")
        count, seed = self._settings.graph_rows, self._settings.seed
        shared = count * overlap // 100
        rng = np.random.default_rng([seed, 2, overlap])
        mine, theirs = rng.permutation(count), rng.permutation(count)
        public = (*self._all[:shared], *self._all[count : 2 * count - shared])
        encoded = self._encoded(target, [self._all[place] for place in mine], "agencies")
        listed = self._encoded(target, [public[place] for place in theirs], "attacker")
        where = np.empty(count, np.int64)
        where[theirs] = np.arange(count)
        truth = np.where(mine < shared, where[mine], -1)
        return graph_matching_attack(encoded, listed, truth, overlap)

    def _encoded(self, target: Target, rows: Sequence[Fields], holder: str) -> Bits:
        return encode(target, rows, made_up_keys(self._settings.seed, holder))


def lists_of(target: Target, subject_type: SubjectType) -> list[tuple[str, tuple[str, ...]]]:
    """The public lists that a known-pairs attacker is given: what each tells, in words and in fields."""
    lists: list[tuple[str, tuple[str, ...]]] = []
    if subject_type == "person":
        for words, wanted in (("names", _NAMES), ("names and addresses", (*_NAMES, *_ADDRESS))):
            fields = tuple(name for name in target.fields if name in wanted)
            if fields and all(fields != other for _, other in lists):
                lists.append((words, fields))
    if all(target.fields != other for _, other in lists):
        lists.append(("everything that is encoded", target.fields))
    return lists


def _cost(
    target: Target, subject_type: SubjectType, settings: Settings, progress: Progress
) -> list[CostResult]:
    progress("accuracy with and without hardening")
    views = synthetic_views(subject_type, settings.cost_rows, settings.seed)
    keys = made_up_keys(settings.seed, "agencies")
    forms = [target] if target.plain() == target else [target, target.plain()]
    return [linkage_quality(form, views, keys) for form in forms]


def _field_use(name: str, rows: Sequence[Fields]) -> FieldUse:
    values = [value for row in rows if (value := row.get(name))]
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    unique = sum(count == 1 for count in counts.values())
    return FieldUse(name, Proportion(len(values), len(rows)), Proportion(unique, len(values)))


def _check(settings: Settings) -> None:
    for value, name, low, high in (
        (settings.rows, "rows", FEWEST_ROWS, MOST_ROWS),
        (settings.graph_rows, "rows for graph matching", 50, MOST_GRAPH_ROWS),
        (settings.cost_rows, "rows per agency for the cost", 50, MOST_ROWS),
    ):
        if not low <= value <= high:
            raise PrivacyReportError(f"{value:,} {name}: choose between {low:,} and {high:,}")


def _fitted(settings: Settings, available: int) -> Settings:
    """The settings that so many records allow; at most half of the records may be known pairs."""
    rows = min(settings.rows, available)
    most = int(available / (2 - min(settings.overlaps) / 100))
    pairs = tuple(count for count in settings.pairs if count <= rows // 2)
    return replace(settings, rows=rows, graph_rows=min(settings.graph_rows, most), pairs=pairs)

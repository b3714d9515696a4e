"""The values that matching takes in and gives out.

A *row* is one encoding of one subject; several rows may carry the same handle (former names, former
addresses). A *subject* is one ``(agency, handle)``. A *candidate* is a pair of subjects with at least one
pair of rows whose Dice coefficient reaches a projection's threshold, or with an equal exact token. A *link
group* is a set of subjects that the solver takes to be one person or place.

Bulk values are columns (numpy arrays of equal length), because a run holds millions of them; single values
are small frozen dataclasses. Handles, encodings and tokens never appear in a ``repr``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from broker.matching.errors import MatchInputError

HANDLE_BYTES = 16
TOKEN_BYTES = 32

Bytes2d = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Scores = NDArray[np.float64]
Codes = NDArray[np.int8]


class Band(IntEnum):
    """Strength of a link: all that a node ever learns of a score. Higher is stronger."""

    POSSIBLE = 1
    PROBABLE = 2
    STRONG = 3

    @property
    def label(self) -> str:
        """The word used in documents and on screen: ``possible``, ``probable`` or ``strong``."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class ProjectionSpec:
    """One projection: its length in bits, and the Dice coefficients where candidates and the bands begin."""

    name: str
    length_bits: int
    threshold: float
    probable: float
    strong: float

    def __post_init__(self) -> None:
        if self.length_bits <= 0 or self.length_bits % 8:
            raise MatchInputError(
                f"projection {self.name!r}: length {self.length_bits} is not a positive multiple of 8 bits"
            )
        if not 0.0 < self.threshold <= self.probable <= self.strong <= 1.0:
            raise MatchInputError(
                f"projection {self.name!r}: need 0 < threshold <= probable <= strong <= 1, "
                f"got {self.threshold}, {self.probable}, {self.strong}"
            )


@dataclass(frozen=True, slots=True)
class MatchSpec:
    """What a linkage agreement says about matching.

    :param projections: in the agreement's order; scores of all are expressed on the scale of the first.
    :param exact_tokens: names of the keyed tokens whose equality alone makes a candidate of score 1.
    :param one_to_one: at most one subject of each agency in a group; else an agency's own duplicates are
        grouped too.
    :param max_candidate_pairs: stop with :class:`~broker.matching.errors.PairLimitError` beyond this many.
    """

    projections: tuple[ProjectionSpec, ...]
    exact_tokens: tuple[str, ...] = ()
    one_to_one: bool = True
    max_candidate_pairs: int = 50_000_000

    def __post_init__(self) -> None:
        names = [projection.name for projection in self.projections] + list(self.exact_tokens)
        if not names:
            raise MatchInputError("a linkage needs at least one projection or exact token")
        if len(set(names)) != len(names):
            raise MatchInputError(f"projections and exact tokens need distinct names, got {names}")
        if self.max_candidate_pairs < 1:
            raise MatchInputError("max_candidate_pairs must be at least 1")


@dataclass(frozen=True, slots=True)
class PartyRows:
    """All rows of one agency, or the rows of one submission of it, as columns of length ``n``.

    :param handles: ``(n, 16)``; rows with the same handle belong to the same subject.
    :param row_numbers: ``(n,)``; 0 is the current identity, 1, 2, ... are former ones.
    :param clks: by projection name, ``(n, length_bits // 8)`` packed encodings.
    :param present: by projection name, ``(n,)``; False where the row has no encoding of that projection.
    :param exact: by token name, ``(n, 32)``.
    :param exact_present: by token name, ``(n,)``.
    """

    agency: str
    handles: Bytes2d = field(repr=False)
    row_numbers: Ints = field(repr=False)
    clks: dict[str, Bytes2d] = field(repr=False, default_factory=dict)
    present: dict[str, Flags] = field(repr=False, default_factory=dict)
    exact: dict[str, Bytes2d] = field(repr=False, default_factory=dict)
    exact_present: dict[str, Flags] = field(repr=False, default_factory=dict)

    def __len__(self) -> int:
        return len(self.handles)

    def check(self, spec: MatchSpec) -> None:
        """Raise :class:`MatchInputError` unless every column that ``spec`` needs is here in the right
        shape."""
        count = len(self.handles)
        expected: list[tuple[str, NDArray[np.generic] | None, tuple[int, ...]]] = [
            ("handles", self.handles, (count, HANDLE_BYTES)),
            ("row_numbers", self.row_numbers, (count,)),
        ]
        for projection in spec.projections:
            name = projection.name
            expected.append((f"clks of {name!r}", self.clks.get(name), (count, projection.length_bits // 8)))
            expected.append((f"present of {name!r}", self.present.get(name), (count,)))
        for name in spec.exact_tokens:
            expected.append((f"exact {name!r}", self.exact.get(name), (count, TOKEN_BYTES)))
            expected.append((f"exact_present of {name!r}", self.exact_present.get(name), (count,)))
        for what, column, shape in expected:
            found = None if column is None else column.shape
            if found != shape:
                raise MatchInputError(
                    f"agency {self.agency!r}: {what} should have shape {shape}, got {found}"
                )

    @staticmethod
    def empty(agency: str, spec: MatchSpec) -> "PartyRows":
        """No rows, in the shape that ``spec`` asks for."""
        widths = {projection.name: projection.length_bits // 8 for projection in spec.projections}
        return PartyRows(
            agency=agency,
            handles=np.empty((0, HANDLE_BYTES), np.uint8),
            row_numbers=np.empty(0, np.int64),
            clks={name: np.empty((0, width), np.uint8) for name, width in widths.items()},
            present={name: np.empty(0, np.bool_) for name in widths},
            exact={name: np.empty((0, TOKEN_BYTES), np.uint8) for name in spec.exact_tokens},
            exact_present={name: np.empty(0, np.bool_) for name in spec.exact_tokens},
        )

    def followed_by(self, other: "PartyRows") -> "PartyRows":
        """These rows, then those of ``other``, which is of the same agency and has the same columns."""
        if not len(self) or not len(other):
            return self if len(self) else other
        return PartyRows(
            agency=self.agency,
            handles=np.concatenate([self.handles, other.handles]),
            row_numbers=np.concatenate([self.row_numbers, other.row_numbers]),
            clks={name: np.concatenate([column, other.clks[name]]) for name, column in self.clks.items()},
            present={
                name: np.concatenate([column, other.present[name]]) for name, column in self.present.items()
            },
            exact={name: np.concatenate([column, other.exact[name]]) for name, column in self.exact.items()},
            exact_present={
                name: np.concatenate([column, other.exact_present[name]])
                for name, column in self.exact_present.items()
            },
        )

    def take(self, rows: Ints | Flags) -> "PartyRows":
        """The chosen rows (indices or a mask), as a copy."""
        return PartyRows(
            agency=self.agency,
            handles=self.handles[rows],
            row_numbers=self.row_numbers[rows],
            clks={name: column[rows] for name, column in self.clks.items()},
            present={name: column[rows] for name, column in self.present.items()},
            exact={name: column[rows] for name, column in self.exact.items()},
            exact_present={name: column[rows] for name, column in self.exact_present.items()},
        )


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate pairs of subjects, one row each, without duplicates; ``a`` and ``b`` number subjects of
    one table.

    :param score: Dice coefficient on the scale of the first projection (see ``broker.matching.scoring``).
    :param band: :class:`Band` values.
    :param via: what gave the score: index of the projection, or ``len(projections)`` + index of the exact
        token.
    """

    a: Ints = field(repr=False)
    b: Ints = field(repr=False)
    score: Scores = field(repr=False)
    band: Codes = field(repr=False)
    via: Codes = field(repr=False)

    def __len__(self) -> int:
        return len(self.a)

    def take(self, rows: Ints | Flags) -> "Candidates":
        """The chosen pairs (indices or a mask), as a copy."""
        return Candidates(self.a[rows], self.b[rows], self.score[rows], self.band[rows], self.via[rows])

    @staticmethod
    def none() -> "Candidates":
        """No pairs."""
        ints, codes = np.empty(0, np.int64), np.empty(0, np.int8)
        return Candidates(ints, ints, np.empty(0, np.float64), codes, codes)

    @staticmethod
    def concatenate(parts: "list[Candidates]") -> "Candidates":
        """All pairs of ``parts``, in order."""
        if not parts:
            return Candidates.none()
        return Candidates(
            np.concatenate([part.a for part in parts]),
            np.concatenate([part.b for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.band for part in parts]),
            np.concatenate([part.via for part in parts]),
        )


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One subject: an agency, and the 16 opaque bytes by which that agency knows it in this linkage and
    epoch."""

    agency: str
    handle: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, order=True)
class GroupId:
    """Names a link group for as long as it lives: 16 random bytes that say nothing about its members."""

    raw: bytes

    @property
    def text(self) -> str:
        """Lower-case hex, 32 characters."""
        return self.raw.hex()

    @staticmethod
    def parse(text: str) -> "GroupId":
        """The inverse of :attr:`text`."""
        return GroupId(bytes.fromhex(text))


@dataclass(frozen=True, slots=True, order=True)
class Tie:
    """A direct candidate edge inside a group, between ``members[first]`` and ``members[second]``, first <
    second."""

    first: int
    second: int
    band: Band


@dataclass(frozen=True, slots=True)
class LinkGroup:
    """Subjects taken to be one person or place: two or more members in canonical order, and their direct
    ties."""

    id: GroupId
    members: tuple[Member, ...]
    ties: tuple[Tie, ...]

    @property
    def agencies(self) -> frozenset[str]:
        """The agencies with at least one subject in the group."""
        return frozenset(member.agency for member in self.members)

    def band(self, one: Member, other: Member) -> Band:
        """Strength between two members; see :meth:`pairs`.

        :raises ValueError: either is no member, or both are the same.
        """
        first, second = sorted((self.members.index(one), self.members.index(other)))
        if first == second:
            raise ValueError("a member has no link with itself")
        return self._bands()[first, second]

    def pairs(self) -> Iterator[tuple[Member, Member, Band]]:
        """Every pair of members of *different* agencies, with its strength.

        That of their direct tie. Where only others connect them: ``PROBABLE`` if ties that are at least
        probable do, since each step is likely and the solver took them for one; never ``STRONG``, because
        nothing compares the two with each other; ``POSSIBLE`` otherwise.
        """
        bands = self._bands()
        for second, later in enumerate(self.members):
            for first, earlier in enumerate(self.members[:second]):
                if earlier.agency != later.agency:
                    yield earlier, later, bands[first, second]

    def _bands(self) -> dict[tuple[int, int], Band]:
        cluster = list(range(len(self.members)))
        for tie in self.ties:
            if tie.band >= Band.PROBABLE:
                kept, merged = cluster[tie.first], cluster[tie.second]
                cluster = [kept if number == merged else number for number in cluster]
        indirect = {
            (first, second): Band.PROBABLE if cluster[first] == cluster[second] else Band.POSSIBLE
            for second in range(len(self.members))
            for first in range(second)
        }
        return indirect | {(tie.first, tie.second): tie.band for tie in self.ties}

    def same_links(self, other: "LinkGroup") -> bool:
        """Whether members and strengths agree; the ids may differ."""
        return self.members == other.members and self.ties == other.ties


@dataclass(frozen=True, slots=True)
class GroupChange:
    """A group that kept its id while its members or their strengths changed."""

    before: LinkGroup
    after: LinkGroup


@dataclass(frozen=True, slots=True)
class MatchDelta:
    """What one submission did to the groups. Groups that it did not alter are not mentioned, and keep
    their ids."""

    added: tuple[LinkGroup, ...] = ()
    changed: tuple[GroupChange, ...] = ()
    removed: tuple[LinkGroup, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class MatchResult:
    """All groups of a linkage, and the counts that a run report shows."""

    groups: tuple[LinkGroup, ...] = field(repr=False)
    subjects: int
    candidate_pairs: int


@dataclass(frozen=True, slots=True)
class LookupHit:
    """A held subject that one looked-up encoding reaches: never shown to a node with its score."""

    member: Member
    band: Band
    score: float = field(repr=False)
    via: str

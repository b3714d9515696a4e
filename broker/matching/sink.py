"""Where candidate pairs come together, whatever found them."""

from dataclasses import dataclass, field

from broker.matching.errors import PairLimitError
from broker.matching.model import Bytes2d, Candidates, Ints, MatchSpec, PartyRows
from broker.matching.scoring import folded
from broker.matching.subjects import SubjectTable

FOLD_EVERY = 4_000_000
"""Pairs gathered, at least, before rows are folded to subjects once more."""


@dataclass(frozen=True, slots=True)
class PartyColumns:
    """Rows of one party with the number of each row's subject."""

    rows: PartyRows
    subjects: Ints = field(repr=False)

    def encodings(self, projection: str) -> tuple[Bytes2d, Ints]:
        """The encodings of a projection that are present, and their subjects."""
        clks, present = self.rows.clks[projection], self.rows.present[projection]
        # Most parties encode every row: no copy then.
        return (clks, self.subjects) if present.all() else (clks[present], self.subjects[present])


@dataclass(slots=True)
class CandidateSink:
    """Gathers pairs of subjects, folding now and then, and refuses more than the specification's limit.

    The limit counts row pairs as they come: a pair of subjects that several rows or projections find counts
    more than once, for it also costs memory more than once.

    :param found: pairs that count already, such as those held from earlier runs.
    """

    spec: MatchSpec
    subjects: SubjectTable
    found: int = 0
    _parts: list[Candidates] = field(default_factory=list)
    _loose: int = 0
    _folded: int = 0

    def add(self, pairs: Candidates, source: str, done: float = 1.0) -> None:
        """Take pairs of subject numbers in either orientation; a subject with itself is no pair.

        :param done: the part of the work that is behind, over 0 to 1, to estimate what the rest would bring.
        :raises PairLimitError: too many.
        """
        rest = pairs.take(pairs.a != pairs.b)
        self.refuse(len(rest), source, done)
        self.found += len(rest)
        a, b = self.subjects.oriented(rest.a, rest.b)
        self._parts.append(Candidates(a, b, rest.score, rest.band, rest.via))
        self._loose += len(a)
        # Waiting until there is as much again keeps the sum of all foldings in proportion to the pairs.
        if self._loose > max(FOLD_EVERY, self._folded):
            self._folded, self._loose = len(self.result()), 0

    def refuse(self, more: int, source: str, done: float = 1.0) -> None:
        """Raise :class:`PairLimitError` if ``more`` pairs would be too many."""
        found = self.found + more
        if found > self.spec.max_candidate_pairs:
            raise PairLimitError(found, int(found / done), self.spec.max_candidate_pairs, source)

    def result(self) -> Candidates:
        """Each pair of subjects once."""
        self._parts = [folded(self._joined())]
        return self._parts[0]

    def _joined(self) -> Candidates:
        """All parts as one, held by nobody else: at ten million pairs, sorting needs the memory."""
        parts, self._parts = self._parts, []
        return Candidates.concatenate(parts)

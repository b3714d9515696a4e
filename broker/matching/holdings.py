"""Everything a linkage holds to be searched: per projection and party an index, per exact token a table."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from broker.matching.errors import PairLimitError
from broker.matching.exact import ExactTokens, Refusal
from broker.matching.index import BitslicedIndex
from broker.matching.model import Bytes2d, Candidates, Flags, Ints, MatchSpec, Scores
from broker.matching.scoring import by_projection
from broker.matching.sink import PartyColumns
from broker.matching.tasks import Progress, Watch


class HeldEncodings:
    """The encodings of one party in one projection, each with the number of its subject."""

    def __init__(self, index: BitslicedIndex, subjects: Ints) -> None:
        self._index = index
        # Row numbers of the index rise without gaps, so they are positions here; -1 where the row was
        # removed.
        self._owners = subjects

    def __len__(self) -> int:
        return len(self._index)

    def add(self, clks: Bytes2d, subjects: Ints) -> None:
        """Hold encodings ``(n, length_bits // 8)``."""
        if len(clks):
            self._index.append(clks)
            self._owners = np.concatenate([self._owners, subjects])

    def discard(self, gone: Flags) -> None:
        """Erase the encodings of every subject ``s`` with ``gone[s]``."""
        rows = np.flatnonzero(gone[self._owners] & (self._owners >= 0))
        if len(rows):
            self._index.delete(rows)
            self._owners[rows] = -1

    def compact(self) -> None:
        """Sort what came bit by bit, so that searches are as fast as after a fresh start."""
        self._index.compact()

    def search(
        self, queries: Bytes2d, threshold: float, limit: int, progress: Progress | None = None
    ) -> tuple[Ints, Ints, Scores]:
        """Positions of queries, subjects reached, Dice coefficients.

        :param progress: called with (done, total) comparisons; what it raises ends the search.
        :raises PairLimitError: more than ``limit``.
        """
        if not len(self._index):
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)
        found = self._index.query(queries, threshold, max_pairs=limit, progress=progress)
        return found.query_row, self._owners[found.record_row], found.score


class Holdings:
    """What is held of all parties; answers which held subjects given rows reach."""

    def __init__(self, spec: MatchSpec, parties: Sequence[PartyColumns]) -> None:
        self._spec = spec
        self.tokens = ExactTokens(spec, len(parties))
        self._encodings: list[list[HeldEncodings]] = []
        for projection in spec.projections:
            held: list[HeldEncodings] = []
            for columns in parties:
                clks, subjects = columns.encodings(projection.name)
                held.append(HeldEncodings(BitslicedIndex.build(clks), subjects.copy()))
            self._encodings.append(held)
        for party, columns in enumerate(parties):
            self.tokens.add(party, columns)

    def encoding_count(self) -> int:
        """Encodings held in all projections."""
        return sum(len(held) for by_party in self._encodings for held in by_party)

    def add(self, party: int, columns: PartyColumns) -> None:
        """Hold further rows of a party."""
        for projection, by_party in zip(self._spec.projections, self._encodings, strict=True):
            by_party[party].add(*columns.encodings(projection.name))
        self.tokens.add(party, columns)

    def discard(self, gone: Flags) -> None:
        """Erase encodings and tokens of every subject ``s`` with ``gone[s]``."""
        for by_party in self._encodings:
            for held in by_party:
                held.discard(gone)
        self.tokens.discard(gone)

    def compact(self) -> None:
        """See :meth:`HeldEncodings.compact`."""
        for by_party in self._encodings:
            for held in by_party:
                held.compact()

    def comparisons(self, columns: PartyColumns, parties: Iterable[int]) -> int:
        """How many :meth:`reached` would make."""
        parties = tuple(parties)
        return sum(
            len(columns.encodings(projection.name)[0]) * sum(len(by_party[party]) for party in parties)
            for projection, by_party in zip(self._spec.projections, self._encodings, strict=True)
        )

    def reached(
        self,
        columns: PartyColumns,
        parties: Iterable[int],
        refuse: Refusal,
        limit: int,
        ignore: Flags | None = None,
        watch: Watch | None = None,
    ) -> Iterator[tuple[Candidates, str]]:
        """Pairs of a given row's subject and a held subject of ``parties``, with what to call the source.

        :param limit: encodings that one search may find.
        :param ignore: held subjects ``s`` with ``ignore[s]`` do not count.
        :param watch: told of each search.
        :raises PairLimitError: a search found more.
        """
        parties = tuple(parties)
        yield from self.tokens.find(columns, parties, refuse, ignore)
        for number, projection in enumerate(self._spec.projections):
            source = f"projection {projection.name!r}"
            clks, subjects = columns.encodings(projection.name)
            for party in parties if len(clks) else ():
                held = self._encodings[number][party]
                progress = watch.search(len(clks) * len(held)) if watch else None
                try:
                    asked, found, dice = held.search(clks, projection.threshold, limit, progress)
                except PairLimitError as error:
                    raise PairLimitError(
                        error.found, error.estimated, self._spec.max_candidate_pairs, source
                    ) from error
                if ignore is not None:
                    kept = ~ignore[found]
                    asked, found, dice = asked[kept], found[kept], dice[kept]
                yield by_projection(self._spec, number, subjects[asked], found, dice), source

"""Equal keyed tokens make candidates by a hash join, with no scan over pairs."""

from collections.abc import Callable, Iterable, Iterator

from broker.matching.keytable import KeyTable
from broker.matching.model import TOKEN_BYTES, Bytes2d, Candidates, Flags, Ints, MatchSpec
from broker.matching.scoring import by_token
from broker.matching.sink import PartyColumns

Refusal = Callable[[int, str], None]
"""Given a number of pairs to come and their source, raises ``PairLimitError`` if they are too many."""


class ExactTokens:
    """The tokens held: by token name and party, token bytes to subject numbers."""

    def __init__(self, spec: MatchSpec, party_count: int) -> None:
        self._spec = spec
        self._tables = [[KeyTable(TOKEN_BYTES) for _ in range(party_count)] for _ in spec.exact_tokens]

    def add(self, party: int, columns: PartyColumns) -> None:
        """Hold the tokens of rows."""
        for tables, (keys, subjects) in zip(self._tables, self._present(columns), strict=True):
            tables[party].append(keys, subjects)

    def discard(self, gone: Flags) -> None:
        """Drop the tokens of every subject ``s`` with ``gone[s]``."""
        for tables in self._tables:
            for table in tables:
                table.discard(gone)

    def find(
        self, columns: PartyColumns, parties: Iterable[int], refuse: Refusal, ignore: Flags | None = None
    ) -> Iterator[tuple[Candidates, str]]:
        """Every pair of a given row's subject and a held subject of ``parties``, and what to call the source.

        :param refuse: asked about the number of pairs before they take memory.
        :param ignore: held subjects ``s`` with ``ignore[s]`` do not count.
        """
        parties = tuple(parties)
        for token, (keys, subjects) in enumerate(self._present(columns)):
            source = self._source(token)
            for party in parties:
                table = self._tables[token][party]
                refuse(table.count(keys), source)
                asked, found = table.find(keys)
                if ignore is not None:
                    kept = ~ignore[found]
                    asked, found = asked[kept], found[kept]
                yield by_token(self._spec, token, subjects[asked], found), source

    def find_own(
        self, party: int, columns: PartyColumns, refuse: Refusal
    ) -> Iterator[tuple[Candidates, str]]:
        """As :meth:`find` for rows that are held in ``party`` themselves: each pair once."""
        for token, (keys, subjects) in enumerate(self._present(columns)):
            source = self._source(token)
            table = self._tables[token][party]
            # Each row finds itself, and each pair is found from both ends.
            refuse((table.count(keys) - len(keys)) // 2, source)
            asked, found = table.find(keys)
            once = subjects[asked] < found
            yield by_token(self._spec, token, subjects[asked[once]], found[once]), source

    def _source(self, token: int) -> str:
        return f"exact token {self._spec.exact_tokens[token]!r}"

    def _present(self, columns: PartyColumns) -> list[tuple[Bytes2d, Ints]]:
        rows = columns.rows
        return [
            (rows.exact[name][rows.exact_present[name]], columns.subjects[rows.exact_present[name]])
            for name in self._spec.exact_tokens
        ]

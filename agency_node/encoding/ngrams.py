"""Bulk n-gram tokenising: values to token ids to hash positions, in numba.

Covers the n-grams that fit a 64-bit key (``n <= 3``, positional ``n <= 2``), which is what schemas use; the
rest goes through clkhash's own tokeniser in :mod:`agency_node.encoding.features`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding.hashing import TokenHasher
from agency_node.encoding.kernels import CODE_BITS, intern_ngrams, rehash

_CODE_MASK = (1 << CODE_BITS) - 1
_FIRST_TABLE = 1 << 13
_MAX_TOKENS = 1 << 17


def fits_key(n: int, positional: bool) -> bool:
    """Whether n-grams of this kind can be packed into 64 bits."""
    return n <= 2 if positional else n <= 3


class NgramTable:
    """Ids and hash positions of the distinct n-grams seen; forgets all when it has grown past a bound."""

    __slots__ = ("_added", "_hasher", "_ids", "_k", "_keys", "_n", "_positional", "_positions", "known")

    def __init__(self, hasher: TokenHasher, n: int, positional: bool, k: int) -> None:
        self._hasher = hasher
        self._n = n
        self._positional = positional
        self._k = k
        self._clear()

    def _clear(self) -> None:
        self.known = 0
        self._keys = np.zeros(_FIRST_TABLE, dtype=np.uint64)
        self._ids = np.full(_FIRST_TABLE, -1, dtype=np.int32)
        self._positions = np.zeros((_FIRST_TABLE // 2, self._k), dtype=np.uint32)

    def tokenise(
        self, values: Sequence[str]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint32]]:
        """Token ids of all values end to end, tokens per value, and the position table ``(ids, k)``."""
        if self.known > _MAX_TOKENS:
            self._clear()
        lengths = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
        counts = np.where(lengths > 0, lengths + (self._n - 1), 0)
        offsets = np.zeros(len(values) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        # Lone surrogates are kept here and refused when the token is encoded, which is where clkhash
        # refuses them.
        codes = np.frombuffer("".join(values).encode("utf-32-le", "surrogatepass"), dtype=np.dtype("<u4"))
        token_ids = np.empty(int(counts.sum()), dtype=np.int32)
        longest = int(counts.max(initial=0))
        done, written = 0, 0
        while done < len(values):
            new_keys = np.empty(max(self._ids.size // 2, longest), dtype=np.uint64)
            before = self.known
            done, self.known, written = intern_ngrams(
                codes,
                offsets,
                done,
                self._n,
                self._positional,
                self._keys,
                self._ids,
                self.known,
                new_keys,
                token_ids,
                written,
            )
            try:
                self._hash_new(new_keys[: self.known - before], before)
            except ValueError:
                self._clear()  # the ids just given have no positions
                raise
            if done < len(values):
                self._enlarge(self.known + longest)
        return token_ids, counts, self._positions

    def _hash_new(self, keys: NDArray[np.uint64], first_id: int) -> None:
        if first_id + keys.size > self._positions.shape[0]:
            grown = np.zeros(
                (max(2 * self._positions.shape[0], first_id + keys.size), self._k), dtype=np.uint32
            )
            grown[:first_id] = self._positions[:first_id]
            self._positions = grown
        tokens = [self._token(key) for key in keys.tolist()]
        self._positions[first_id : first_id + keys.size] = self._hasher.positions(tokens, self._k)

    def _token(self, key: int) -> str:
        gram = "".join(chr(key >> (CODE_BITS * place) & _CODE_MASK) for place in reversed(range(self._n)))
        return f"{key >> (CODE_BITS * self._n)} {gram}" if self._positional else gram

    def _enlarge(self, needed: int) -> None:
        size = self._ids.size * 2
        while size // 2 < needed:
            size *= 2
        keys = np.zeros(size, dtype=np.uint64)
        ids = np.full(size, -1, dtype=np.int32)
        rehash(self._keys, self._ids, keys, ids)
        self._keys, self._ids = keys, ids

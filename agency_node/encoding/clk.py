"""CLKs as clkhash 0.18.3 makes them, only faster.

clkhash parses the schema, derives the keys, validates and tokenises; distinct values are encoded once, in
bulk, and rows are assembled by OR. The result is byte-identical for every clkhash v3 schema, and so are the
errors: when anything is wrong with a block of rows, clkhash itself is run over that block and speaks for
itself.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from functools import lru_cache
from itertools import chain, islice
from typing import Any

import numpy as np
from clkhash import schema as clkhash_schema
from clkhash.clk import hash_chunk
from clkhash.key_derivation import generate_key_lists
from clkhash.validate_data import validate_header
from numpy.typing import NDArray

from agency_node.encoding.column_kernel import SEPARATOR
from agency_node.encoding.columns import Cells
from agency_node.encoding.features import FeatureEncoder

BLOCK_ROWS = 10_000
"""clkhash's chunk length: errors are raised block by block, with row numbers that depend on it."""

_BLOCK_BYTES = 64 << 20

JsonSchema = dict[str, Any]
"""A clkhash v3 linkage schema as parsed by ``json`` (clkhash checks it against its master schema)."""


class ClkEncoder:
    """Encodes rows under one linkage schema and secret, keeping bounded caches between calls.

    ``schema`` is the clkhash JSON as a dict (left unchanged), ``secret`` the linkage secret. Raises
    clkhash's ``SchemaError`` for a bad schema. Not thread-safe: use one per thread.
    """

    def __init__(self, schema: JsonSchema, secret: bytes | str) -> None:
        self._schema = _parsed(schema)
        parsed = self._schema
        self._keys: tuple[tuple[bytes, ...], ...] = generate_key_lists(
            secret,
            len(parsed.fields),
            key_size=parsed.kdf_key_size,
            salt=parsed.kdf_salt,
            info=parsed.kdf_info,
            kdf=parsed.kdf_type,
            hash_algo=parsed.kdf_hash,
        )
        self.bits: int = parsed.l
        self.row_bytes = -(-self.bits // 8)
        hashed_bits = self.bits * 2**parsed.xor_folds
        self._hashed_bits: int | None = hashed_bits if isinstance(hashed_bits, int) else None
        self._scratch = np.empty((0, 0), dtype=np.uint64)
        self._features: list[tuple[int, FeatureEncoder]] = []
        if self._hashed_bits is not None:
            self._features = [
                (index, FeatureEncoder(field, self._keys[index], self._hashed_bits))
                for index, field in enumerate(parsed.fields)
                if field.hashing_properties
            ]

        plain = [(index, feature.plain) for index, feature in self._features]
        covered = [(index, column) for index, column in plain if column is not None]
        self._plain = covered if len(covered) == len(plain) else []
        self._tails = b"".join(column.tail for _, column in self._plain)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The schema's feature identifiers, in the order in which rows give them."""
        return tuple(field.identifier for field in self._schema.fields)

    def check_header(self, column_names: Sequence[str]) -> None:
        """Raise clkhash's ``FormatError`` unless a file's columns are the schema's features, in order."""
        validate_header(self._schema.fields, column_names)

    def __repr__(self) -> str:
        return f"<ClkEncoder: {len(self._keys)} features, {self.bits} bits, secret hidden>"

    def encode(self, rows: Sequence[Sequence[str]], first_row: int = 0) -> NDArray[np.uint8]:
        """CLKs of ``rows``, shape ``(n, ceil(l / 8))``.

        ``first_row`` (a multiple of 10,000 for numbering that agrees with clkhash) is the number of the
        first row in error messages. Raises clkhash's ``FormatError``, ``EntryError`` or whatever else
        clkhash raises.
        """
        out = np.empty((len(rows), self.row_bytes), dtype=np.uint8)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            target = out[start : start + len(block)]
            if not self._encode_cells(block, target):
                columns = self._columns(block)
                if columns is None or not self._encode_block(columns, target):
                    target[:] = self._reference(block, first_row + start)
        return out

    def try_encode(self, columns: Sequence[Sequence[str]], rows: int) -> NDArray[np.uint8] | None:
        """Like :meth:`encode` for rows given as one column for each feature, ignored ones included.

        None when some row is invalid (see :meth:`invalid_entries`).
        """
        if self._hashed_bits is None or len(columns) != len(self._keys):
            return None
        out = np.empty((rows, self.row_bytes), dtype=np.uint8)
        for start in range(0, rows, BLOCK_ROWS):
            whole = rows <= BLOCK_ROWS
            part = columns if whole else [column[start : start + BLOCK_ROWS] for column in columns]
            if not self._encode_block(part, out[start : start + BLOCK_ROWS]):
                return None
        return out

    def invalid_entries(self, columns: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, str]]:
        """(row, column, reason) of every value that cannot be encoded; the reason never holds the value.

        There is one column for each feature, ignored ones included.
        """
        for index, feature in self._features:
            problems = feature.problems(set(columns[index]))
            if problems:
                for row, value in enumerate(columns[index]):
                    if value in problems:
                        yield row, index, problems[value]

    def encode_iter(
        self, rows: Iterable[Sequence[str]], chunk: int = BLOCK_ROWS
    ) -> Iterator[NDArray[np.uint8]]:
        """CLKs of a stream of rows, ``chunk`` rows at a time; memory does not grow with the stream."""
        if chunk < 1:
            raise ValueError("chunk must be at least one row")
        source = iter(rows)
        first_row = 0
        while batch := tuple(islice(source, chunk)):
            yield self.encode(batch, first_row)
            first_row += len(batch)

    def _columns(self, rows: Sequence[Sequence[str]]) -> list[Sequence[str]] | None:
        """The rows column by column; None unless each has an entry for each feature."""
        width = len(self._keys)
        try:
            if set(map(len, rows)) != {width}:
                return None
            flat = list(chain.from_iterable(rows))
        except TypeError:
            return None
        # unlike zip(*rows) this makes no iterator for each row
        return [flat[place::width] for place in range(width)] if len(flat) == width * len(rows) else None

    def _encode_cells(self, rows: Sequence[Sequence[str]], out: NDArray[np.uint8]) -> bool:
        """Fill ``out`` where every feature has a fast path that takes the rows' texts as they lie; no column
        is made of them. False where that is not so."""
        if not self._plain or self.bits % 64 or self._hashed_bits != self.bits:
            return False
        width = len(self._keys)
        try:
            if set(map(len, rows)) != {width}:
                return False
            # joined row by row, for then no list of all cells is made
            cells = Cells.of(map(chr(SEPARATOR).join, rows), width * len(rows), self._tails)
        except TypeError:
            return False
        if cells is None:
            return False
        filters = out.view(np.uint64)
        filters.fill(0)
        tail = cells.end
        for index, plain in self._plain:
            if not plain.add_cells(cells, index, tail, rows, filters):
                return False
            tail += len(plain.tail)
        return True

    def _encode_block(self, columns: Sequence[Sequence[str]], out: NDArray[np.uint8]) -> bool:
        """Fill ``out`` with the block's CLKs; False when it is for clkhash to say what is wrong with it."""
        if self._hashed_bits is None or not self._keys:
            return False
        words = -(-self._hashed_bits // 64)
        if self._hashed_bits == self.bits == 64 * words:
            return self._encode_part(columns, out.view(np.uint64))
        step = max(1, min(len(out), _BLOCK_BYTES // (words * 8)))
        if self._scratch.shape[0] < step:
            self._scratch = np.empty((step, words), dtype=np.uint64)
        for start in range(0, len(out), step):
            part = [column[start : start + step] for column in columns]
            filters = self._scratch[: min(step, len(out) - start)]
            if not self._encode_part(part, filters):
                return False
            out[start : start + len(filters)] = self._folded(filters.view(np.uint8))
        return True

    def _encode_part(self, columns: Sequence[Sequence[str]], filters: NDArray[np.uint64]) -> bool:
        """Fill ``filters`` (rows, 64-bit words), before folding; False when a row is invalid."""
        filters.fill(0)
        try:
            for index, feature in self._features:
                feature.add_into(columns[index], filters)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
            return False
        return True

    def _folded(self, filters: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """XOR the segments of ``l`` bits together: what folding in half ``xor_folds`` times comes to."""
        assert self._hashed_bits is not None
        segments = self._hashed_bits // self.bits
        if segments == 1:
            return filters[:, : self.row_bytes]
        if self.bits % 8 == 0:
            pieces = filters[:, : self._hashed_bits // 8].reshape(len(filters), segments, self.row_bytes)
            return np.asarray(np.bitwise_xor.reduce(pieces, axis=1), dtype=np.uint8)
        bits = np.unpackbits(filters, axis=1, count=self._hashed_bits)
        pieces = bits.reshape(len(filters), segments, self.bits)
        return np.packbits(np.bitwise_xor.reduce(pieces, axis=1), axis=1)

    def _reference(self, block: Sequence[Sequence[str]], first_row: int) -> NDArray[np.uint8]:
        """clkhash's own result for the block, or its error."""
        filters, _ = hash_chunk(block, self._keys, self._schema, True, first_row)
        joined = b"".join(clk.tobytes() for clk in filters)
        return np.frombuffer(joined, dtype=np.uint8).reshape(len(filters), self.row_bytes)


def _parsed(schema: JsonSchema) -> clkhash_schema.Schema:
    """clkhash's reading of the schema, the last few kept: checking one takes as long as 10,000 rows."""
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError):
        return clkhash_schema.from_json_dict(deepcopy(schema))
    return _parsed_text(text)


@lru_cache(maxsize=16)
def _parsed_text(text: str) -> clkhash_schema.Schema:
    return clkhash_schema.from_json_dict(json.loads(text))


def encode_clks(rows: Sequence[Sequence[str]], schema: JsonSchema, secret: bytes | str) -> NDArray[np.uint8]:
    """CLKs of ``rows`` as clkhash 0.18.3's ``generate_clks`` makes them, shape ``(n, l // 8)``,
    ``numpy.uint8``.

    Row ``i`` holds the bytes of clkhash's bitarray ``i`` (``tobytes()``, most significant bit first; when
    ``l`` is no multiple of 8 the last byte is padded with zero bits). ``schema`` is the clkhash v3 JSON as
    a dict; a row lists one string per feature, ignored ones included. Raises what clkhash raises for bad
    schemas and rows.
    """
    return ClkEncoder(schema, secret).encode(rows)


def iter_encode(
    rows: Iterable[Sequence[str]], schema: JsonSchema, secret: bytes | str, chunk: int = BLOCK_ROWS
) -> Iterator[NDArray[np.uint8]]:
    """Like :func:`encode_clks` for a stream of any length: yields arrays of up to ``chunk`` rows."""
    return ClkEncoder(schema, secret).encode_iter(rows, chunk)

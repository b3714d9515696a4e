"""After any sequence of changes and restarts, queries are answered as by comparing everything."""

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.matching.index import BitslicedIndex

Packed = npt.NDArray[np.uint8]
Triples = list[tuple[int, int, float]]

operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from([0, 1, 7, 255, 256, 300, 1100])),
        st.tuples(st.just("delete"), st.integers(1, 400)),
        st.tuples(st.just("compact"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("query"), st.just(0)),
    ),
    max_size=7,
)


def _records(rng: np.random.Generator, size: int, bits: int) -> Packed:
    return np.packbits(rng.random((size, bits)) < rng.random((size, 1)), axis=1)


def _all_pairs(queries: Packed, held: dict[int, Packed], threshold: float) -> Triples:
    if not held:
        return []
    rows = sorted(held)
    left = np.unpackbits(queries, axis=1).astype(np.int64)
    right = np.unpackbits(np.stack([held[row] for row in rows]), axis=1).astype(np.int64)
    overlap, both = left @ right.T, left.sum(1)[:, None] + right.sum(1)
    score = np.divide(2.0 * overlap, both, out=np.zeros(both.shape), where=both > 0)
    query, column = np.nonzero(score >= threshold)
    return [(int(q), rows[c], float(score[q, c])) for q, c in zip(query, column, strict=True)]


@given(
    operations,
    st.integers(0, 2**32),
    st.sampled_from([8, 64, 104, 256]),
    st.sampled_from([0.0, 0.4, 0.7, 0.9, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_equal_to_comparing_everything(
    steps: list[tuple[str, int]], seed: int, bits: int, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    first = _records(rng, int(rng.integers(0, 600)), bits)
    index, held = BitslicedIndex.build(first), dict(enumerate(first))
    given_out = len(first)
    with tempfile.TemporaryDirectory() as folder:
        for what, size in steps:
            if what == "append":
                more = _records(rng, size, bits)
                rows = index.append(more)
                assert rows.tolist() == list(range(given_out, given_out + size))
                held |= dict(zip(rows.tolist(), more, strict=True))
                given_out += size
            elif what == "delete":
                gone = rng.integers(-2, given_out + 2, size)
                assert index.delete(gone) == len(held.keys() & set(gone.tolist()))
                held = {row: record for row, record in held.items() if row not in set(gone.tolist())}
            elif what == "compact":
                index.compact()
            elif what == "query":  # leaves traces that must not outlive the next change
                index.query(first[:3], threshold, threads=1)
            else:
                index.save(Path(folder) / "index")
                index = BitslicedIndex.load(Path(folder) / "index")
        queries = _records(rng, 60, bits)
        found = index.query(queries, threshold, threads=2)
        triples = list(
            zip(found.query_row.tolist(), found.record_row.tolist(), found.score.tolist(), strict=True)
        )
        assert triples == _all_pairs(queries, held, threshold)
        assert len(index) == len(held)
        kept = {
            int(row): record
            for rows, part in index.encodings()
            for row, record in zip(rows, part, strict=True)
        }
        assert kept.keys() == held.keys()
        assert all(np.array_equal(kept[row], held[row]) for row in held)

"""The index as an object: limits, progress, threads, files, and what happens without numba."""

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pytest

from broker.matching import backend, scan
from broker.matching.errors import MatchInputError, PairLimitError
from broker.matching.index import BitslicedIndex
from broker.matching.index_file import IndexFileError
from broker.matching.scan import Matches
from protos.wire.jit import compiled

Packed = npt.NDArray[np.uint8]
BITS = 128


@pytest.fixture(scope="module")
def records() -> Packed:
    rng = np.random.default_rng(7)
    centres = rng.random((50, BITS)) < 0.4
    return np.packbits(centres[rng.integers(0, 50, 3000)] ^ (rng.random((3000, BITS)) < 0.1), axis=1)


def _triples(found: Matches) -> list[tuple[int, int, float]]:
    return list(zip(found.query_row.tolist(), found.record_row.tolist(), found.score.tolist(), strict=True))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_emptied_index_answers_with_nothing(records: Packed, threads: int) -> None:
    index = BitslicedIndex.build(records[:10])
    index.delete(np.arange(10))
    index.compact()
    assert len(index.query(records[:300], 0.0, threads=threads)) == 0


def test_every_number_of_threads_gives_the_same_arrays(records: Packed) -> None:
    index = BitslicedIndex.build(records)
    expected = _triples(index.query(records, 0.7, threads=1))
    assert len(expected) > 3000
    for threads in (2, 3, 8, None):
        assert _triples(index.query(records, 0.7, threads=threads)) == expected


def test_small_spans_and_full_buffers_lose_no_pair(records: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    index = BitslicedIndex.build(records)
    expected = _triples(index.query(records[:500], 0.2, threads=1))
    monkeypatch.setattr(scan, "SPAN_BLOCKS", 2)
    monkeypatch.setattr(scan, "TILE_QUERIES", 13)
    monkeypatch.setattr(scan, "_BUFFER_PAIRS", 0)
    assert _triples(index.query(records[:500], 0.2, threads=2)) == expected


def test_a_stream_is_the_query_in_pieces(records: Packed) -> None:
    index = BitslicedIndex.build(records)
    pieces = list(index.stream(records, 0.7, chunk_queries=700))
    assert len(pieces) == 5
    assert pieces[0].query_row.max() < 700 <= pieces[1].query_row.min()
    assert _triples(Matches.concatenate(pieces)) == _triples(index.query(records, 0.7))


def test_one_query_may_be_one_dimensional(records: Packed) -> None:
    index = BitslicedIndex.build(records)
    assert _triples(index.query(records[5], 0.9)) == _triples(index.query(records[5:6], 0.9))
    assert 5 in index.query(records[5], 1.0).record_row


@pytest.mark.parametrize("threads", [1, 2])
def test_too_many_pairs_end_in_an_error_that_says_how_many(records: Packed, threads: int) -> None:
    index = BitslicedIndex.build(records)
    everything = len(records) ** 2
    with pytest.raises(PairLimitError, match=r"over the limit of 10,000") as caught:
        index.query(records, 0.0, max_pairs=10_000, threads=threads)
    assert 10_000 < caught.value.found <= everything
    assert 0.5 * everything < caught.value.estimated < 2 * everything
    found = len(index.query(records, 0.7))
    assert len(index.query(records, 0.7, max_pairs=found)) == found
    with pytest.raises(PairLimitError):
        index.query(records, 0.7, max_pairs=found - 1)


def test_the_limit_counts_all_pieces_of_a_stream(records: Packed) -> None:
    index = BitslicedIndex.build(records)
    found = len(index.query(records, 0.7))
    with pytest.raises(PairLimitError):
        list(index.stream(records, 0.7, chunk_queries=100, max_pairs=found - 1))


@pytest.mark.parametrize("threads", [1, 2])
def test_progress_rises_to_the_total(records: Packed, threads: int) -> None:
    index = BitslicedIndex.build(records[:2000])
    index.append(records[2000:2010])
    seen: list[tuple[int, int]] = []
    index.query(records, 0.8, threads=threads, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 5
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (3000 * 2010, 3000 * 2010)


class _CancelledError(Exception):
    pass


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_in_the_callback_ends_the_scan(records: Packed, threads: int) -> None:
    index = BitslicedIndex.build(records)
    calls = 0

    def cancel(_done: int, _total: int) -> None:
        nonlocal calls
        calls += 1
        raise _CancelledError

    with pytest.raises(_CancelledError):
        index.query(records, 0.8, threads=threads, progress=cancel)
    assert calls == 1


def test_deleted_encodings_are_overwritten_in_memory_and_on_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    index = BitslicedIndex.build(rng.integers(0, 256, (300, 16), dtype=np.uint8))
    secret = np.frombuffer(b"find me if you can"[:16], np.uint8)[None, :]
    row = index.append(secret)
    assert len(index.query(secret, 1.0)) == 1
    index.delete(row)
    assert len(index.query(secret, 1.0)) == 0
    held = [segment.packed(0, segment.count, index._order) for segment in (index._base, index._tail)]
    assert not (np.concatenate(held) == secret).all(axis=1).any()
    index.save(tmp_path / "index")
    assert len(BitslicedIndex.load(tmp_path / "index").query(secret, 0.99)) == 0


def test_rows_are_never_given_twice(records: Packed) -> None:
    index = BitslicedIndex.build(records[:10])
    index.delete(np.arange(10))
    index.compact()
    assert len(index) == 0
    assert index.append(records[:2]).tolist() == [10, 11]
    assert _triples(index.query(records[0], 1.0)) == [(0, 10, 1.0)]


def test_queries_of_another_length_are_refused(records: Packed) -> None:
    index = BitslicedIndex.build(records)
    with pytest.raises(MatchInputError, match="64 bits where 128"):
        index.query(np.zeros((1, 8), np.uint8), 0.8)
    with pytest.raises(MatchInputError):
        index.append(np.zeros((1, 8), np.uint8))
    with pytest.raises(MatchInputError):
        BitslicedIndex.empty(12)


def test_what_is_shown_of_an_index_is_sizes(records: Packed) -> None:
    index = BitslicedIndex.build(records)
    assert repr(index) == "BitslicedIndex(3,000 records of 128 bits)"
    assert repr(index._base) == "Segment(12 blocks of 128 bits, 3000 lanes given out)"


class TestIndexFile:
    def test_saving_over_a_loaded_index_replaces_it_in_one_step(
        self, records: Packed, tmp_path: Path
    ) -> None:
        path = tmp_path / "index"
        BitslicedIndex.build(records[:2000]).save(path)
        loaded = BitslicedIndex.load(path)
        loaded.append(records[2000:])
        loaded.delete(np.arange(100))
        other = BitslicedIndex.load(path)
        loaded.save(path)
        assert len(other) == 2000  # a reader of the old file keeps it
        assert len(other.query(records[:50], 1.0)) >= 50
        again = BitslicedIndex.load(path)
        assert _triples(again.query(records, 0.8)) == _triples(loaded.query(records, 0.8))
        assert again.rows_given == 3000
        assert [held.name for held in tmp_path.iterdir()] == ["index"]

    def test_only_the_owner_may_read_it(self, records: Packed, tmp_path: Path) -> None:
        path = tmp_path / "index"
        BitslicedIndex.build(records).save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_failed_save_leaves_the_old_file(
        self, records: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "index"
        BitslicedIndex.build(records[:300]).save(path)

        def no_space(_descriptor: int) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="no space"):
            BitslicedIndex.build(records).save(path)
        assert len(BitslicedIndex.load(path)) == 300
        assert [held.name for held in tmp_path.iterdir()] == ["index"]

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda data: data[:-1], id="cut short"),
            pytest.param(lambda data: b"", id="empty"),
            pytest.param(lambda data: b"X" + data[1:], id="other magic"),
            pytest.param(lambda data: data[:40] + b"\xff\xff" + data[42:], id="header damaged"),
            pytest.param(
                lambda data: data.replace(b'"lanes":{"base":3000', b'"lanes":{"base":9000', 1), id="lanes"
            ),
            pytest.param(lambda data: data[:4096] + b"\x07\x07" * 64 + data[4224:], id="order of bits"),
        ],
    )
    def test_a_damaged_file_is_refused(self, records: Packed, tmp_path: Path, damage: object) -> None:
        path = tmp_path / "index"
        BitslicedIndex.build(records).save(path)
        assert callable(damage)
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(IndexFileError):
            BitslicedIndex.load(path)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(IndexFileError, match="nowhere"):
            BitslicedIndex.load(tmp_path / "nowhere")


class TestWithoutNumba:
    def test_it_is_said_once(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "numba", None)
        backend.kernel_available.cache_clear()
        try:
            with caplog.at_level(logging.WARNING):
                assert not backend.kernel_available()
                assert not backend.kernel_available()
        finally:
            backend.kernel_available.cache_clear()
        assert [record.name for record in caplog.records] == ["broker.matching.backend"]
        assert "numba is not installed" in caplog.text

    def test_a_process_without_numba_finds_the_same_pairs(self, records: Packed) -> None:
        program = """
import logging, sys
sys.modules["numba"] = None
sys.modules["llvmlite"] = None
logging.basicConfig()
import numpy as np
from broker.matching.index import BitslicedIndex
rng = np.random.default_rng(7)
records = rng.integers(0, 256, (600, 16), dtype=np.uint8)
for _ in range(2):
    found = BitslicedIndex.build(records).query(records[:50] | 1, 0.55, threads=2)
print(found.query_row.tolist(), found.record_row.tolist(), found.score.tolist())
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stderr.count("numba is not installed") == 1
        held = np.random.default_rng(7).integers(0, 256, (600, 16), dtype=np.uint8)
        found = BitslicedIndex.build(held).query(held[:50] | np.uint8(1), 0.55)
        assert len(found) > 50
        expected = f"{found.query_row.tolist()} {found.record_row.tolist()} {found.score.tolist()}"
        assert done.stdout.strip() == expected

    def test_encodings_too_long_for_the_kernel_take_the_numpy_path(self) -> None:
        rng = np.random.default_rng(1)
        long = rng.integers(0, 256, (20, scan.KERNEL_MAX_BITS // 8 + 1), dtype=np.uint8)
        found = BitslicedIndex.build(long).query(long, 0.99)
        assert _triples(found) == [(i, i, 1.0) for i in range(20)]


def test_the_kernel_compiles_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(lambda number: number + 1)
    assert compiled(lambda number: number + 1)(41) == 42

"""Rows leave in an order that says nothing, each exactly once, and a subject's rows stay together."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np

from agency_node.encoding import EncodedRows
from agency_node.spool import BUCKETS, RowLayout, RowSpool, bucket_range, empty_spool
from protos.wire.linkage import BatchShape, check_batch

LAYOUT = RowLayout((("person", 4),), ("nhs-dob",))


def rows(handles: list[bytes], numbers: list[int], seed: int) -> EncodedRows:
    rng = np.random.default_rng(seed)
    count = len(handles)
    present = rng.integers(0, 2, count).astype(np.bool_)
    tokens = rng.integers(1, 256, (count, 32), np.uint8)
    return EncodedRows(
        np.frombuffer(b"".join(handles), np.uint8).reshape(-1, 16),
        np.array(numbers, np.uint8),
        {"person": rng.integers(0, 256, (count, 4), np.uint8)},
        {"person": np.ones(count, np.bool_)},
        {"nhs-dob": np.where(present[:, None], tokens, 0).astype(np.uint8)},
        {"nhs-dob": present},
    )


def test_every_row_once_sorted_by_handle_with_the_same_digest_in_any_order(tmp_path: Path) -> None:
    rng = random.Random(7)
    handles = [rng.randbytes(16) for _ in range(200)]
    pairs = [(handle, number) for handle in handles for number in range(rng.randint(1, 3))]
    digests = []
    for seed in (1, 2):
        random.Random(seed).shuffle(pairs)
        encoded = {pair: rows([pair[0]], [pair[1]], hash(pair) % 2**32) for pair in pairs}
        with RowSpool(tmp_path / "spool", LAYOUT) as spool:
            for pair in pairs:
                spool.add(encoded[pair])
            found = [subject for bucket in range(BUCKETS) for subject in spool.subjects(bucket)]
            assert [subject.handle for subject in found] == sorted(handles)
            for subject in found:
                numbers = subject.records[:, 16].tolist()
                assert numbers == list(range(len(numbers)))
                check_batch(LAYOUT.batch(subject.records), BatchShape((4,), 1))
            digests.append({subject.handle: subject.digest for subject in found})
        assert not (tmp_path / "spool").exists()
    assert digests[0] == digests[1]


def test_files_are_this_users_alone(tmp_path: Path) -> None:
    with RowSpool(tmp_path / "spool", LAYOUT) as spool:
        spool.add(rows([bytes(16)], [0], 1))
        (file,) = (tmp_path / "spool").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600


def test_what_an_earlier_run_left_is_deleted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    folder = tmp_path / "spool"
    empty_spool(folder)
    (folder / "tallystick-source-x").mkdir()
    (folder / "tallystick-source-x" / "rows.db").touch()
    (folder / "link").symlink_to(elsewhere)
    folder.chmod(0o755)
    empty_spool(folder)
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (elsewhere / "kept").exists()


def test_buckets_cover_every_handle_without_overlap() -> None:
    bounds = [bucket_range(bucket) for bucket in range(BUCKETS)]
    assert bounds[0][0] == bytes(16)
    assert bounds[-1][1] is None
    assert all(high == low for (_, high), (low, _) in pairwise(bounds))


def test_a_batch_that_only_withdraws_has_no_columns() -> None:
    batch = LAYOUT.batch(np.zeros((0, LAYOUT.width), np.uint8), (bytes(16),))
    assert (batch.rows, batch.projections, batch.withdrawn) == (0, (), (bytes(16),))
    check_batch(batch, BatchShape((4,), 1))

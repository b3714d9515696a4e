"""The benchmarks run, agree with their peers, and print what can be read by people and by programs."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import matching, query
from bench._harness import report

SIZE = 400


@pytest.fixture(autouse=True, scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("data")))
        patch.setattr(query, "_QUERY_POOL", SIZE)
        yield


def test_matching_compares_engines_on_the_same_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = [row for kind in matching.THRESHOLDS for row in matching.compare(kind, SIZE, repeats=1)]
    assert [row["engine"] for row in rows] == ["anonlink", "dice_bitsliced", "index query"] * 2
    fills = {row["data"]: row["fill"] for row in rows}
    assert 0.35 < float(fills["plain"] or 0) < 0.42
    assert 0.45 < float(fills["hardened"] or 0) < 0.49
    assert all(int(row["found"] or 0) >= 100 for row in rows)
    report("a title", rows, tmp_path / "lines")
    lines = (tmp_path / "lines").read_text().splitlines()
    assert [json.loads(line)["engine"] for line in lines] == [row["engine"] for row in rows]
    assert "times_anonlink" in capsys.readouterr().out


def test_the_large_run_and_single_queries() -> None:
    (row,) = matching.large(SIZE)
    assert int(row["found"] or 0) >= 100
    engines = [line["engine"] for line in query.measure(SIZE, 5, 0.8)]
    assert engines[:2] == ["index", "anonlink kernel"]

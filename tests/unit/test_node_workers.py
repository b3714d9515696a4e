"""Encoding in helper processes: the same results as at home, in order, and clean ends."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from agency_node.encoding import EncodedRows, EncodingKeys, EncodingSection, HandleError, default_section
from agency_node.mapping import load_mapping
from agency_node.pipeline import EncodedChunk, EncodingJob
from agency_node.sources import CsvFolderSource, RawChunk
from agency_node.subjects import SubjectId
from agency_node.workers import ParallelEncoder, WorkerError

TODAY = date(2026, 1, 1)
MAPPING = """
[source]
[people]
table = "people.csv"
subject_id = "id"
[people.fields]
given_names = "forename"
family_name = "surname"
date_of_birth = "dob"
sex = "sex"
house = "house"
street = "street"
postcode = "postcode"
[[people.aliases]]
table = "aliases.csv"
subject_id = "id"
[people.aliases.fields]
family_name = "alias"
"""
PEOPLE = "id,forename,surname,dob,sex,house,street,postcode\n" + "".join(
    f"{n},Zo\u00eb Name{chr(65 + n % 26)},Smith{chr(65 + n // 26)},{n % 28 + 1}/03/19{n % 90 + 10},F,"
    f"{n},High St,LS1 {n % 10}AB\n"
    for n in range(120)
)
ALIASES = "id,alias\n7,Nolan\n7,Norris\n33,Oakes\n90,\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("register")
    for name, text in (("people.csv", PEOPLE), ("aliases.csv", ALIASES), ("m.toml", MAPPING)):
        (path / name).write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def job(folder: Path) -> EncodingJob:
    mapping = load_mapping(folder / "m.toml")
    rule = mapping.subject_rule("person")
    assert rule is not None
    section = default_section("person")
    keys = EncodingKeys.derive(bytes(32), "linkage", 1, section)
    return EncodingJob(rule, mapping.rules, TODAY, EncodingSection.from_json(section), keys, "blank", 2)


@pytest.fixture(scope="module")
def chunks(folder: Path) -> list[RawChunk]:
    with CsvFolderSource(load_mapping(folder / "m.toml"), today=TODAY) as source:
        return list(source.raw_chunks("person", chunk=25))


def handles(chunk: RawChunk) -> dict[SubjectId, bytes]:
    return {SubjectId(subject): int(subject).to_bytes(16, "big") for subject in chunk.subjects}


def encode(encoder: ParallelEncoder, chunks: list[RawChunk]) -> list[EncodedChunk]:
    with encoder:
        done = [part for chunk in chunks for part in encoder.submit(chunk, handles(chunk), donors=1)]
        return done + encoder.finish()


def columns(rows: EncodedRows) -> list[bytes]:
    arrays: list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = [rows.handles, rows.row_numbers]
    for named in (rows.clks, rows.clk_present, rows.tokens, rows.token_present):
        arrays += named.values()
    return [array.tobytes() for array in arrays]


def test_helpers_give_what_the_parent_would_in_the_same_order(
    job: EncodingJob, chunks: list[RawChunk]
) -> None:
    at_home = encode(ParallelEncoder(job, helpers=1), chunks)
    abroad = encode(ParallelEncoder(job, helpers=2, alone=1), chunks)
    assert len(at_home) == len(abroad) == len(chunks) == 5
    for ours, theirs in zip(at_home, abroad, strict=True):
        assert [columns(rows) for rows in ours.rows] == [columns(rows) for rows in theirs.rows]
        assert ours.encoding == theirs.encoding
        assert ours.normalisation.to_json() == theirs.normalisation.to_json()
        assert ours.problems.counts == theirs.problems.counts
        assert ours.donors == theirs.donors
        assert len(ours.donors) == 1
    # one of the two aliases of subject 7 is past the limit of two rows a subject
    assert sum(part.encoding.rows for part in abroad) == 122
    assert sum(part.encoding.surplus_identities for part in abroad) == 1


def test_few_chunks_start_no_helper(
    job: EncodingJob, chunks: list[RawChunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a helper was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert len(encode(ParallelEncoder(job, helpers=2), chunks[:2])) == 2


def test_a_missing_handle_names_its_kind_and_no_value(job: EncodingJob, chunks: list[RawChunk]) -> None:
    with ParallelEncoder(job, helpers=1) as alone, pytest.raises(HandleError):
        alone.submit(chunks[0], {})
    with ParallelEncoder(job, helpers=2, alone=0) as encoder:
        encoder.submit(chunks[0], {})
        with pytest.raises(WorkerError, match=r"\(HandleError\)$"):
            encoder.finish()


def test_a_killed_helper_is_an_error_and_not_a_wait(
    job: EncodingJob, chunks: list[RawChunk], running: Callable[[ParallelEncoder], list[int]]
) -> None:
    with ParallelEncoder(job, helpers=2, alone=0) as encoder:
        encoder.submit(chunks[0], handles(chunks[0]))
        encoder.finish()
        for pid in running(encoder):
            os.kill(pid, 9)
        with pytest.raises(WorkerError, match="ended before"):
            for chunk in chunks:
                encoder.submit(chunk, handles(chunk))
            encoder.finish()


def test_leaving_ends_the_helpers_at_once(
    job: EncodingJob, chunks: list[RawChunk], running: Callable[[ParallelEncoder], list[int]]
) -> None:
    encoder = ParallelEncoder(job, helpers=2, alone=0)
    for chunk in chunks:
        encoder.submit(chunk, handles(chunk))
    pids = running(encoder)
    encoder.close()
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    encoder.close()


@pytest.fixture
def running() -> Callable[[ParallelEncoder], list[int]]:
    return lambda encoder: [helper.pid for helper in encoder.helpers]


def test_a_helper_has_no_network_code() -> None:
    script = (
        "import sys, agency_node.workers; print([m for m in sys.modules if m.startswith(('grpc', 'google'))])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_nothing_shows_keys_or_rows(job: EncodingJob, chunks: list[RawChunk]) -> None:
    shown = repr(job) + repr(chunks[0]) + repr(encode(ParallelEncoder(job, helpers=1), chunks[:1]))
    assert "Smith" not in shown
    assert "clk_root" not in shown

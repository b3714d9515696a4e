"""A register as CSV to hardened encodings: rows per second, on one core and on all.

``python -m bench.pipeline [--rows 1000000] [--helpers 1 2] [--quick] [--json FILE]``

The whole way that a node goes before it sends anything: read the file, find malformed and repeated rows,
normalise ten columns, encode the default person schema, harden, fingerprint. Seconds are wall-clock;
``own_cpu_seconds`` and ``peak_mib`` are of the reading process, ``helper_peak_mib`` of the largest helper.
"""

import argparse
import csv
import random
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path

from agency_node.encoding import EncodingKeys, EncodingSection, default_section
from agency_node.mapping import load_mapping
from agency_node.pipeline import EncodedChunk, EncodingJob
from agency_node.sources import open_source
from agency_node.subjects import SubjectId
from agency_node.workers import ParallelEncoder, usable_cores
from bench._harness import Row, add_output_options, machine, peak_mib, report
from bench.encoding import synthetic_rows

_TODAY = date(2026, 1, 1)
_CHUNK = 10_000
_HEADER = ("id", "forename", "surname", "dob", "sex", "house", "street", "town", "postcode", "nhs")
_TOWNS = ("Leeds", "Bradford", "York", "Hull", "Sheffield", "Wakefield", "Halifax", "Barnsley")
_AREAS = ("LS", "BD", "YO", "HU", "S", "WF", "HX", "DN")
_MAPPING = """
[source]
kind = "csv"

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
town = "town"
postcode = "postcode"
nhs_number = "nhs"
"""


@dataclass(slots=True)
class _Totals:
    rows: int = 0
    usable_postcodes: int = 0

    def add(self, done: list[EncodedChunk]) -> None:
        for chunk in done:
            self.rows += sum(len(rows) for rows in chunk.rows)
            self.usable_postcodes += chunk.normalisation.fields["postcode"].kept


def write_register(folder: Path, count: int, seed: int = 1) -> None:
    """``people.csv`` with mixed case, British dates and abbreviations, and its mapping."""
    rng = random.Random(seed)
    with (folder / "people.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for number, (given, family, born, sex, address, _) in enumerate(synthetic_rows(count, seed)):
            house, _, street = address.partition(" ")
            place = rng.randrange(len(_TOWNS))
            unit = "".join(rng.choices("ABDEFGHJLN", k=2))
            postcode = f"{_AREAS[place]}{rng.randrange(1, 30)} {rng.randrange(10)}{unit}"
            writer.writerow(
                (
                    number,
                    given.title(),
                    family.title(),
                    "/".join(reversed(born.split("-"))),
                    sex,
                    house,
                    street.title().replace("Road", "Rd"),
                    _TOWNS[place],
                    postcode,
                    _nhs_number(rng),
                )
            )
    (folder / "mapping.toml").write_text(_MAPPING, encoding="utf-8")


def _nhs_number(rng: random.Random) -> str:
    while True:
        digits = [rng.randrange(10) for _ in range(9)]
        check = -sum(weight * digit for weight, digit in zip(range(10, 1, -1), digits, strict=True)) % 11
        if check < 10:
            return "".join(map(str, digits)) + str(check)


def measure(folder: Path, helpers: int) -> Row:
    """One run over the register with so many helper processes; 1 means none, all in this process."""
    mapping = load_mapping(folder / "mapping.toml")
    rule = mapping.subject_rule("person")
    assert rule is not None
    section = default_section("person")
    keys = EncodingKeys.derive(bytes(32), "benchmark", 1, section)
    job = EncodingJob(rule, mapping.rules, _TODAY, EncodingSection.from_json(section), keys, "blank", 64)
    rng, totals = random.Random(3), _Totals()
    own, started, helper_mib = time.process_time(), time.perf_counter(), 0
    with open_source(mapping, today=_TODAY) as source, ParallelEncoder(job, helpers) as encoder:
        for chunk in source.raw_chunks("person", chunk=_CHUNK):
            handles = {SubjectId(subject): rng.randbytes(16) for subject in chunk.subjects}
            totals.add(encoder.submit(chunk, handles))
        totals.add(encoder.finish())
        helper_mib = max((_peak_of(helper.pid) for helper in encoder.helpers), default=0)
    seconds = time.perf_counter() - started
    return {
        "helpers": helpers,
        "rows": totals.rows,
        "seconds": round(seconds, 2),
        "rows_per_second": round(totals.rows / seconds),
        "usable_postcodes": totals.usable_postcodes,
        "own_cpu_seconds": round(time.process_time() - own, 2),
        "peak_mib": peak_mib(),
        "helper_peak_mib": helper_mib or None,
    }


def _peak_of(pid: int) -> int:
    """The most memory that another process has held so far, MiB; 0 where the system does not say."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), "0")
    return int(peak) // 1024


def main(arguments: list[str] | None = None) -> None:
    """Print a table and JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--helpers", type=int, nargs="+", default=[1, usable_cores()])
    add_output_options(parser)
    options = parser.parse_args(arguments)
    rows = 40_000 if options.quick else options.rows
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as name:
        folder = Path(name)
        # In a process of its own, so that the register does not count in the peak memory of what is measured.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(write_register, folder, rows).result()
        print(f"register of {rows:,} rows written; {machine()}")
        lines = [measure(folder, helpers) for helpers in dict.fromkeys(options.helpers)]
    report("CSV to hardened encodings", lines, options.json)


if __name__ == "__main__":
    main()

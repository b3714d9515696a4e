"""Rows per second: our encoder against clkhash's own ``generate_clks``, one process, the same rows.

``python -m bench.encoding [--rows 100000] [--reference-rows 10000] [--bits 200] [--json FILE]
[--quick]``

The rows are synthetic: six fields with the frequencies of a real register (few given names, many surnames,
almost every address once). The first ``--reference-rows`` rows are encoded by both and must agree bit for
bit. ``hardened`` is our encoder followed by keyed diffusion; clkhash has nothing to set against it. Times are
processor seconds of this one process, so that a busy machine does not favour either.
"""

import argparse
import json
import platform
import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from clkhash.clk import generate_clks
from clkhash.schema import from_json_dict

from agency_node.encoding import Hardener, Hardening, encode_clks, iter_encode

SECRET = b"a secret for the benchmark only"
Row = tuple[str, ...]
_FIRST = 700
_LAST = 20_000
_STREETS = 4_000
_SYLLABLES = [c + v for c in "BCDFGHJKLMNPRSTVW" for v in ("A", "E", "I", "O", "U", "AN", "EL", "IN", "OR")]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the result."""

    encoder: str
    rows: int
    seconds: float
    rows_per_second: float
    times_clkhash: float
    peak_mib: int
    machine: str


def synthetic_rows(count: int, seed: int = 1) -> list[Row]:
    """Rows of given names, family name, date of birth, sex, address and postcode."""
    rng = random.Random(seed)
    first = [_word(rng, 2, 3) for _ in range(_FIRST)]
    last = [_word(rng, 2, 4) for _ in range(_LAST)]
    postcodes = [_postcode(rng) for _ in range(count // 8 + 1)]
    streets = [f"{_word(rng, 2, 4)} {kind}" for kind in ("ROAD", "STREET", "CLOSE") for _ in range(_STREETS)]
    return [_row(rng, first, last, streets, postcodes) for _ in range(count)]


def _row(
    rng: random.Random, first: list[str], last: list[str], streets: list[str], postcodes: list[str]
) -> Row:
    born = date(1930, 1, 1) + timedelta(days=rng.randrange(32_000))
    return (
        f"{_skewed(rng, first)} {_skewed(rng, first)}" if rng.random() < 0.3 else _skewed(rng, first),
        _skewed(rng, last),
        born.isoformat() if rng.random() > 0.02 else "",
        rng.choice("MF"),
        f"{rng.randrange(1, 200)} {rng.choice(streets)}",
        rng.choice(postcodes),
    )


def _postcode(rng: random.Random) -> str:
    area, unit = _word(rng, 1, 1)[:2], "".join(rng.choices("ABDEFGHJLN", k=2))
    return f"{area}{rng.randrange(1, 30)}{rng.randrange(10)}{unit}"


def _word(rng: random.Random, low: int, high: int) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.randint(low, high)))


def _skewed(rng: random.Random, values: list[str]) -> str:
    """Zipf-like: the first names of a list are common, the last rare."""
    if rng.random() < 0.2:
        return rng.choice(values)
    return values[min(int(rng.paretovariate(0.7)) - 1, len(values) - 1)]


def linkage_schema(bits: int) -> dict[str, Any]:
    """Six features; ``bits`` insertions for a name, the rest in proportion."""
    return {
        "version": 3,
        "clkConfig": {"l": 1024, "kdf": {"type": "HKDF", "hash": "SHA256"}},
        "features": [
            _feature("given_names", {"type": "ngram", "n": 2}, bits),
            _feature("family_name", {"type": "ngram", "n": 2}, bits),
            _feature(
                "date_of_birth",
                {"type": "ngram", "n": 2, "positional": True},
                bits,
                {"type": "date", "format": "%Y-%m-%d"},
            ),
            _feature("sex", {"type": "exact"}, bits // 6, {"type": "enum", "values": ["F", "M"]}),
            _feature("address", {"type": "ngram", "n": 2}, bits),
            _feature("postcode", {"type": "ngram", "n": 1, "positional": True}, bits // 2),
        ],
    }


def _feature(
    name: str, comparison: dict[str, Any], bits: int, layout: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "identifier": name,
        "format": layout or {"type": "string", "case": "upper", "maxLength": 100},
        "hashing": {
            "comparison": comparison,
            "strategy": {"bitsPerFeature": bits},
            "hash": {"type": "blakeHash"},
            "missingValue": {"sentinel": ""},
        },
    }


def measure(rows: list[Row], reference_rows: int, schema: dict[str, Any]) -> Iterator[Measurement]:
    """clkhash first (on fewer rows, it is slow), then ours on the same rows, then ours on all."""
    head = rows[:reference_rows]
    parsed = from_json_dict(schema)
    encode_clks(head[:50], schema, SECRET)  # compiles the kernels, once per machine
    expected, clkhash_seconds = _timed(lambda: generate_clks(head, parsed, SECRET, max_workers=1))
    base = len(head) / clkhash_seconds
    yield _measurement("clkhash 0.18.3", len(head), clkhash_seconds, base)
    got, seconds = _timed(lambda: encode_clks(head, schema, SECRET))
    if [row.tobytes() for row in got] != [clk.tobytes() for clk in expected]:
        raise SystemExit("the encodings differ: this is a bug, not a benchmark")
    yield _measurement("ours", len(head), seconds, base)
    _, seconds = _timed(lambda: sum(len(part) for part in iter_encode(rows, schema, SECRET)))
    yield _measurement("ours, streamed", len(rows), seconds, base)
    hardener = Hardener(Hardening("sparse-diffusion/v1", 5), bytes(32), 1024)
    hardener.apply(np.zeros((1, 128), dtype=np.uint8))
    _, seconds = _timed(lambda: sum(len(hardener.apply(part)) for part in iter_encode(rows, schema, SECRET)))
    yield _measurement("ours, streamed and hardened", len(rows), seconds, base)


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = run()
    return result, time.process_time() - started


def _measurement(encoder: str, rows: int, seconds: float, base: float) -> Measurement:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    rate = rows / seconds
    machine = f"{platform.machine()}, Python {platform.python_version()}, one process"
    return Measurement(encoder, rows, round(seconds, 3), round(rate), round(rate / base, 1), peak, machine)


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and one JSON object a line to ``--json`` if given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--reference-rows", type=int, default=20_000)
    parser.add_argument("--bits", type=int, default=200, help="insertions for a name: 200 dense, 50 sparse")
    parser.add_argument("--json", type=Path, help="also write JSON lines to this file")
    parser.add_argument("--quick", action="store_true", help="20,000 rows, 2,000 of them by clkhash")
    options = parser.parse_args(arguments)
    sizes = (20_000, 2_000) if options.quick else (options.rows, options.reference_rows)
    rows = synthetic_rows(sizes[0])
    print(f"{'encoder':30} {'rows':>9} {'seconds':>9} {'rows/s':>10} {'x clkhash':>10} {'peak MiB':>9}")
    lines = []
    for result in measure(rows, sizes[1], linkage_schema(options.bits)):
        print(
            f"{result.encoder:30} {result.rows:>9,} {result.seconds:>9.3f} {result.rows_per_second:>10,.0f} "
            f"{result.times_clkhash:>10.1f} {result.peak_mib:>9,}"
        )
        lines.append(json.dumps(asdict(result)))
    if options.json:
        options.json.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

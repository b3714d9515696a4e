"""Rows per second: our encoder against clkhash's own ``generate_clks``, one process, the same rows.

``python -m bench.encoding [--rows 100000] [--reference-rows 10000] [--bits 200 50] [--quick] [--json FILE]``

The rows are synthetic: six fields with the frequencies of a real register (few given names, many surnames,
almost every address once). The first ``--reference-rows`` rows are encoded by both and must agree bit for
bit. ``cold`` is one call with nothing remembered from earlier ones, ``streamed`` all rows through one
encoder, ``hardened`` that followed by keyed diffusion, which clkhash has nothing to set against.

Times are processor seconds of this one process, the least of ``--repeats`` runs that alternate between the
two encoders, so that a busy machine does not favour either.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np
from clkhash.clk import generate_clks
from clkhash.schema import from_json_dict

from agency_node.encoding import Hardener, Hardening, encode_clks, iter_encode
from bench._harness import Row as ResultRow
from bench._harness import add_output_options, peak_mib, report

SECRET = b"a secret for the benchmark only"
Row = tuple[str, ...]
_FIRST = 700
_LAST = 20_000
_STREETS = 4_000
_SYLLABLES = [c + v for c in "BCDFGHJKLMNPRSTVW" for v in ("A", "E", "I", "O", "U", "AN", "EL", "IN", "OR")]


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


def measure(rows: list[Row], reference_rows: int, bits: int, repeats: int) -> Iterator[ResultRow]:
    """clkhash (on fewer rows, it is slow), then ours on the same rows, then ours on all."""
    schema = linkage_schema(bits)
    head = rows[:reference_rows]
    parsed = from_json_dict(schema)
    encode_clks(head[:50], schema, SECRET)  # compiles the kernels, once per machine
    hardener = Hardener(Hardening("sparse-diffusion/v1", 5), bytes(32), 1024)
    hardener.apply(np.zeros((1, 128), dtype=np.uint8))
    expected = generate_clks(head, parsed, SECRET, max_workers=1)
    if [row.tobytes() for row in encode_clks(head, schema, SECRET)] != [clk.tobytes() for clk in expected]:
        raise SystemExit("the encodings differ: this is a bug, not a benchmark")
    runs: dict[str, tuple[int, Callable[[], object]]] = {
        "clkhash": (len(head), lambda: generate_clks(head, parsed, SECRET, max_workers=1)),
        "ours, cold": (len(head), lambda: encode_clks(head, schema, SECRET)),
        "ours, streamed": (len(rows), lambda: sum(map(len, iter_encode(rows, schema, SECRET)))),
        "ours, hardened": (
            len(rows),
            lambda: sum(len(hardener.apply(part)) for part in iter_encode(rows, schema, SECRET)),
        ),
    }
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, (_, run) in runs.items():
            least[name] = min(least[name], _processor_seconds(run))
    base = len(head) / least["clkhash"]
    for name, (count, _) in runs.items():
        rate = count / least[name]
        yield {
            "encoder": name,
            "bits_per_name": bits,
            "rows": count,
            "seconds": round(least[name], 4),
            "rows_per_second": round(rate),
            "times_clkhash": round(rate / base, 1),
            "peak_mib": peak_mib(),
        }


def _processor_seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def main(arguments: list[str] | None = None) -> None:
    """Print a table and JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--reference-rows", type=int, default=10_000)
    parser.add_argument(
        "--bits", type=int, nargs="+", default=[200, 50], help="insertions for a name: 200 dense, 50 sparse"
    )
    parser.add_argument("--repeats", type=int, default=5)
    add_output_options(parser)
    options = parser.parse_args(arguments)
    sizes = (20_000, 2_000) if options.quick else (options.rows, options.reference_rows)
    rows = synthetic_rows(sizes[0])
    lines = [line for bits in options.bits for line in measure(rows, sizes[1], bits, options.repeats)]
    report("encoding against clkhash 0.18.3", lines, options.json)


if __name__ == "__main__":
    main()

"""What the matching benchmarks share: data, clocks, and how results are printed.

Data are clkhash's own ``randomnames`` people under its own ``randomnames`` schema. The second party holds
half of the first party's people, every other one with one letter of the name mistyped, and as many people
of its own.
"""

import argparse
import json
import os
import pkgutil
import platform
import random
import resource
import statistics
import string
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from clkhash.clk import generate_clks
from clkhash.randomnames import NameList
from clkhash.schema import from_json_dict

from agency_node.encoding import iter_encode

Packed: TypeAlias = npt.NDArray[np.uint8]
Kind: TypeAlias = Literal["plain", "hardened"]
Person: TypeAlias = tuple[str, str, str, str]
Row: TypeAlias = Mapping[str, str | int | float | None]

SECRET = b"benchmark"
HARDENING_TAPS = 5
HARDENED_SHARE = 2
"""Hardened encodings start from half of the schema's bits for each token: fill .22 before diffusion, .47
after."""
_CHECKED = 100


@dataclass(frozen=True, slots=True)
class Parties:
    """Two parties' encodings, (n, 128) uint8 each."""

    first: Packed
    second: Packed


def schema(kind: Kind) -> dict[str, Any]:
    """clkhash's ``randomnames`` schema; for ``hardened`` with fewer bits for each token."""
    data = pkgutil.get_data("clkhash", "data/randomnames-schema-v2.json")
    assert data is not None
    document: dict[str, Any] = json.loads(data)
    if kind == "hardened":
        for feature in document["features"]:
            if "hashing" in feature:
                feature["hashing"]["strategy"]["bitsPerToken"] //= HARDENED_SHARE
    return document


def people(first: int, second: int, seed: int) -> tuple[list[Person], list[Person]]:
    """Two parties' people (see the module's docstring)."""
    random.seed(seed)  # clkhash draws from the global generator
    shared = min(first, second) // 2
    everyone: list[Person] = NameList(first + second - shared).names
    mine, others = everyone[:first], everyone[first:]
    again = [person if i % 2 else _mistyped(person) for i, person in enumerate(mine[:shared])]
    return mine, again + others


def _mistyped(person: Person) -> Person:
    number, name, born, sex = person
    at = random.randrange(len(name))
    return number, name[:at] + random.choice(string.ascii_lowercase) + name[at + 1 :], born, sex


def _diffused(clks: Packed, seed: int) -> Packed:
    """Each bit becomes the exclusive or of five, as keyed diffusion makes it; the permutations here are not
    keyed."""
    rng = np.random.default_rng(seed)
    bits = clks.shape[1] * 8
    taps = [rng.permutation(bits) for _ in range(HARDENING_TAPS)]
    out = np.empty_like(clks)
    for at in range(0, len(clks), 8192):
        columns = np.unpackbits(clks[at : at + 8192], axis=1)
        mixed = columns[:, taps[0]]
        for tap in taps[1:]:
            mixed ^= columns[:, tap]
        out[at : at + 8192] = np.packbits(mixed, axis=1)
    return out


def _encoded(persons: Sequence[Person], kind: Kind) -> Packed:
    document = schema(kind)
    clks = np.concatenate(list(iter_encode(persons, document, SECRET)))
    reference = generate_clks(list(persons[:_CHECKED]), from_json_dict(document), SECRET)
    if b"".join(clk.tobytes() for clk in reference) != clks[:_CHECKED].tobytes():
        raise RuntimeError("the encoder differs from clkhash; its benchmark data would mean nothing")
    return clks if kind == "plain" else _diffused(clks, 5)


def parties(kind: Kind, first: int, second: int, seed: int = 1) -> Parties:
    """Two parties' encodings, kept in the temporary folder for the next run."""
    folder = Path(tempfile.gettempdir()) / "tallystick-bench"
    folder.mkdir(exist_ok=True)
    kept = folder / f"{kind}-{first}-{second}-{seed}-v1.npz"
    if kept.exists():
        with np.load(kept) as arrays:
            return Parties(arrays["first"], arrays["second"])
    # In a process of its own, so that the names do not count in the peak memory of what is measured.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(_make, kept, kind, first, second, seed).result()
    return parties(kind, first, second, seed)


def _make(kept: Path, kind: Kind, first: int, second: int, seed: int) -> None:
    mine, others = people(first, second, seed)
    partial = kept.with_suffix(f".{os.getpid()}.npz")
    np.savez(partial, first=_encoded(mine, kind), second=_encoded(others, kind))
    partial.replace(kept)


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall-clock seconds of ``repeats`` calls."""
    return statistics.median(seconds(work) for _ in range(repeats))


def peak_mib() -> int:
    """Most memory that this process has held so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def machine() -> str:
    """Processor, usable cores and Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores, Python {platform.python_version()}"


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """``--quick`` and ``--json FILE``."""
    parser.add_argument("--quick", action="store_true", help="small sizes: a minute at most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the JSON lines to FILE too")


def report(title: str, rows: Sequence[Row], file: Path | None) -> None:
    """Print a table, then one JSON line a row; append the lines to ``file`` if given."""
    print(f"\n{title}\n{machine()}\n")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    lines = [json.dumps({"benchmark": title, "machine": machine(), **row}) for row in rows]
    print("\n" + "\n".join(lines))
    if file is not None:
        with file.open("a") as out:
            out.writelines(f"{line}\n" for line in lines)


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value

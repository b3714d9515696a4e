"""How the cost of a full run grows with size, and what a submission costs against everything held.

``python -m bench.scaling [--full] [--sizes 5000,20000] [--held 100000] [--new 1000] [--minutes M]
[--kind plain] [--threshold 0.8] [--threads N] [--sample 10000] [--plot FILE] [--quick] [--json FILE]``

*Full run*: two parties of n records each, from encodings to solved groups. anonlink's C++ kernel compares a
sample of the same records, spread evenly, in the same process on one thread; its rate stands beside ours. Up
to ``--peer-up-to`` records its own pipeline (kernel, merge, solver) takes all of them, and must find as many
groups. The exponent is the slope of log seconds over log pairs between the two largest sizes: at most 1 means
that cost grows no faster than the pairs to compare.

*Submission*: ``--new`` records of one party are added to ``--held`` records of both, from encodings to
solved groups, and a single record is looked up; medians of several. The full run over the same records
stands beside it.

``--full`` goes up to 1,000,000 x 1,000,000 and 1,000,000 held, which takes many minutes, and draws the plot
that docs/PERFORMANCE.md shows. ``--minutes`` leaves out what would, by the rate of the size before, take
longer. Progress goes to standard error.
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anonlink
import matplotlib as mpl
import numpy as np
from anonlink.similarities import dice_coefficient_accelerated
from anonlink.solving import greedy_solve
from bitarray import bitarray
from matplotlib.figure import Figure

from bench._harness import (
    Kind,
    Packed,
    Row,
    add_output_options,
    median_seconds,
    parties,
    peak_mib,
    report,
    seconds,
)
from broker.matching.candidates import RunControl
from broker.matching.engine import ThreadsEngine
from broker.matching.incremental import MatchState
from broker.matching.model import MatchSpec, PartyRows, ProjectionSpec

AGENCIES = ("council", "police")
REPEATS = 5
PEER_REPEATS = 3
PROGRESS_SECONDS = 5.0
LOOKUPS = 50
SMALL = 20_000
"""Up to this size a full run is repeated, and the median counts."""
PLOT = Path(__file__).parent / "results" / "scaling.png"
DOCS_PLOT = Path(__file__).parents[1] / "docs" / "scaling.png"
QUICK = ((1_000, 2_000, 5_000), (5_000, 10_000))
USUAL = ((5_000, 10_000, 20_000, 50_000, 100_000), (20_000, 50_000, 100_000))
FULL = ((20_000, 50_000, 100_000, 200_000, 1_000_000), (100_000, 1_000_000))


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    kind: Kind
    threshold: float
    threads: int | None
    sizes: tuple[int, ...]
    held: tuple[int, ...]
    new: int
    peer_up_to: int
    sample: int
    minutes: float
    json: Path | None
    plot: Path

    @property
    def spec(self) -> MatchSpec:
        """One projection of 1,024 bits."""
        bands = (self.threshold, max(self.threshold, 0.85), max(self.threshold, 0.92))
        return MatchSpec((ProjectionSpec("person", 1024, *bands),))


def rows_of(agency: str, clks: Packed, first: int = 0) -> PartyRows:
    """Rows whose handles are random but the same on every run, and in order, as anonlink numbers records."""
    drawn = random.Random(f"{agency}{first}").randbytes(8 * len(clks))
    handles = np.empty((len(clks), 16), np.uint8)
    handles[:, :8] = np.arange(first, first + len(clks), dtype=">u8").view(np.uint8).reshape(-1, 8)
    handles[:, 8:] = np.frombuffer(drawn, np.uint8).reshape(-1, 8)
    return PartyRows(
        agency=agency,
        handles=handles,
        row_numbers=np.zeros(len(clks), np.int64),
        clks={"person": clks},
        present={"person": np.ones(len(clks), np.bool_)},
    )


def full_run(options: Options, first: Packed, second: Packed) -> MatchState:
    """From encodings to solved groups; says how far it is."""
    rows = [rows_of(agency, clks) for agency, clks in zip(AGENCIES, (first, second), strict=True)]
    return MatchState.build(
        options.spec,
        AGENCIES,
        rows,
        engine=ThreadsEngine(options.threads),
        control=RunControl(progress=told_progress(f"{len(first):,} x {len(second):,}")),
    )


def told_progress(what: str) -> Callable[[int, int], None]:
    """Says on standard error how far a long run is."""
    start = last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS:
            last = now
            left = (now - start) * (total - done) / max(1, done)
            print(f"{what}: {done / total:.1%}, {left:,.0f} s left", file=sys.stderr, flush=True)

    return progress


def anonlink_run(first: list[bitarray], second: list[bitarray], threshold: float) -> int:
    """The same by anonlink alone; the number of groups."""
    pairs = anonlink.candidate_generation.find_candidate_pairs(
        (first, second), dice_coefficient_accelerated, threshold
    )
    return len(greedy_solve(pairs))


def bitarrays(clks: Packed) -> list[bitarray]:
    """Encodings as anonlink takes them."""
    return [bitarray(buffer=clk.tobytes()) for clk in clks]


def sampled(clks: Packed, count: int) -> list[bitarray]:
    """So many encodings, spread evenly."""
    return bitarrays(clks[np.linspace(0, len(clks) - 1, min(count, len(clks))).astype(np.int64)])


def anonlink_rate(options: Options, first: Packed, second: Packed) -> float:
    """Pairs a second of anonlink's kernel over a sample of the records, one thread."""
    one, other = sampled(first, options.sample), sampled(second, options.sample)
    took = median_seconds(
        lambda: dice_coefficient_accelerated((one, other), options.threshold, k=None), PEER_REPEATS
    )
    return len(one) * len(other) / took


def full_row(options: Options, size: int) -> Row:
    """Measure full runs of two parties of ``size`` records."""
    data = parties(options.kind, size, size)
    states: list[MatchState] = []
    repeats = REPEATS if size <= SMALL else 1
    ours = median_seconds(lambda: states.append(full_run(options, data.first, data.second)), repeats)
    peak = peak_mib()
    groups = states[0].group_count()
    rate = anonlink_rate(options, data.first, data.second)
    theirs = None
    if size <= options.peer_up_to:
        first, second = bitarrays(data.first), bitarrays(data.second)
        found: list[int] = []
        theirs = seconds(lambda: found.append(anonlink_run(first, second, options.threshold)))
        if found != [groups]:
            raise RuntimeError(f"anonlink finds {found[0]} groups where we find {groups}")
    return {
        "records a side": size,
        "pairs": size * size,
        "seconds": ours,
        "pairs/s": size * size / ours,
        "anonlink pairs/s": rate,
        "ratio": size * size / ours / rate,
        "anonlink s": theirs,
        "candidates": states[0].pair_count(),
        "groups": groups,
        "peak MiB": peak,
    }


def submission_row(options: Options, held: int) -> Row:
    """Measure submissions of ``options.new`` records against ``held`` records, half of them of each party."""
    half, extra = held // 2, options.new * REPEATS
    data = parties(options.kind, half, half + extra)
    # The second party's known people come first; mixed, the new records are known ones as often as the held.
    second = data.second[np.random.default_rng(2).permutation(half + extra)]
    states: list[MatchState] = []
    built = seconds(lambda: states.append(full_run(options, data.first, second[:half])))
    (state,) = states
    starts = iter(range(half, half + extra, options.new))
    touched: list[int] = []

    def submit() -> None:
        start = next(starts)
        delta = state.apply(add=[rows_of(AGENCIES[1], second[start : start + options.new], start)])
        touched.append(len(delta.added) + len(delta.changed))

    submitted = median_seconds(submit, REPEATS)
    asked = iter(range(half, half + extra))

    def look_up() -> None:
        at = next(asked)
        state.lookup(rows_of(AGENCIES[1], second[at : at + 1], at))

    looked_up = median_seconds(look_up, min(LOOKUPS, extra))
    return {
        "held": held,
        "new": options.new,
        "seconds": submitted,
        "full run s": built,
        "ratio": built / submitted,
        "groups touched": int(np.median(touched)),
        "lookup ms": looked_up * 1000,
        "peak MiB": peak_mib(),
    }


def exponent(rows: Sequence[Row], size: str) -> float:
    """Slope of log seconds over log ``size`` between the two largest sizes."""
    (x0, y0), (x1, y1) = ((float(row[size] or 0), float(row["seconds"] or 0)) for row in rows[-2:])
    return math.log(y1 / y0) / math.log(x1 / x0)


def plot(full: Sequence[Row], submissions: Sequence[Row], options: Options) -> None:
    """Draw cost against size, with a line of slope 1 to compare with."""
    mpl.use("Agg")
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    pairs = [float(row["pairs"] or 0) for row in full]
    left.loglog(pairs, [float(row["seconds"] or 0) for row in full], "o-", label="Tallystick")
    peer = [row for row in full if row["anonlink s"] is not None]
    if peer:
        left.loglog(
            [row["pairs"] for row in peer], [row["anonlink s"] for row in peer], "s", label="anonlink"
        )
    rates = [float(row["anonlink pairs/s"] or 1) for row in full]
    left.loglog(
        pairs, [x / rate for x, rate in zip(pairs, rates, strict=True)], "--", label="anonlink, at its rate"
    )
    last = float(full[-1]["seconds"] or 0)
    left.loglog(
        pairs, [last * x / pairs[-1] for x in pairs], ":", color="grey", label="in proportion to pairs"
    )
    left.set(xlabel="pairs of records", ylabel="seconds to solved groups", title=f"Full run, {options.kind}")
    held = [float(row["held"] or 0) for row in submissions]
    right.loglog(
        held, [float(row["seconds"] or 0) for row in submissions], "o-", label=f"{options.new:,} new records"
    )
    right.loglog(
        held, [float(row["lookup ms"] or 0) / 1000 for row in submissions], "^-", label="one look-up"
    )
    right.loglog(
        held, [float(row["full run s"] or 0) for row in submissions], "s--", label="full run instead"
    )
    right.set(xlabel="records held", ylabel="seconds", title="Submissions")
    for axes in (left, right):
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend()
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.plot, dpi=100)


def parsed(arguments: Sequence[str] | None) -> Options:
    """Command line to options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=("plain", "hardened"), default="plain")
    parser.add_argument("--threshold", type=float, help="by default 0.8 for plain, 0.6 for hardened")
    parser.add_argument("--threads", type=int, help="for full runs; by default every core")
    parser.add_argument("--sizes", type=_numbers, help="records a side of full runs, rising")
    parser.add_argument("--held", type=_numbers, help="records held when new ones come, rising")
    parser.add_argument("--new", type=int, default=1000)
    parser.add_argument("--full", action="store_true", help="up to a million records a side")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="leave out full runs that would take longer"
    )
    parser.add_argument("--sample", type=int, default=10_000, help="records a side that anonlink compares")
    parser.add_argument("--peer-up-to", type=int, default=10_000, help="largest size that anonlink runs too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"by default {PLOT.name} in bench/results")
    add_output_options(parser)
    given = parser.parse_args(arguments)
    sizes, held = FULL if given.full else QUICK if given.quick else USUAL
    return Options(
        kind=given.kind,
        threshold=given.threshold or (0.8 if given.kind == "plain" else 0.6),
        threads=given.threads,
        sizes=given.sizes or sizes,
        held=given.held or held,
        new=given.new,
        peer_up_to=given.peer_up_to,
        sample=given.sample,
        minutes=given.minutes,
        json=given.json,
        plot=given.plot or (DOCS_PLOT if given.full else PLOT),
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(part) for part in text.split(",")))


def full_rows(options: Options) -> list[Row]:
    """Full runs of rising size, as long as they stay within the minutes allowed."""
    rows: list[Row] = []
    for size in options.sizes:
        if expected_minutes(rows, size * size) > options.minutes:
            print(f"left out: {size:,} x {size:,} would take more than {options.minutes:g} minutes")
            break
        rows.append(full_row(options, size))
        print(f"{size:,} x {size:,}: {rows[-1]['seconds']:.4g} s", flush=True)
    return rows


def expected_minutes(rows: Sequence[Row], pairs: float) -> float:
    """What so many pairs would take at the rate of the last run; nothing before the first."""
    return pairs / float(rows[-1]["pairs/s"] or 1) / 60 if rows else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, plot."""
    options = parsed(arguments)
    full_run(options, *(random_side() for _ in AGENCIES))  # compile before the clock runs
    full = full_rows(options)
    threads = f"{options.threads or 'all'} threads" if options.threads != 1 else "one thread"
    setting = f"{options.kind} at {options.threshold}, {threads}"
    report(f"full run, {setting} (anonlink: one thread)", full, options.json)
    if len(full) > 1:
        print(f"\nseconds grow as pairs to the power {exponent(full, 'pairs'):.2f}")
    submissions = [
        submission_row(options, held)
        for held in options.held
        if expected_minutes(full, held * held / 4) <= options.minutes
    ]
    report(f"submission, {setting}", submissions, options.json)
    plot(full, submissions, options)
    print(f"\nplot: {options.plot}")


def random_side() -> Packed:
    """A few encodings that match nothing."""
    return np.random.default_rng(0).integers(0, 256, (300, 128), np.uint8)


if __name__ == "__main__":
    main()

"""Two parties, everybody against everybody: our similarity function against anonlink's own, one process,
same data.

``python -m bench.matching [--size 20000] [--repeats 5] [--large N] [--json FILE] [--quick]``

*anonlink* is ``anonlink.similarities.dice_coefficient_accelerated``, its C++ kernel. *dice_bitsliced* is
our drop-in for it, called the same way with the same bitarrays; *index query* is the same search on an
index that is built already. All run on one thread, in turns, and must find the same pairs in the same
order. *plain* are CLKs of clkhash's ``randomnames`` schema; *hardened* are sparser CLKs after diffusion, at
the lower threshold that they need.

``--large N`` compares N with N records on every core, streaming the pairs; anonlink's time for that is
projected from the rate that it reaches here with a share of the first party.
"""

import argparse
import statistics
import sys
from array import array

import numpy as np
from anonlink.similarities import dice_coefficient_accelerated
from bitarray import bitarray

from bench._harness import Kind, Packed, Row, add_output_options, parties, peak_mib, report, seconds
from broker.matching.index import BitslicedIndex
from broker.matching.scan import Matches, usable_cores
from broker.matching.similarity import dice_bitsliced

THRESHOLDS: dict[Kind, float] = {"plain": 0.8, "hardened": 0.6}
QUICK_SIZE = 4_000
_ANONLINK_SHARE = 200
"""First-party records that anonlink gets in the large run."""

Similarities = tuple["array[float]", tuple["array[int]", "array[int]"]]


def bitarrays(packed: Packed) -> list[bitarray]:
    """The encodings as anonlink takes them."""
    made = [bitarray() for _ in packed]
    for clk, row in zip(made, packed, strict=True):
        clk.frombytes(row.tobytes())
    return made


def compare(kind: Kind, size: int, repeats: int) -> list[Row]:
    """One line each for anonlink, our similarity function, and a query of a built index."""
    data, threshold = parties(kind, size, size), THRESHOLDS[kind]
    datasets = (bitarrays(data.first), bitarrays(data.second))
    index = BitslicedIndex.build(data.second)
    dice_bitsliced((datasets[0][:300], datasets[1][:300]), threshold, threads=1)  # compiles
    results: dict[str, Similarities] = {}
    found: list[Matches] = []
    engines = {
        "anonlink": lambda: results.update(anonlink=dice_coefficient_accelerated(datasets, threshold)),
        "dice_bitsliced": lambda: results.update(ours=dice_bitsliced(datasets, threshold, threads=1)),
        "index query": lambda: found.append(index.query(data.first, threshold, threads=1)),
    }
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(repeats):
        for name, work in engines.items():  # in turns, so that a busy moment of the machine hits all of them
            times[name].append(seconds(work))
    if results["anonlink"] != results["ours"] or len(found[0]) != len(results["ours"][0]):
        raise RuntimeError("the engines disagree: the benchmark means nothing")
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return [
        {
            "data": kind,
            "fill": float(np.unpackbits(data.second[:2000]).mean()),
            "records": f"{size} x {size}",
            "threshold": threshold,
            "engine": name,
            "threads": 1,
            "median_s": median,
            "pairs_per_s_per_core": size * size / median,
            "times_anonlink": medians["anonlink"] / median,
            "found": len(results["ours"][0]),
            "peak_mib": peak_mib(),
        }
        for name, median in medians.items()
    ]


def large(size: int) -> list[Row]:
    """N with N records on every core, pairs streamed; anonlink's rate from a share of the first party."""
    data, threshold, cores = parties("plain", size, size), THRESHOLDS["plain"], usable_cores()
    found, shown = 0, -1
    index: BitslicedIndex | None = None

    def show(done: int, total: int) -> None:
        nonlocal shown
        if (percent := 100 * done // total) > shown:
            shown = percent
            print(f"\r{percent} %", end="", file=sys.stderr, flush=True)

    def run() -> None:
        nonlocal found, index
        index = BitslicedIndex.build(data.second)
        chunks = index.stream(data.first, threshold, max_pairs=None, progress=show)
        found = sum(len(chunk) for chunk in chunks)

    taken = seconds(run)
    peak = peak_mib()
    print(file=sys.stderr)
    share = min(_ANONLINK_SHARE, size)
    datasets = (bitarrays(data.first[:share]), bitarrays(data.second))
    results: list[Similarities] = []
    rate = share * size / seconds(lambda: results.append(dice_coefficient_accelerated(datasets, threshold)))
    assert index is not None
    if len(index.query(data.first[:share], threshold)) != len(results[0][0]):
        raise RuntimeError("the engines disagree: the benchmark means nothing")
    per_core = size * size / taken / cores
    return [
        {
            "data": "plain",
            "records": f"{size} x {size}",
            "threshold": threshold,
            "engine": "index stream, with its building",
            "threads": cores,
            "seconds": taken,
            "pairs_per_s_per_core": per_core,
            "times_anonlink_per_core": per_core / rate,
            "anonlink_projected_s": size * size / rate / cores,
            "found": found,
            "peak_mib": peak,
        }
    ]


def main() -> None:
    """Parse the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=20_000, help="records of each party")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each engine; the median counts")
    parser.add_argument("--large", type=int, metavar="N", help="also N with N records on every core")
    add_output_options(parser)
    options = parser.parse_args()
    size, repeats = (min(options.size, QUICK_SIZE), 3) if options.quick else (options.size, options.repeats)
    rows = [row for kind in THRESHOLDS for row in compare(kind, size, repeats)]
    report("matching, two parties, one thread", rows, options.json)
    if options.large:
        report("matching, two parties, every core", large(options.large), options.json)


if __name__ == "__main__":
    main()

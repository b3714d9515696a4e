"""One encoding against everything held: the time of a single query on one core.

``python -m bench.query [--records 1000000] [--queries 200] [--threshold 0.8] [--json FILE] [--quick]``

*anonlink kernel* is its C++ kernel alone, on arrays prepared beforehand, which is kinder than its public
function. *FAISS* is a binary range search (Hamming radius) on a flat index, and an exact Dice check of what
it returns; it is left out where ``faiss`` cannot be imported. Every engine must find the same records.
"""

import argparse
import importlib
import importlib.util
import statistics
from array import array
from collections.abc import Callable
from functools import partial

import numpy as np
from anonlink.similarities import _dice

from bench._harness import Packed, Row, add_output_options, parties, peak_mib, report, seconds
from broker.matching.bounds import dice_scores
from broker.matching.index import BitslicedIndex
from broker.matching.transpose import popcounts

QUICK_RECORDS = 50_000
_QUERY_POOL = 1_000

Search = Callable[[Packed], set[int]]


def index_search(held: Packed, threshold: float) -> Search:
    """Our index."""
    index = BitslicedIndex.build(held)

    def search(query: Packed) -> set[int]:
        return set(index.query(query, threshold, threads=1).record_row.tolist())

    return search


def anonlink_search(held: Packed, threshold: float) -> Search:
    """anonlink's C++ kernel on prepared arrays."""
    length = held.shape[1]
    many = array("b")
    many.frombytes(held.tobytes())
    counts = _dice.popcount_arrays(many, length)

    def search(query: Packed) -> set[int]:
        one = array("b")
        one.frombytes(query.tobytes())
        scores, queries, rows = array("d"), array("I"), array("I")
        _dice.dice_many_to_many(
            one, many, 1, len(held), counts, length, len(held), threshold, scores, queries, rows
        )
        return set(rows)

    return search


def faiss_search(held: Packed, threshold: float) -> Search | None:
    """FAISS's flat binary index with an exact check, or ``None`` where FAISS is not installed."""
    if importlib.util.find_spec("faiss") is None:
        return None
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(held.shape[1] * 8)
    index.add(held)
    counts = popcounts(held)

    def search(query: Packed) -> set[int]:
        count = int(np.bitwise_count(query).sum())
        # Dice t allows popcounts up to a (2 - t) / t, and with them this Hamming distance.
        radius = int(2 * count * (1 - threshold) / threshold) + 1
        _, _, rows = index.range_search(query[None, :], radius + 1)
        overlap = np.bitwise_count(held[rows] & query).sum(axis=1, dtype=np.int32)
        return set(rows[dice_scores(overlap, counts[rows] + count) >= threshold].tolist())

    return search


def timed(search: Search, queries: Packed) -> tuple[list[float], list[set[int]]]:
    """Seconds and result of each query on its own."""
    found: list[set[int]] = []
    return [seconds(partial(_keep, found, search, query)) for query in queries], found


def _keep(found: list[set[int]], search: Search, query: Packed) -> None:
    found.append(search(query))


def measure(records: int, queries: int, threshold: float) -> list[Row]:
    """One line an engine."""
    data = parties("plain", max(queries, _QUERY_POOL), records)
    engines = {
        "index": (index_search(data.second, threshold), queries),
        "anonlink kernel": (anonlink_search(data.second, threshold), min(queries, 20)),
    }
    if (faiss := faiss_search(data.second, threshold)) is None:
        print("FAISS is not installed: left out")
    else:
        engines["FAISS range search, checked"] = (faiss, min(queries, 20))
    found: dict[str, list[set[int]]] = {}
    times: dict[str, list[float]] = {}
    for name, (search, count) in engines.items():
        search(data.first[0])  # compiles, and touches every page
        times[name], found[name] = timed(search, data.first[:count])
    for name, sets in found.items():
        if sets != found["index"][: len(sets)]:
            raise RuntimeError(f"{name} finds other records: the benchmark means nothing")
    anonlink = statistics.median(times["anonlink kernel"])
    return [
        {
            "records": records,
            "threshold": threshold,
            "engine": name,
            "queries": len(taken),
            "median_ms": 1000 * statistics.median(taken),
            "p95_ms": 1000 * float(np.quantile(taken, 0.95)),
            "pairs_per_s_per_core": records / statistics.median(taken),
            "times_anonlink": anonlink / statistics.median(taken),
            "peak_mib": peak_mib(),
        }
        for name, taken in times.items()
    ]


def main() -> None:
    """Parse the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=1_000_000, help="encodings held")
    parser.add_argument("--queries", type=int, default=200, help="single queries of our index")
    parser.add_argument("--threshold", type=float, default=0.8)
    add_output_options(parser)
    options = parser.parse_args()
    records, queries = (
        (min(options.records, QUICK_RECORDS), 50) if options.quick else (options.records, options.queries)
    )
    report("one query, one thread", measure(records, queries, options.threshold), options.json)


if __name__ == "__main__":
    main()

"""A pilot's result as JSON, as text for a terminal, and its pairs as CSV."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from agency_node.encoding import schema_hash
from broker.matching.model import Band
from tallystick.pilot.run import PilotResult, TruthResult
from tallystick.pilot.score import GroupScore

Json = dict[str, object]


def result_json(result: PilotResult) -> Json:
    """The one object of ``--json``; described in ``docs/guides/pilot.md``."""
    choice, curve = result.choice, result.curve
    value: Json = {
        "thresholds": {
            "chosen": {
                p.name: {"threshold": p.threshold, "probable": p.probable, "strong": p.strong}
                for p in result.spec.projections
            },
            "how": choice.how,
            "estimated_fdr": _rate(choice.rate),
            "estimated_fdr_interval": choice.rate_interval.to_json(),
            "threshold_interval": choice.settled.to_json(),
            "estimated_f1": round(choice.expected_f1, 4),
            "evaluated": [
                {
                    "threshold": round(float(t), 4),
                    "links": round(float(links), 1),
                    "estimated_fdr": _rate(float(rate)),
                    "estimated_f1": round(float(f1), 4),
                }
                for t, links, rate, f1 in zip(curve.grid, curve.links, curve.rate, curve.f1, strict=True)
                if links
            ],
        },
        "pairs": len(result.links),
        "groups": result.groups,
        "bands": bands(result),
        "duplicate_pairs_within_agencies": result.own_duplicates,
        "one_to_one": result.spec.one_to_one,
        "estimated_people_in_common": round(curve.matches),
        "agencies": {
            party.agency: {
                "file": party.file,
                "rows": len(party),
                "rows_left_out": party.problems.rows_lost,
                "fields": {
                    name: round(counts.kept / counts.seen, 4)
                    for name, counts in party.report.fields.items()
                    if counts.seen
                },
            }
            for party in result.parties
        },
        "schema_hash": schema_hash(result.section),
        "notes": list(result.notes),
        "seed": result.seed,
    }
    if result.truth is not None:
        value |= _truth_json(result.truth, result)
    return value


def bands(result: PilotResult) -> dict[str, int]:
    """Links by strength band."""
    counts = Counter(Band(int(band)).label for band in result.links.band)
    return {band.label: counts[band.label] for band in sorted(Band, reverse=True)}


def _truth_json(truth: TruthResult, result: PilotResult) -> Json:
    score = truth.score
    rng = np.random.default_rng(result.seed)
    best = max(truth.curve, key=lambda one: one.f1)
    at = truth.curve.index(best)
    return {
        "precision": round(score.precision, 6),
        "recall": round(score.recall, 6),
        "f1": round(score.f1, 6),
        "precision_interval": score.precision_interval.to_json(),
        "recall_interval": score.recall_interval.to_json(),
        "f1_interval": score.f1_interval(rng).to_json(),
        "true_pairs": score.true_pairs,
        "correct_pairs": score.correct,
        "best_possible": {"threshold": round(float(result.curve.grid[at]), 4), "f1": round(best.f1, 6)},
        "by_threshold": [
            {
                "threshold": round(float(t), 4),
                "precision": round(one.precision, 6),
                "recall": round(one.recall, 6),
                "f1": round(one.f1, 6),
            }
            for t, one in zip(result.curve.grid, truth.curve, strict=True)
            if one.links
        ],
        "subgroups": [_subgroup(group) for group in truth.subgroups],
    }


def _subgroup(group: GroupScore) -> Json:
    score = group.score
    return {
        "kind": group.kind,
        "name": group.name,
        "links": score.links,
        "true_pairs": score.true_pairs,
        "precision": round(score.precision, 6),
        "precision_interval": score.precision_interval.to_json(),
        "recall": round(score.recall, 6),
        "recall_interval": score.recall_interval.to_json(),
        "f1": round(score.f1, 6),
    }


def _rate(rate: float) -> float:
    return float(f"{rate:.3g}")


def summary(result: PilotResult) -> str:
    """A page for the terminal."""
    choice = result.choice
    lines = [f"{party.agency}: {len(party):,} records from {party.file}" for party in result.parties]
    lines += [f"  note: {note}" for note in result.notes]
    lines += [
        "",
        f"Links found: {len(result.links):,} pairs in {result.groups:,} groups "
        f"({', '.join(f'{count:,} {name}' for name, count in bands(result).items())})",
        f"Threshold: {choice.threshold:.4g} "
        f"(probable from {choice.probable:.4g}, strong from {choice.strong:.4g})",
        f"  chosen as {choice.how}",
        f"Estimated part of the links that is wrong: {choice.rate:.2%} "
        f"(95 % interval {choice.rate_interval.low:.2%} to {choice.rate_interval.high:.2%})",
    ]
    if choice.settled.low != choice.settled.high:
        lines.append(
            f"  other samples would have put the threshold between {choice.settled.low:.4g} and "
            f"{choice.settled.high:.4g}"
        )
    if result.truth is not None:
        score = result.truth.score
        f1 = score.f1_interval(np.random.default_rng(result.seed))
        p, r = score.precision_interval, score.recall_interval
        lines += [
            "",
            "Against the truth column:",
            f"  right among the links (precision): {score.precision:.2%} ({p.low:.2%} to {p.high:.2%})",
            f"  found of all true pairs (recall):  {score.recall:.2%} ({r.low:.2%} to {r.high:.2%})",
            f"  F1: {score.f1:.4f} ({f1.low:.4f} to {f1.high:.4f}); best at any threshold "
            f"{max(one.f1 for one in result.truth.curve):.4f}",
        ]
    return "\n".join(lines)


def write_pairs(result: PilotResult, path: Path) -> None:
    """The pairs found, strongest first, with the score: it is the agency's own pilot, on its own files.

    A node of a real linkage is only ever told the band.
    """
    links, parties = result.links, result.parties
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["agency_a", "record_a", "line_a", "agency_b", "record_b", "line_b", "band", "score", "group"]
        )
        for at in np.argsort(-links.score, kind="stable").tolist():
            cells: list[str | int] = []
            for party_at, row in ((links.party_a, links.row_a), (links.party_b, links.row_b)):
                party, place = parties[int(party_at[at])], int(row[at])
                line = int(party.facts.line[place])
                record = party.facts.record_id[place] if party.facts.record_id else str(line)
                cells += [party.agency, record, line]
            score = float(links.score[at])
            cells += [
                Band(int(links.band[at])).label,
                f"{score:.4f}" if score else "",
                int(links.group[at]) + 1,
            ]
            writer.writerow(cells)

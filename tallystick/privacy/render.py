"""The report as a page, or as a section of another, for a person who is not a cryptographer."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tallystick.privacy.gates import AttackResults, TargetReport
from tallystick.privacy.graph import FEW_RECORDS
from tallystick.privacy.proportion import Proportion
from tallystick.privacy.report import PrivacyReport

_VERDICTS: Final = {
    "pass": "Every limit is kept.",
    "concern": "The limits for outsiders are kept, but somebody who already holds a rich list could find too "
    "many. Officers should weigh this before they sign.",
    "fail": "At least one limit is not kept. This should not be signed as it is.",
}
_HARDLY: Final = 0.1
_OUTCOMES: Final = {"pass": "kept", "concern": "CONCERN", "fail": "NOT KEPT"}


@dataclass(frozen=True, slots=True)
class _Attack:
    """One attack on one target; each row is what it is, this encoding, and the control."""

    title: str
    who: str
    what: str
    rows: list[tuple[str, str, str]]


def render_page(report: PrivacyReport) -> str:
    """A whole HTML page that needs no other file."""
    return _rendered("report.html.j2", report)


def render_section(report: PrivacyReport) -> str:
    """The same as an HTML fragment, headings from h3 on, to include in another page (already escaped)."""
    return _rendered("section.html.j2", report)


def verdict_text(report: PrivacyReport) -> str:
    """The verdict in a sentence."""
    return _VERDICTS[report.verdict]


def notes_on(report: PrivacyReport) -> list[str]:
    """What a reader should know before relying on the numbers."""
    notes = []
    settings = report.settings
    if settings.graph_rows < FEW_RECORDS:
        notes.append(
            f"Graph matching was tried on {settings.graph_rows:,} records. It grows stronger with more, so a "
            f"low figure says less than it would on {FEW_RECORDS:,} or more; use --graph-rows for that."
        )
    if settings.rows < FEW_RECORDS:
        notes.append(
            f"Only {settings.rows:,} records, of which {max(settings.pairs, default=0)} known pairs are a "
            "large part: that attack looks stronger than on a full file. For signing, use at least 5,000."
        )
    for target in report.targets:
        weak = _weak_spots(target.control) if target.control else []
        if weak:
            notes.append(
                f"{target.name}: the control was hardly found either by {', '.join(weak)}. A low figure "
                "there proves no protection."
            )
    return notes


def percent(share: Proportion) -> str:
    """``1.2 % (0.8 to 1.9 %)``, or a dash of no tries."""
    if not share.tries:
        return "–"
    low, high = share.interval
    return f"{100 * share.share:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"


def attacks_on(target: TargetReport) -> list[_Attack]:
    """What was tried on a target without the key."""
    return [
        _Attack(
            "A1: bit profile",
            "Anybody who sees the encodings.",
            "Counts how often each bit is set, and whether codes repeat. Even bits give no hold.",
            [
                _row("Bits set", target, lambda a: f"{100 * a.profile.fill:.1f} %"),
                _row("Unevenness of bits (Gini; 0 is even)", target, lambda a: f"{a.profile.gini:.3f}"),
                _row("Distance from pure chance (0 to 1)", target, lambda a: f"{a.profile.divergence:.3f}"),
                _row("Codes that occur twice or more", target, lambda a: percent(a.profile.duplicates)),
                _row("Rows with the most frequent code", target, lambda a: str(a.profile.top_pattern.hits)),
            ],
        ),
        _Attack(
            "A2: graph matching",
            "Anybody who gets the encodings and a public list; no key, no inside knowledge.",
            "Lays the list over the encodings by who resembles whom.",
            [
                _row(
                    f"{graph.overlap} % of {graph.records:,} people on the list: found",
                    target,
                    partial(_graph_cell, place),
                )
                for place, graph in enumerate(target.results.graph)
            ],
        ),
        _Attack(
            "A3: known pairs",
            "Anybody who gets the encodings and knows for some whose they are.",
            "Learns from them what the bits mean, then looks for everybody else on a list.",
            [
                _row(
                    f"{known.pairs} known, list of {known.knows}: right one first / among ten",
                    target,
                    partial(_known_cell, place),
                )
                for place, known in enumerate(target.results.known_pairs)
            ],
        ),
        _Attack(
            "A5: pattern mining",
            "Anybody who gets the encodings and knows how frequent names are.",
            "Takes bits that go together for the bits of frequent letter pairs.",
            [
                _row("Bit patterns named", target, lambda a: str(a.mining.right.tries)),
                _row("of these, rightly", target, lambda a: str(a.mining.right.hits)),
                _row("Right person first", target, lambda a: percent(a.mining.top1)),
                _row("Right person among ten", target, lambda a: percent(a.mining.top10)),
            ],
        ),
    ]


def _row(title: str, target: TargetReport, read: Callable[[AttackResults], str]) -> tuple[str, str, str]:
    return title, read(target.results), read(target.control) if target.control else ""


def _graph_cell(place: int, results: AttackResults) -> str:
    return percent(results.graph[place].found)


def _known_cell(place: int, results: AttackResults) -> str:
    known = results.known_pairs[place]
    return f"{percent(known.top1)} / {percent(known.top10)}"


def _weak_spots(control: AttackResults) -> list[str]:
    """The attacks without a key that hardly worked on the control."""
    weak = [
        f"graph matching at {graph.overlap} % overlap"
        for graph in control.graph
        if graph.found.share < _HARDLY
    ]
    if max((known.top1.share for known in control.known_pairs), default=0.0) < _HARDLY:
        weak.append("known pairs")
    if control.mining.top10.share < _HARDLY:
        weak.append("pattern mining")
    return weak


def _rendered(template: str, report: PrivacyReport) -> str:
    environment = Environment(
        loader=PackageLoader("tallystick.privacy"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(
        report=report,
        verdict=verdict_text(report),
        notes=notes_on(report),
        words=_OUTCOMES,
        percent=percent,
        attacks=attacks_on,
        plot=base64.b64encode(_plot(report)).decode(),
    )


def _plot(report: PrivacyReport) -> bytes:
    """A PNG: for each target, known pairs found against how many are known, and graph matching by overlap."""
    figure = Figure(figsize=(9, 3.2 * len(report.targets)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(report.targets), 2, squeeze=False)
    for row, target in zip(axes, report.targets, strict=True):
        lists = list(dict.fromkeys(known.knows for known in target.results.known_pairs))
        for results, style, label in (
            (target.results, "o-", "this encoding"),
            (target.control, "s:", "control, not hardened"),
        ):
            if results is None:
                continue
            for number, knows in enumerate(lists):
                points = [known for known in results.known_pairs if known.knows == knows]
                row[0].plot(
                    [known.pairs for known in points],
                    [100 * known.top1.share for known in points],
                    style,
                    color=f"C{number}",
                    label=f"{knows}, {label}",
                )
            row[1].plot(
                [graph.overlap for graph in results.graph],
                [100 * graph.found.share for graph in results.graph],
                style,
                label=label,
            )
        row[0].set(title=f"{target.name}: known pairs", xlabel="known pairs", ylabel="right one first, %")
        row[1].set(title=f"{target.name}: graph matching", xlabel="on the list, %", ylabel="found, %")
        for axis in row:
            axis.set_ylim(-3, 103)
            axis.legend(fontsize=6)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110, metadata={"Software": None})
    return image.getvalue()

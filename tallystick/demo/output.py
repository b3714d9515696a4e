"""What the demonstration prints, for a person who sees it for the first time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agency_node.audit_check import CheckReport
from agency_node.rpc.ports import PictureItem
from tallystick.demo.disclosing import Asked
from tallystick.demo.linking import Score
from tallystick.demo.officers import NAMES


def heading(console: Console, number: int, text: str) -> None:
    """A step of the demonstration."""
    console.print(f"\n[bold]{number}. {escape(text)}[/bold]")


def show_score(console: Console, links: int, score: Score) -> None:
    """Quality against the truth, in words and numbers."""
    console.print(
        f"   {links} links told. Against the truth: precision {score.precision:.3f} "
        f"({score.wrong} of {score.right + score.wrong} wrong), recall {score.recall:.3f} "
        f"({score.missed} of {score.right + score.missed} missed)."
    )
    console.print("   No party of the federation could make this count: it needs who is who.")


def show_asked(console: Console, asked: Sequence[Asked]) -> None:
    """Each request with what was released and what was not."""
    table = Table(box=None, pad_edge=False)
    for column in ("asked", "tier", "answer", "fields released", "withheld or denied"):
        table.add_column(column)
    for item in asked:
        outcomes = Counter(outcome.outcome for outcome in item.detail.outcomes)
        released = outcomes["released"] + outcomes["release"]
        table.add_row(
            NAMES[item.agency],
            str(item.tier),
            item.detail.summary.state,
            str(released),
            str(sum(outcomes.values()) - released),
        )
    console.print(table)


def show_withheld(console: Console, items: Sequence[PictureItem]) -> None:
    """What was withheld, and by which clause."""
    reasons = Counter((item.agency_id, item.record_type, line) for item in items for line in item.withheld)
    for (agency, record_type, line), count in sorted(reasons.items()):
        times = f" ({count} records)" if count > 1 else ""
        console.print(f"   {NAMES.get(agency, agency)}, {record_type}: {escape(line)}{times}")
    if not reasons:
        console.print("   Nothing.")


def show_picture(console: Console, items: Sequence[PictureItem]) -> None:
    """The timeline: date, who wrote it, what."""
    table = Table(box=None, pad_edge=False)
    table.add_column("when", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column("what")
    for item in items:
        if not item.fields:
            continue
        summary = item.fields.get("summary") or ", ".join(
            f"{name.replace('_', ' ')}: {value}"
            for name, value in item.fields.items()
            if name not in {"occurred", "occurred_month", "consent"}
        )
        what = f"[italic]{escape(item.record_type.replace('_', ' '))}[/italic]  {escape(summary)}"
        table.add_row(item.occurred or "undated", NAMES.get(item.agency_id, item.agency_id), what)
    console.print(table)


def show_audit(console: Console, agency: str, report: CheckReport) -> None:
    """One log's verification: what is wrong, or that nothing is."""
    verdict = "sound" if not report.findings else f"{len(report.findings)} findings"
    console.print(f"   {NAMES[agency]}: {report.size} entries, {verdict}.")
    for finding in report.findings:
        console.print(f"      {escape(finding.message)}")

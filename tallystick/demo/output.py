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

_SHORT = {
    "northmoor-police": "Northmoor Police",
    "southvale-police": "Southvale Police",
    "northmoor-care": "Social care",
    "vale-nhs": "NHS",
    "haven-charity": "Haven (charity)",
}


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
    """Each request and what came of it."""
    for item in asked:
        outcomes = Counter(outcome.outcome for outcome in item.held.outcomes)
        released = outcomes["release"] + outcomes["released"]
        line = f"   {NAMES[item.agency]}: {item.detail.summary.state}"
        if item.detail.refusal:
            line += f" ({item.detail.refusal})"
        else:
            line += f", {released} fields released, {sum(outcomes.values()) - released} kept back"
        console.print(escape(line))


def show_withheld(console: Console, asked: Sequence[Asked]) -> None:
    """What the holders kept back, and why; the asking agency is not told of it."""
    reasons = Counter(
        (item.agency, outcome.record_type, outcome.reason)
        for item in asked
        for outcome in item.held.outcomes
        if outcome.outcome not in {"release", "released"}
    )
    for (agency, record_type, reason), count in sorted(reasons.items()):
        what = record_type.replace("_", " ")
        console.print(escape(f"   {NAMES[agency]}, {what}: {count} fields {reason}"))
    console.print("   So say the holders' own nodes. The asking agency is not told that there was more.")


def show_picture(console: Console, items: Sequence[PictureItem]) -> None:
    """The timeline: date, who wrote it, what."""
    table = Table(box=None, pad_edge=False)
    table.add_column("   when", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column("what")
    for item in items:
        summary = item.fields.get("summary")
        if summary:
            what = f"[italic]{escape(item.record_type.replace('_', ' '))}[/italic]  {escape(summary)}"
            table.add_row("   " + (item.occurred or "undated"), _SHORT[item.agency_id], what)
    console.print(table)


def show_audit(console: Console, agency: str, report: CheckReport) -> None:
    """One log's verification: what is wrong, or that nothing is."""
    verdict = "sound" if not report.findings else f"{len(report.findings)} findings"
    console.print(f"   {NAMES[agency]}: {report.size} entries, {verdict}.")
    for finding in report.findings:
        console.print(f"      {escape(finding.message)}")

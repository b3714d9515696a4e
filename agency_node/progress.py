"""How a node's commands show a long task: its progress, rows that were left out, and the final counts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from protos.wire.terminal import say


class _Report(Protocol):
    """How far a long task is."""

    @property
    def stage(self) -> str: ...

    @property
    def done(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def counts(self) -> Mapping[str, int]: ...

    @property
    def rows_lost(self) -> Sequence[str]: ...


class _Answer(Protocol):
    """An answer that carries a report."""

    @property
    def progress(self) -> _Report: ...


async def show_progress(answers: AsyncGenerator[_Answer, None]) -> None:
    """A progress bar on a terminal, a line for each stage elsewhere; rows left out and counts in both.

    Rows that were left out are shown too where the task then fails.
    """
    console = Console()
    lost: list[str] = []
    counts: Mapping[str, int] = {}
    try:
        async with aclosing(answers):
            shown = _bars(answers, console) if console.is_terminal else _lines(answers)
            async for report in shown:
                lost += report.rows_lost
                counts = report.counts
    finally:
        for row in lost:
            say(f"left out: {row}")
    for reason, count in sorted(counts.items()):
        say(f"{count:>12,}  {reason.replace('_', ' ')}")


async def _bars(answers: AsyncGenerator[_Answer, None], console: Console) -> AsyncIterator[_Report]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}
        async for answer in answers:
            report = answer.progress
            if report.stage != "done":
                if report.stage not in tasks:
                    tasks[report.stage] = bars.add_task(report.stage, total=None)
                bars.update(tasks[report.stage], completed=report.done, total=report.total or None)
            yield report


async def _lines(answers: AsyncGenerator[_Answer, None]) -> AsyncIterator[_Report]:
    stage = ""
    async for answer in answers:
        if answer.progress.stage != stage:
            stage = answer.progress.stage
            say(f"{stage} ...")
        yield answer.progress

"""What may name somebody need not stand on a command line, where everybody on the machine reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from agency_node.audit_cli import audit_app
from agency_node.disclosure.cli import approve_app, request_app
from agency_node.disclosure.oversight_cli import supervise_app
from protos.wire.terminal import ask_words, own_words, own_words_if_needed
from tallystick.governance.cli import policy_app

PERSONAL = {"--necessity", "--explanation", "--reason", "--case"}


def said(words: tuple[str, ...], typed: str = "") -> str:
    app = typer.Typer()

    @app.command()
    def command(
        reason: Annotated[str, own_words("Why", "Why.")],
        explanation: Annotated[str | None, own_words_if_needed("What is happening.")] = None,
    ) -> None:
        told = explanation or ask_words("What")
        typer.echo(f"[{reason}|{told}]")

    result = CliRunner().invoke(app, list(words), typed)
    return result.stdout.splitlines()[-1] if result.exit_code == 0 else f"exit {result.exit_code}"


def test_words_are_asked_for_read_from_a_file_or_from_standard_input(tmp_path: Path) -> None:
    note = tmp_path / "why.txt"
    note.write_text("Two\nlines.\n")
    assert said((), "Because.\nA fire.\n") == "[Because.|A fire.]"
    assert said(("--reason", "R.", "--explanation", "E.")) == "[R.|E.]"
    assert said(("--reason", "-", "--explanation", "E."), "From a pipe.\n") == "[From a pipe.|E.]"
    assert said(("--reason", "R.", "--explanation", f"@{note}")).endswith("lines.]")
    assert said(("--reason", "@/nowhere", "--explanation", "E.")) == "exit 2"


@pytest.mark.parametrize("app", [request_app, approve_app, supervise_app, audit_app, policy_app])
def test_no_command_needs_them_on_its_line(app: typer.Typer) -> None:
    group = typer.main.get_group(app)
    for command in group.commands.values():
        for option in command.params:
            if PERSONAL & set(option.opts):
                assert option.metavar == "TEXT|@FILE|-" and not option.required
                assert "others on the machine can read a command line" in str(getattr(option, "help", ""))

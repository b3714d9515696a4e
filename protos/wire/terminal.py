"""What the commands share: passphrases, JSON files, and errors that end a command with a sentence."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer
from typer.models import OptionInfo

from crypto.canonical import JsonValue, parse_strict
from crypto.errors import CryptoError
from policies.errors import PolicyError
from protos.wire.errors import RefusedError

PASSPHRASE_VARIABLE = "TALLYSTICK_PASSPHRASE"  # noqa: S105 - the variable's name

_WORDS = "TEXT|@FILE|-"
_ASKED = "You are asked for it if you leave it out: others on the machine can read a command line."

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

#: Exit codes: 0 done, 1 refused or failed for a stated reason, 2 wrong usage or configuration.
EXIT_REFUSED = 1
EXIT_USAGE = 2


def say(text: str) -> None:
    """One line for the person at the terminal."""
    typer.echo(text)


def stop_on_error(command: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Ends a command with one clear sentence and exit code 1 instead of a traceback.

    Only for errors that are meant for people; anything else is a fault and keeps its traceback.
    """

    @functools.wraps(command)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return command(*args, **kwargs)
        except (CryptoError, PolicyError, RefusedError, TerminalError, OSError, ValueError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(EXIT_REFUSED) from None

    return run


class TerminalError(Exception):
    """A command cannot go on; the message says why and what to do."""


def ask_passphrase(file: Path | None, *, prompt: str = "Passphrase", confirm: bool = False) -> str:
    """A passphrase from a file, else from TALLYSTICK_PASSPHRASE, else asked for.

    Raises:
        TerminalError: there is none, and nobody at the terminal to ask.
    """
    if file is not None:
        return file.read_text("utf-8").rstrip("\r\n")
    held = os.environ.get(PASSPHRASE_VARIABLE)
    if held is not None:
        return held
    if not sys.stdin.isatty():
        raise TerminalError(
            f"no passphrase: set {PASSPHRASE_VARIABLE}, name a passphrase file, or use a terminal"
        )
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm))


def ask_words(prompt: str) -> str:
    """Words that the person at the terminal types; the question does not mix with what is printed."""
    return str(typer.prompt(prompt, err=True))


def own_words(prompt: str, text: str) -> OptionInfo:
    """An option for words that may name somebody: text, `@FILE`, `-` for standard input, or asked for.

    Whatever stands on a command line is read by everybody on the machine while the command runs, and stays
    in the shell's history.
    """
    option = typer.Option(
        default_factory=lambda: ask_words(prompt),
        show_default=False,
        callback=_read_words,
        metavar=_WORDS,
        help=f"{text} {_ASKED}",
    )
    assert isinstance(option, OptionInfo)
    return option


def own_words_if_needed(text: str) -> OptionInfo:
    """The same for words that the command itself asks for where it needs them."""
    option = typer.Option(callback=_read_words, metavar=_WORDS, help=f"{text} {_ASKED}")
    assert isinstance(option, OptionInfo)
    return option


def _read_words(given: str | None) -> str | None:
    if given is None:
        return None
    if given == "-":
        text = sys.stdin.read()
    elif given.startswith("@"):
        try:
            text = Path(given[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{given[1:]} cannot be read: {error}") from None
    else:
        return given
    return text.strip()


def read_json(path: Path) -> JsonValue:
    """A JSON file, strictly: duplicate keys and floats are refused."""
    return parse_strict(path.read_bytes())

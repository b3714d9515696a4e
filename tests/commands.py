"""The commands that `tallystick` really has, for tests of documents that mention them."""

from __future__ import annotations

import functools
from typing import TypeAlias

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from tallystick.cli import COMMANDS, build

Found: TypeAlias = "TyperCommand | TyperGroup"


@functools.cache
def _group(name: str) -> Found:
    return _inner(get_command(build(name)), name)


def _inner(group: object, name: str) -> Found:
    assert isinstance(group, TyperGroup)
    found = group.commands.get(name)
    assert isinstance(found, TyperCommand | TyperGroup), f"there is no command {name!r}"
    return found


def command_of(words: list[str]) -> Found:
    """The command that `tallystick WORDS` runs, its options checked; AssertionError if there is none such.

    An argument that is left out, or one too many, is a mistake too; values are not looked at.
    """
    text = f"tallystick {' '.join(words)}"
    assert words, "tallystick without a command"
    assert words[0] in COMMANDS, f"{text}: there is no command {words[0]!r}"
    command, rest = _group(words[0]), words[1:]
    while isinstance(command, TyperGroup) and rest and rest[0] in command.commands:
        command, rest = _inner(command, rest[0]), rest[1:]
    _check_arguments(command, rest, text)
    return command


def _check_arguments(command: Found, words: list[str], text: str) -> None:
    options = {name: item for item in command.params if isinstance(item, TyperOption)
               for name in (*item.opts, *item.secondary_opts)}  # fmt: skip
    places = [item for item in command.params if isinstance(item, TyperArgument)]
    given, waiting = 0, list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-"):
            given += 1
            continue
        name, separator, _ = word.partition("=")
        if name == "--help":
            return
        assert name in options, f"{text}: there is no option {name}"
        option = options[name]
        if not option.is_flag and not separator:
            assert waiting, f"{text}: {name} needs a value"
            waiting.pop(0)
    if isinstance(command, TyperGroup):
        assert not given or command.invoke_without_command, f"{text}: no such command"
        return
    needed = sum(1 for item in places if item.required)
    most = float("inf") if any(item.nargs == -1 for item in places) else len(places)
    assert needed <= given <= most, f"{text}: {given} arguments where {needed} are needed"

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


def every_option() -> set[str]:
    """The names of all options of all commands."""
    waiting = [_group(name) for name in COMMANDS]
    found: set[str] = set()
    while waiting:
        command = waiting.pop()
        found |= {name for item in command.params for name in (*item.opts, *item.secondary_opts)}
        if isinstance(command, TyperGroup):
            waiting += [_inner(command, name) for name in command.commands]
    return found


def command_of(words: list[str], *, whole: bool = True) -> Found:
    """The command that `tallystick WORDS` runs, its options checked; AssertionError if there is none such.

    If it is written out in `whole`, an argument that is left out is a mistake too. Values are not looked at.
    """
    text = f"tallystick {' '.join(words)}"
    assert words, "tallystick without a command"
    assert words[0] in COMMANDS, f"{text}: there is no command {words[0]!r}"
    command, rest = _group(words[0]), words[1:]
    while isinstance(command, TyperGroup) and rest and rest[0] in command.commands:
        command, rest = _inner(command, rest[0]), rest[1:]
    _check_arguments(command, rest, text, whole)
    return command


def _check_arguments(command: Found, words: list[str], text: str, whole: bool) -> None:
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
            assert waiting or not whole, f"{text}: {name} needs a value"
            waiting = waiting[1:]
    if isinstance(command, TyperGroup):
        assert not given or command.invoke_without_command, f"{text}: no such command"
        return
    needed = sum(1 for item in places if item.required and whole)
    most = float("inf") if any(item.nargs == -1 for item in places) else len(places)
    assert needed <= given <= most, f"{text}: {given} arguments where {needed} are needed"

"""What the officers' commands share: their options, the running node, the officer's key, and lists.

The officer's key never goes to the node: documents are signed on this side of the socket.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from agency_node.config import NodeConfig, load_config
from agency_node.disclosure.ordering import agreed_order
from agency_node.disclosure.page import Acting, signed
from agency_node.errors import NodeConfigError
from agency_node.rpc.control_client import ControlClient, control_client
from agency_node.rpc.ports import OrderDraft
from crypto.canonical import JsonValue
from crypto.keys import Signer
from crypto.signers import load_signer
from protos.wire.terminal import EXIT_USAGE, ask_passphrase, own_words, say

Config = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]
Key = Annotated[str, typer.Option("--key", help="Your key, as keystore:/path/keys.json#signing.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="A file with your key's passphrase; otherwise you are asked for it."),
]
Officer = Annotated[str, typer.Option(help="Your person id, as the registry has it.")]
Role = Annotated[str, typer.Option(help="The role in which you act, such as investigator or approver.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask again after showing what you sign.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs rather than people.")]
RequestId = Annotated[str, typer.Argument(help="The request's id, as `list` or `queue` shows it.")]
LookReason = Annotated[
    str, own_words("Why you look", "Why you look, such as your case reference; it is kept.")
]
Reason = Annotated[str, own_words("Why, in your own words", "Why, in your own words; it is kept.")]
SubjectNumber = Annotated[str, typer.Argument(help="Your agency's own number of the person or place.")]
#: Where a node's configuration is when nobody says.
CONFIG = Path("node.toml")
_Result = TypeVar("_Result")


def officers_app(help_text: str) -> typer.Typer:
    """An empty group of commands that shows its help when nothing is typed."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=help_text)

    # Without it a group of one command would be that command.
    @app.callback(help=help_text)
    def _group() -> None:
        pass

    return app


def _loaded(config: Path) -> NodeConfig:
    try:
        return load_config(config)
    except NodeConfigError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None


def acting_for(config: Path) -> Acting:
    """The federation and agency of the node's configuration."""
    loaded = _loaded(config)
    return Acting(loaded.federation, loaded.agency)


def with_node(config: Path, work: Callable[[ControlClient], Awaitable[_Result]]) -> _Result:
    """Runs `work` with the running node; a wrong configuration ends the command with its own exit code."""
    loaded = _loaded(config)

    async def connected() -> _Result:
        async with control_client(loaded.control_socket) as client:
            return await work(client)

    return asyncio.run(connected())


def listed(config: Path, call: Callable[[ControlClient], AsyncGenerator[_Result, None]]) -> Sequence[_Result]:
    """Everything that the running node answers to a call."""

    async def work(client: ControlClient) -> Sequence[_Result]:
        async with aclosing(call(client)) as answers:
            return [item async for item in answers]

    return with_node(config, work)


def show_list(
    found: Sequence[_Result],
    as_json: bool,
    row: Callable[[_Result], dict[str, JsonValue]],
    lines: Callable[[_Result], Iterable[str]],
    total: str,
) -> None:
    """A list for people, which ends with how many of what, or its rows as JSON."""
    if as_json:
        say(json.dumps([row(item) for item in found], indent=2))
        return
    for item in found:
        for line in lines(item):
            say(line)
    say(f"{len(found)} {total}")


def unlocked(key: str, passphrase_file: Path | None, *, retype: bool = False) -> Signer:
    """The officer's key. With `retype` its passphrase is typed now, whatever file or variable has it."""

    def passphrase() -> str:
        if retype:
            return str(typer.prompt("Break-glass: type the passphrase of your key", hide_input=True))
        return ask_passphrase(passphrase_file, prompt="Passphrase of your key")

    return load_signer(key, passphrase)


def confirm(lines: Iterable[str], yes: bool) -> None:
    """Shows what is about to be signed, and asks, unless the officer has answered beforehand."""
    for line in lines:
        say(line)
    if not yes:
        typer.confirm("Sign this?", abort=True)


def ordered(draft: OrderDraft, key: str, passphrase_file: Path | None, config: Path) -> bytes:
    """An officer's signed order."""
    prepared = with_node(config, lambda client: client.prepare_order(draft))
    order = agreed_order(prepared, draft, acting_for(config))
    return signed(order, unlocked(key, passphrase_file))


def give_order(draft: OrderDraft, key: str, passphrase_file: Path | None, config: Path) -> None:
    """Signs an officer's order, hands it in, and says what was done."""
    envelope = ordered(draft, key, passphrase_file, config)
    say(with_node(config, lambda client: client.submit_order(envelope)))

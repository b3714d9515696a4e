"""`tallystick request` and `tallystick approve`: what officers do. The officer's key never goes to the node.

Exit codes: 0 done, 1 refused, 2 wrong usage or configuration.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from agency_node.config import load_config
from agency_node.disclosure.wording import detail_json, detail_lines, picture_lines, summary_line
from agency_node.errors import NodeConfigError
from agency_node.rpc.control_client import ControlClient, control_client
from agency_node.rpc.ports import PreparedDocument, RequestDraft, RequestSummary
from crypto.canonical import parse_canonical
from crypto.envelope import sign_envelope
from crypto.signers import load_signer
from policies.codec import parse
from policies.disclosure import DisclosureRequest
from policies.vocabulary import TIER_NAMES
from protos.wire.terminal import EXIT_USAGE, ask_passphrase, say, stop_on_error

request_app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Ask other agencies about a link."
)
approve_app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Approve or reject what others ask."
)

Config = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]
Key = Annotated[str, typer.Option("--key", help="Your key, as keystore:/path/keys.json#signing.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="A file with your key's passphrase; otherwise you are asked for it."),
]
Officer = Annotated[str, typer.Option(help="Your person id, as the registry has it.")]
Role = Annotated[str, typer.Option(help="The role in which you act, such as investigator or approver.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs rather than people.")]
RequestId = Annotated[str, typer.Argument(help="The request's id, as `list` or `queue` shows it.")]
_CONFIG = Path("node.toml")
_Result = TypeVar("_Result")


@request_app.callback()
def _request() -> None:
    """Ask other agencies about a link."""


@approve_app.callback()
def _approve() -> None:
    """Approve or reject what others ask."""


@request_app.command()
@stop_on_error
def ask(
    link: Annotated[str, typer.Argument(help="The link token, as `tallystick node links` shows it.")],
    key: Key,
    officer: Officer,
    role: Role,
    purpose: Annotated[str, typer.Option(help="Why, in the policy's words: domestic_abuse_risk ...")],
    necessity: Annotated[str, typer.Option(help="Why it is necessary, in your own words.")],
    case: Annotated[str, typer.Option(help="Your case reference.")],
    tier: Annotated[
        int, typer.Option(min=0, max=3, help="0 existence, 1 risk flags, 2 summary, 3 full record.")
    ] = 1,
    urgency: Annotated[str, typer.Option(help="routine, urgent or immediate.")] = "routine",
    record_type: Annotated[list[str] | None, typer.Option(help="Only these record types.")] = None,
    field: Annotated[list[str] | None, typer.Option(help="Only these fields.")] = None,
    passphrase_file: PassphraseFile = None,
    config: Config = _CONFIG,
) -> None:
    """Asks the agency behind a link. You sign with your own key; the node adds its signature and sends it."""
    draft = RequestDraft(
        link, purpose, tier, necessity, case, urgency, tuple(record_type or ()), tuple(field or ()),
        officer, role,
    )  # fmt: skip

    async def work(client: ControlClient) -> tuple[DisclosureRequest, str]:
        prepared = await client.prepare_request(draft)
        request = parse(DisclosureRequest, prepared.payload)
        return request, await client.submit_request(_signed(prepared, key, passphrase_file))

    request, request_id = _with_node(config, work)
    asked = ", ".join(f"{item.record_type} ({len(item.fields)} fields)" for item in request.asks)
    say(f"Sent to {request.provider}: {TIER_NAMES[request.tier]}, under policy {request.policy}.")
    say(f"Asked for: {asked}")
    say(f"Request {request_id}, open until {request.expires:%d %B %Y %H:%M} UTC")


@request_app.command("list")
@stop_on_error
def list_requests(
    direction: Annotated[str, typer.Option(help="made, received, or empty for both.")] = "",
    as_json: AsJson = False,
    config: Config = _CONFIG,
) -> None:
    """Lists requests, the newest first."""
    found = _with_node(config, lambda client: _all(client.requests(direction)))
    _show_list(found, as_json)


@request_app.command()
@stop_on_error
def show(request_id: RequestId, as_json: AsJson = False, config: Config = _CONFIG) -> None:
    """Shows one request: what was released, and what was withheld by which clause."""
    detail = _with_node(config, lambda client: client.request(request_id))
    if as_json:
        say(json.dumps(detail_json(detail), indent=2))
        return
    for line in detail_lines(detail):
        say(line)


@request_app.command()
@stop_on_error
def picture(
    subject: Annotated[str, typer.Argument(help="The agency's own number of the person or place.")],
    as_json: AsJson = False,
    config: Config = _CONFIG,
) -> None:
    """Shows everything held and received about one of your subjects, the oldest first."""
    items = _with_node(config, lambda client: _all(client.picture(subject)))
    if as_json:
        say(
            json.dumps(
                [
                    {
                        "agency": item.agency_id,
                        "record_type": item.record_type,
                        "occurred": item.occurred,
                        "fields": dict(item.fields),
                        "withheld": list(item.withheld),
                        "request": item.request_id,
                    }
                    for item in items
                ],
                indent=2,
            )
        )
        return
    for line in picture_lines(items):
        say(line)


@approve_app.command()
@stop_on_error
def queue(as_json: AsJson = False, config: Config = _CONFIG) -> None:
    """Lists the requests that wait for an approval, the newest first."""
    found = _with_node(config, lambda client: _all(client.requests("received")))
    _show_list([item for item in found if item.state == "waiting"], as_json)


@approve_app.command("approve")
@stop_on_error
def approve(
    request_id: RequestId,
    key: Key,
    officer: Officer,
    reason: Annotated[str, typer.Option(help="Why, in your own words; it is kept.")],
    role: Role = "approver",
    passphrase_file: PassphraseFile = None,
    config: Config = _CONFIG,
) -> None:
    """Approves a request, or reviews a use of break-glass, with your own key."""
    _decide(request_id, "approve", key, officer, role, reason, passphrase_file, config)


@approve_app.command("reject")
@stop_on_error
def reject(
    request_id: RequestId,
    key: Key,
    officer: Officer,
    reason: Annotated[str, typer.Option(help="Why not, in your own words; it is kept.")],
    role: Role = "approver",
    passphrase_file: PassphraseFile = None,
    config: Config = _CONFIG,
) -> None:
    """Rejects a request with your own key. One rejection is enough."""
    _decide(request_id, "reject", key, officer, role, reason, passphrase_file, config)


def _decide(
    request_id: str,
    decision: str,
    key: str,
    officer: str,
    role: str,
    reason: str,
    passphrase_file: Path | None,
    config: Path,
) -> None:
    async def work(client: ControlClient) -> str:
        prepared = await client.prepare_approval(request_id, decision, reason, officer, role)
        return await client.submit_approval(_signed(prepared, key, passphrase_file))

    state = _with_node(config, work)
    say(f"{'Approved' if decision == 'approve' else 'Rejected'}. The request is now: {state}.")


def _signed(prepared: PreparedDocument, key: str, passphrase_file: Path | None) -> bytes:
    """The document under the officer's signature, made on this side of the socket."""
    parse_canonical(prepared.payload, max_bytes=1_048_576)
    signer = load_signer(key, lambda: ask_passphrase(passphrase_file, prompt="Passphrase of your key"))
    return sign_envelope(prepared.payload_type, prepared.payload, [signer]).to_bytes()


def _show_list(found: list[RequestSummary], as_json: bool) -> None:
    if as_json:
        say(
            json.dumps(
                [
                    {
                        "request": item.request_id,
                        "direction": item.direction,
                        "agency": item.peer,
                        "state": item.state,
                        "tier": item.tier,
                        "purpose": item.purpose,
                        "case_reference": item.case_reference,
                        "approvals": item.approvals,
                        "approvals_needed": item.approvals_needed,
                    }
                    for item in found
                ],
                indent=2,
            )
        )
        return
    for item in found:
        say(summary_line(item))
    say(f"{len(found)} requests")


async def _all(answers: AsyncGenerator[_Result, None]) -> list[_Result]:
    async with aclosing(answers) as stream:
        return [item async for item in stream]


def _with_node(config: Path, work: Callable[[ControlClient], Awaitable[_Result]]) -> _Result:
    """Runs `work` with the running node; a wrong configuration ends the command with its own exit code."""
    try:
        loaded = load_config(config)
    except NodeConfigError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None

    async def connected() -> _Result:
        async with control_client(loaded.control_socket) as client:
            return await work(client)

    return asyncio.run(connected())

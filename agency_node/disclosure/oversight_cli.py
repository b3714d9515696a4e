"""`tallystick supervise`: what waits for a supervisor, and who may not ask about whom.

`about` and `erase` are mounted under `tallystick audit`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agency_node.disclosure.cli import (
    AsJson,
    Config,
    Key,
    Officer,
    PassphraseFile,
    Reason,
    Role,
    collected,
    give_order,
    with_node,
)
from agency_node.disclosure.wording import entry_lines
from agency_node.rpc.ports import OrderDraft
from protos.wire.terminal import say, stop_on_error

supervise_app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Look after those who ask."
)

SubjectNumber = Annotated[str, typer.Argument(help="Your agency's own number of the person or place.")]
Whose = Annotated[str, typer.Argument(help="The person id of the officer concerned.")]
Subject = Annotated[
    str, typer.Option(help="The subject, by your agency's own number; empty: anybody at all.")
]
_CONFIG = Path("node.toml")


@supervise_app.callback()
def _supervise() -> None:
    """Look after those who ask."""


@supervise_app.command()
@stop_on_error
def queue(as_json: AsJson = False, config: Config = _CONFIG) -> None:
    """Lists sampled releases and alarms that nobody has signed off, oldest first."""
    found = with_node(config, lambda client: collected(client.supervision()))
    if as_json:
        rows = [
            {
                "item": item.item_id,
                "kind": item.kind,
                "request": item.request_id,
                "officer": item.officer,
                "agency": item.peer,
                "policy": item.policy_hash,
                "raised": item.raised.isoformat(),
            }
            for item in found
        ]
        say(json.dumps(rows, indent=2))
        return
    for item in found:
        kind = item.kind.replace("-", " ")
        say(f"{item.item_id}  {item.raised:%d %b %Y %H:%M}  {kind}: {item.officer}  {item.request_id}")
    say(f"{len(found)} to sign off")


@supervise_app.command("sign-off")
@stop_on_error
def sign_off(
    item: Annotated[str, typer.Argument(help="The item's id, as `queue` shows it.")],
    key: Key,
    officer: Officer,
    reason: Reason,
    role: Role = "supervisor",
    passphrase_file: PassphraseFile = None,
    config: Config = _CONFIG,
) -> None:
    """Says that you have looked at a sampled release or an alarm, and what you found."""
    give_order(OrderDraft("sign-off", item, "", reason, officer, role), key, passphrase_file, config)


@supervise_app.command()
@stop_on_error
def conflicts(as_json: AsJson = False, config: Config = _CONFIG) -> None:
    """Lists who may not ask about whom."""
    found = with_node(config, lambda client: collected(client.conflicts()))
    if as_json:
        rows = [
            {
                "officer": item.officer,
                "subject": item.subject_id or None,
                "reason": item.reason,
                "declared": item.declared.isoformat(),
            }
            for item in found
        ]
        say(json.dumps(rows, indent=2))
        return
    for item in found:
        say(f"{item.officer}  {item.subject_id or 'anybody'}  {item.declared:%d %b %Y}  {item.reason}")
    say(f"{len(found)} conflicts of interest")


@supervise_app.command()
@stop_on_error
def declare(
    whose: Whose,
    key: Key,
    officer: Officer,
    role: Role,
    reason: Reason,
    subject: Subject = "",
    passphrase_file: PassphraseFile = None,
    config: Config = _CONFIG,
) -> None:
    """Puts a conflict of interest on the list: your own, or as an overseer somebody's, of any agency."""
    draft = OrderDraft("declare-conflict", whose, subject, reason, officer, role)
    give_order(draft, key, passphrase_file, config)


@supervise_app.command()
@stop_on_error
def lift(
    whose: Whose,
    key: Key,
    officer: Officer,
    role: Role,
    reason: Reason,
    subject: Subject = "",
    passphrase_file: PassphraseFile = None,
    config: Config = _CONFIG,
) -> None:
    """Takes a conflict of interest off the list; nobody lifts their own."""
    draft = OrderDraft("lift-conflict", whose, subject, reason, officer, role)
    give_order(draft, key, passphrase_file, config)


@stop_on_error
def about(
    subject: SubjectNumber,
    for_subject: Annotated[
        bool,
        typer.Option(help="What the subject may be told: no officers, nothing that an exemption may cover."),
    ] = False,
    disclose: Annotated[
        list[int] | None,
        typer.Option(help="With --for-subject: this entry too, for you have weighed its exemptions."),
    ] = None,
    as_json: AsJson = False,
    config: Config = _CONFIG,
) -> None:
    """Shows who saw what about a subject, when, and under which clauses."""
    found = with_node(config, lambda client: collected(client.about_subject(subject)))
    if for_subject:
        found = [item for item in found if not item.exemptions or item.seq in (disclose or ())]
    if as_json and not for_subject:
        rows = [
            {
                "entry": item.seq,
                "time": item.time.isoformat(),
                "action": item.action.value,
                "actor": item.actor,
                "policy": item.policy_hash or None,
                "particulars": dict(item.particulars),
                "exemptions": list(item.exemptions),
            }
            for item in found
        ]
        say(json.dumps(rows, indent=2))
        return
    for item in found:
        for line in entry_lines(item, for_subject=for_subject):
            say(line)
    if not for_subject:
        say(f"{len(found)} entries")


@stop_on_error
def erase(
    subject: SubjectNumber,
    key: Key,
    officer: Officer,
    reason: Reason,
    role: Role = "dpo",
    passphrase_file: PassphraseFile = None,
    config: Config = _CONFIG,
) -> None:
    """Erases what is held of disclosures about a subject, here and at the recipients. Proofs stay valid."""
    give_order(OrderDraft("erase-subject", subject, "", reason, officer, role), key, passphrase_file, config)

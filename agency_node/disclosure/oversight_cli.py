"""`tallystick supervise`: what waits for a supervisor, and who may not ask about whom.

`about` and `erase` are mounted under `tallystick audit`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from agency_node.disclosure.terminal import (
    CONFIG,
    AsJson,
    Config,
    Key,
    LookReason,
    Officer,
    PassphraseFile,
    Reason,
    Role,
    SubjectNumber,
    give_order,
    listed,
    officers_app,
    ordered,
    show_list,
)
from agency_node.disclosure.wording import (
    conflict_json,
    conflict_lines,
    entry_json,
    entry_lines,
    supervision_json,
    supervision_lines,
)
from agency_node.rpc.ports import OrderDraft
from protos.wire.terminal import say, stop_on_error

supervise_app = officers_app("Look after those who ask.")

Whose = Annotated[str, typer.Argument(help="The person id of the officer concerned.")]
Subject = Annotated[
    str, typer.Option(help="The subject, by your agency's own number; empty: anybody at all.")
]


@supervise_app.command()
@stop_on_error
def queue(as_json: AsJson = False, config: Config = CONFIG) -> None:
    """Lists sampled releases and alarms that nobody has signed off, oldest first."""
    found = listed(config, lambda client: client.supervision())
    show_list(found, as_json, supervision_json, supervision_lines, "to sign off")


@supervise_app.command("sign-off")
@stop_on_error
def sign_off(
    item: Annotated[str, typer.Argument(help="The item's id, as `queue` shows it.")],
    key: Key,
    officer: Officer,
    reason: Reason,
    role: Role = "supervisor",
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Says that you have looked at a sampled release or an alarm, and what you found."""
    give_order(OrderDraft("sign-off", item, "", reason, officer, role), key, passphrase_file, config)


@supervise_app.command()
@stop_on_error
def conflicts(as_json: AsJson = False, config: Config = CONFIG) -> None:
    """Lists who may not ask about whom."""
    found = listed(config, lambda client: client.conflicts())
    show_list(found, as_json, conflict_json, conflict_lines, "conflicts of interest")


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
    config: Config = CONFIG,
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
    config: Config = CONFIG,
) -> None:
    """Takes a conflict of interest off the list; nobody lifts their own."""
    draft = OrderDraft("lift-conflict", whose, subject, reason, officer, role)
    give_order(draft, key, passphrase_file, config)


@stop_on_error
def about(
    subject: SubjectNumber,
    key: Key,
    officer: Officer,
    reason: LookReason,
    role: Role = "dpo",
    for_subject: Annotated[
        bool,
        typer.Option(help="What the subject may be told: no officers, nothing that an exemption may cover."),
    ] = False,
    disclose: Annotated[
        list[int] | None,
        typer.Option(help="With --for-subject: this entry too, for you have weighed its exemptions."),
    ] = None,
    as_json: AsJson = False,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Shows who saw what about a subject, when, and under which clauses. That you looked is among it."""
    order = ordered(
        OrderDraft("see-report", subject, "", reason, officer, role), key, passphrase_file, config
    )
    found = listed(config, lambda client: client.about_subject(order))
    if not for_subject:
        show_list(found, as_json, entry_json, lambda item: entry_lines(item, for_subject=False), "entries")
        return
    for item in found:
        if not item.exemptions or item.seq in (disclose or ()):
            for line in entry_lines(item, for_subject=True):
                say(line)


@stop_on_error
def erase(
    subject: SubjectNumber,
    key: Key,
    officer: Officer,
    reason: Reason,
    role: Role = "dpo",
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Erases what is held of disclosures about a subject, here and at the recipients. Proofs stay valid."""
    give_order(OrderDraft("erase-subject", subject, "", reason, officer, role), key, passphrase_file, config)

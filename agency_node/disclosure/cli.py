"""`tallystick request` and `tallystick approve`: what officers do.

Exit codes: 0 done, 1 refused, 2 wrong usage or configuration.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agency_node.disclosure.approving import Said, agreed, page_lines
from agency_node.disclosure.asking import agreed_request, asking_lines
from agency_node.disclosure.page import signed
from agency_node.disclosure.terminal import (
    CONFIG,
    AsJson,
    Config,
    Key,
    LookReason,
    Officer,
    PassphraseFile,
    Reason,
    RequestId,
    Role,
    SubjectNumber,
    Yes,
    acting_for,
    confirm,
    give_order,
    listed,
    officers_app,
    ordered,
    show_list,
    unlocked,
    with_node,
)
from agency_node.disclosure.wording import (
    detail_json,
    detail_lines,
    emergency_json,
    emergency_lines,
    form_lines,
    picture_json,
    picture_lines,
    picture_notices,
    summary_json,
    summary_lines,
)
from agency_node.rpc.control_client import ControlClient
from agency_node.rpc.ports import EmergencyClaim, OrderDraft, PreparedApproval, RequestDraft
from crypto.envelope import Envelope
from policies.codec import open_document, to_json
from policies.disclosure import DisclosureDecision
from policies.vocabulary import TIER_NAMES
from protos.wire.terminal import (
    TerminalError,
    ask_words,
    own_words,
    own_words_if_needed,
    say,
    stop_on_error,
)

request_app = officers_app("Ask other agencies about a link.")
approve_app = officers_app("Approve or reject what others ask.")
Answered = Annotated[str, typer.Argument(help="The request's id; the release's hash for what was pushed.")]


@request_app.command()
@stop_on_error
def ask(
    link: Annotated[str, typer.Argument(help="The link token, as `tallystick node links` shows it.")],
    key: Key,
    officer: Officer,
    role: Role,
    purpose: Annotated[str, typer.Option(help="Why, in the policy's words: domestic_abuse_risk ...")],
    case: Annotated[str, own_words("Your case reference", "Your case reference.")],
    necessity: Annotated[
        str, own_words("Why it is necessary, in your own words", "Why it is necessary, in your own words.")
    ],
    tier: Annotated[
        int, typer.Option(min=0, max=3, help="0 existence, 1 risk flags, 2 summary, 3 full record.")
    ] = 1,
    urgency: Annotated[str, typer.Option(help="routine, urgent or immediate.")] = "routine",
    record_type: Annotated[list[str] | None, typer.Option(help="Only these record types.")] = None,
    field: Annotated[list[str] | None, typer.Option(help="Only these fields.")] = None,
    break_glass: Annotated[
        str | None,
        typer.Option(help="An emergency that cannot wait for approvals: one of the policy's reasons."),
    ] = None,
    explanation: Annotated[str | None, own_words_if_needed("With --break-glass: what is happening.")] = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Shows a request to the agency behind a link, and sends it. You sign with your own key, your node too.

    With --break-glass you type your passphrase before anything else, both privacy officers are told at once,
    and each of them must review what you did in time, or your requests are refused.
    """
    claim = None
    if break_glass is not None:
        claim = EmergencyClaim(break_glass, explanation or ask_words("What is happening"))
    draft = RequestDraft(
        link, purpose, tier, necessity, case, urgency, tuple(record_type or ()), tuple(field or ()),
        officer, role, claim,
    )  # fmt: skip
    acting = acting_for(config)
    # An emergency is dated: the request says when its officer was authenticated.
    signer = unlocked(key, passphrase_file, retype=True) if claim is not None else None
    prepared = with_node(config, lambda client: client.prepare_request(draft))
    request = agreed_request(prepared, draft, acting)
    confirm(asking_lines(request), yes)
    envelope = signed(request, signer or unlocked(key, passphrase_file))
    request_id = with_node(config, lambda client: client.submit_request(envelope))
    asked = ", ".join(f"{item.record_type} ({len(item.fields)} fields)" for item in request.asks)
    say(f"Sent to {request.provider}: {TIER_NAMES[request.tier]}, under policy {request.policy}.")
    say(f"Asked for: {asked}")
    say(f"Request {request_id}, open until {request.expires:%d %B %Y %H:%M} UTC")
    if claim is not None:
        say("Break-glass: both privacy officers are told, and each must review this.")


@request_app.command("list")
@stop_on_error
def list_requests(
    direction: Annotated[str, typer.Option(help="made, received, or empty for both.")] = "",
    as_json: AsJson = False,
    config: Config = CONFIG,
) -> None:
    """Lists requests, the newest first."""
    found = listed(config, lambda client: client.requests(direction))
    show_list(found, as_json, summary_json, summary_lines, "requests")


@request_app.command()
@stop_on_error
def show(
    request_id: RequestId,
    key: Key,
    officer: Officer,
    role: Role,
    reason: LookReason,
    as_json: AsJson = False,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Shows one request: what was released, and what was withheld by which clause. Your look is kept."""
    order = ordered(
        OrderDraft("see-request", request_id, "", reason, officer, role), key, passphrase_file, config
    )
    detail = with_node(config, lambda client: client.request(request_id, order))
    if as_json:
        say(json.dumps(detail_json(detail), indent=2))
        return
    for line in detail_lines(detail):
        say(line)


@request_app.command()
@stop_on_error
def picture(
    subject: SubjectNumber,
    key: Key,
    officer: Officer,
    role: Role,
    reason: LookReason,
    as_json: AsJson = False,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Shows all that is held and received about one of your subjects, oldest first. Your look is kept."""
    order = ordered(
        OrderDraft("see-picture", subject, "", reason, officer, role), key, passphrase_file, config
    )
    items = listed(config, lambda client: client.picture(order))
    for line in () if as_json else picture_notices(items):
        say(line)
    show_list(items, as_json, picture_json, picture_lines, "records")


@request_app.command()
@stop_on_error
def withdraw(
    request_id: RequestId,
    key: Key,
    officer: Officer,
    role: Role,
    reason: Reason,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Withdraws a request that has not been answered: yours, or as an overseer anybody's."""
    draft = OrderDraft("withdraw-request", request_id, "", reason, officer, role)
    give_order(draft, key, passphrase_file, config)


@approve_app.command()
@stop_on_error
def recall(
    request_id: Answered,
    key: Key,
    officer: Officer,
    reason: Reason,
    why: Annotated[
        str, typer.Option(help="false_link, record_wrong, subject_withdrawn or policy_ended.")
    ] = "record_wrong",
    role: Role = "privacy_officer",
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Takes back what was released or pushed: the recipient purges it and sends a receipt."""
    draft = OrderDraft("recall-release", request_id, why, reason, officer, role)
    give_order(draft, key, passphrase_file, config)


@approve_app.command()
@stop_on_error
def correct(
    request_id: RequestId,
    key: Key,
    officer: Officer,
    reason: Reason,
    role: Role = "privacy_officer",
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Takes back what was released for a request, and releases it anew from the records as they are now."""
    draft = OrderDraft("correct-release", request_id, "", reason, officer, role)
    give_order(draft, key, passphrase_file, config)


@approve_app.command()
@stop_on_error
def form(
    request_id: Answered,
    key: Key,
    officer: Officer,
    reason: LookReason,
    role: Role = "privacy_officer",
    as_json: AsJson = False,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Shows the record of a decision, refusals too, in the order of the ICO Data Sharing Code's Annex B."""
    order = ordered(
        OrderDraft("see-request", request_id, "", reason, officer, role), key, passphrase_file, config
    )
    detail = with_node(config, lambda client: client.request(request_id, order))
    if not detail.decision:
        raise TerminalError("this agency has not decided on it: it was not asked, or nothing is decided yet")
    decision = open_document(DisclosureDecision, Envelope.from_bytes(detail.decision))
    if as_json:
        say(json.dumps(to_json(decision), indent=2))
        return
    for line in form_lines(decision):
        say(line)


@approve_app.command()
@stop_on_error
def emergencies(as_json: AsJson = False, config: Config = CONFIG) -> None:
    """Lists the uses of break-glass that wait for your agency's review, the most urgent first."""
    found = listed(config, lambda client: client.emergencies())
    show_list(found, as_json, emergency_json, emergency_lines, "to review")


@approve_app.command()
@stop_on_error
def review(
    request_id: RequestId,
    key: Key,
    officer: Officer,
    reason: Reason,
    unjustified: Annotated[bool, typer.Option(help="It was not justified.")] = False,
    role: Role = "privacy_officer",
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Shows a request, and reviews its use of break-glass, as an officer whom the policy names for it."""
    waiting = listed(config, lambda client: client.emergencies())
    if request_id not in {item.request_id for item in waiting}:
        raise TerminalError("no use of break-glass in this request waits for a review here")
    said = Said(request_id, "reject" if unjustified else "approve", reason, officer, role)
    _decided(said, key, passphrase_file, yes, config)
    if not unjustified:
        say("Reviewed: justified.")
        return
    say("Reviewed: not justified. What was released is taken back or destroyed.")
    say("The officer is refused until an overseer signs the alarm off: tallystick supervise queue")


@approve_app.command()
@stop_on_error
def queue(as_json: AsJson = False, config: Config = CONFIG) -> None:
    """Lists the requests that wait for an approval, the newest first."""
    found = listed(config, lambda client: client.requests("received"))
    waiting = [item for item in found if item.state == "waiting"]
    show_list(waiting, as_json, summary_json, summary_lines, "requests")


@approve_app.command("approve")
@stop_on_error
def approve(
    request_id: RequestId,
    key: Key,
    officer: Officer,
    reason: Reason,
    role: Role = "approver",
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Shows a request, and approves it, or reviews its use of break-glass, with your own key."""
    _decide(Said(request_id, "approve", reason, officer, role), key, passphrase_file, yes, config)


@approve_app.command("reject")
@stop_on_error
def reject(
    request_id: RequestId,
    key: Key,
    officer: Officer,
    reason: Annotated[
        str, own_words("Why not, in your own words", "Why not, in your own words; it is kept.")
    ],
    role: Role = "approver",
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Shows a request, and rejects it with your own key. One rejection is enough."""
    _decide(Said(request_id, "reject", reason, officer, role), key, passphrase_file, yes, config)


def _decide(said: Said, key: str, passphrase_file: Path | None, yes: bool, config: Path) -> None:
    state = _decided(said, key, passphrase_file, yes, config)
    say(f"{'Approved' if said.decision == 'approve' else 'Rejected'}. The request is now: {state}.")


def _decided(said: Said, key: str, passphrase_file: Path | None, yes: bool, config: Path) -> str:
    """Shows what is signed, asks, signs and hands it in; returns the request's state."""

    async def prepare(client: ControlClient) -> PreparedApproval:
        return await client.prepare_approval(
            said.request_id, said.decision, said.reason, said.officer, said.role
        )

    acting = acting_for(config)
    request, approval = agreed(with_node(config, prepare), said, acting)
    confirm(page_lines(request, approval), yes)
    envelope = signed(approval, unlocked(key, passphrase_file))
    return with_node(config, lambda client: client.submit_approval(envelope))

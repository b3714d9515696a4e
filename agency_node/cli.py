"""`tallystick node`: what agency IT does. Exit codes: 0 done, 1 refused, 2 wrong usage or configuration.

Heavy modules are imported when their command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agency_node.config import NodeConfig, load_config
from agency_node.errors import NodeConfigError, NodeError
from protos.wire.terminal import EXIT_USAGE, ask_passphrase, say, stop_on_error

node_app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An agency's node: reads its data, encodes it, links it, and answers under policies only.",
)
Config = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="A file with the passphrase; otherwise TALLYSTICK_PASSPHRASE, or a prompt."),
]
Linkage = Annotated[str, typer.Argument(help="The linkage's id, as in its agreement.")]

_CONFIG = Path("node.toml")


def _configured(path: Path) -> NodeConfig:
    """The configuration; a wrong one ends the command with its own exit code."""
    try:
        return load_config(path)
    except NodeConfigError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None


def _now() -> datetime:
    return datetime.now(UTC)


@node_app.command()
@stop_on_error
def init(
    folder: Annotated[Path, typer.Argument(help="Where the node's files go; made if missing.")],
    federation: Annotated[str, typer.Option(help="The federation's id.")],
    agency: Annotated[str, typer.Option(help="The agency's id: lower-case letters, digits, hyphens.")],
    kind: Annotated[str, typer.Option(help="police, nhs, social_care, charity, ... (see the guide).")],
    name: Annotated[str, typer.Option(help="The agency's name.")],
    contact: Annotated[str, typer.Option(help="The information-governance contact's e-mail address.")],
    broker: Annotated[str, typer.Option(help="The broker, as host:port.")],
    officer: Annotated[
        list[str] | None,
        typer.Option(help="One per officer: PERSON:ROLE[,ROLE]:PUBLIC-KEY-FILE (see `tallystick officer`)."),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Makes a node's folder with its keys, and the request for the federation's office."""
    from agency_node.setup import REQUEST_NAME, NewNode, initialise, read_officer
    from policies.enrolment import fingerprint
    from policies.ids import AgencyId, Email, FederationId, Line
    from policies.vocabulary import AgencyKind

    try:
        which = AgencyKind(kind)
    except ValueError:
        raise NodeError(f"--kind: one of {', '.join(item.value for item in AgencyKind)}") from None
    node = NewNode(
        federation=FederationId(federation),
        agency=AgencyId(agency),
        kind=which,
        name=Line(name),
        contact=Email(contact),
        broker_target=broker,
        officers=tuple(read_officer(text) for text in officer or ()),
    )
    request = initialise(folder, node, ask_passphrase(passphrase_file, confirm=True))
    say(f"Node of {agency} prepared in {folder}.")
    say(f"Send {folder / REQUEST_NAME} to the federation's office. Nothing in it is secret.")
    say(f"Tell it this fingerprint out of band: {fingerprint(request)}")


@node_app.command()
@stop_on_error
def request(
    former: Annotated[Path, typer.Argument(help="The request that `init` wrote, or its successor.")],
    out: Annotated[Path, typer.Option(help="Where to write the new request.")],
    officer: Annotated[
        list[str] | None,
        typer.Option(help="One per officer, all of them anew: PERSON:ROLE[,ROLE]:PUBLIC-KEY-FILE."),
    ] = None,
) -> None:
    """Writes the enrolment request anew: other officers, same keys. The office admits it like the first."""
    from dataclasses import replace

    from agency_node.setup import read_officer
    from policies.codec import parse, write
    from policies.enrolment import AgencyRequest, fingerprint

    if out.exists():
        raise NodeError(f"{out} exists; choose another name or move it away")
    officers = tuple(read_officer(text) for text in officer or ())
    renewed = replace(parse(AgencyRequest, former.read_bytes()), officers=officers)
    out.write_bytes(write(renewed))
    say(f"{out}: {len(officers)} officers. Send it to the federation's office.")
    say(f"Tell it this fingerprint out of band: {fingerprint(renewed)}")


@node_app.command()
@stop_on_error
def enrol(
    answer: Annotated[Path, typer.Argument(help="The office's answer file.")],
    fingerprint: Annotated[
        str, typer.Option(help="The first root's fingerprint, as the office told you out of band.")
    ] = "",
    config: Config = _CONFIG,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Installs the office's answer: certificate, authority, root and registry."""
    from agency_node.setup import install, read_answer, same_fingerprint

    loaded = _configured(config)
    read, found = read_answer(answer)
    if fingerprint:
        if not same_fingerprint(found, fingerprint):
            raise NodeError(
                f"the root's fingerprint is {found}, not the one given. Do not go on before you know why: "
                "somebody may have changed the answer on its way."
            )
    else:
        say(f"Root fingerprint: {found}")
        if not sys.stdin.isatty() or not typer.confirm("Is this what the office told you out of band?"):
            raise NodeError("not installed: compare the root's fingerprint, and give it with --fingerprint")
    passphrase = ask_passphrase(passphrase_file) if passphrase_file else loaded.passphrase()
    registry = asyncio.run(install(loaded, read, passphrase, _now()))
    say(f"Enrolled; registry version {registry.version} is in force. Start with `tallystick node run`.")


@node_app.command("check-config")
def check_configuration(config: Config = _CONFIG, passphrase_file: PassphraseFile = None) -> None:
    """Says what is wrong with the configuration and the files that it names."""
    from agency_node.config import credential_file
    from agency_node.setup import check_config
    from protos.wire.terminal import PASSPHRASE_VARIABLE

    passphrase = None
    try:
        file = credential_file(passphrase_file or load_config(config).passphrase_file)
        if file is not None and file.is_file():
            passphrase = ask_passphrase(file)
    except NodeConfigError:
        passphrase = None  # check_config says what is wrong
    passphrase = passphrase or os.environ.get(PASSPHRASE_VARIABLE)
    problems = check_config(config, passphrase, _now())
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(EXIT_USAGE)
    say(f"{config}: good")


@node_app.command("check-mapping")
def check_mapping(
    mapping: Annotated[Path | None, typer.Argument(help="The mapping file; else the configured one.")] = None,
    config: Config = _CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Reads all data by the mapping and says what would be dropped, where and why. Shows no values."""
    from agency_node.mapping_check import run_check

    if mapping is not None:
        text, code = run_check(mapping, as_json=as_json)
    else:
        node = _configured(config)
        text, code = run_check(node.mapping, as_json=as_json, on_invalid=node.on_invalid_value)
    say(text)
    raise typer.Exit(code)


@node_app.command()
@stop_on_error
def migrate(config: Config = _CONFIG) -> None:
    """Brings the database to the newest schema; `run` does so too."""
    from agency_node import migrations
    from agency_node.store.store import NodeStore

    async def upgraded(loaded: NodeConfig) -> str:
        store = NodeStore.open(loaded.database)
        try:
            return await migrations.upgrade(store.engine)
        finally:
            await store.close()

    say(f"database at revision {asyncio.run(upgraded(_configured(config)))}")


@node_app.command()
@stop_on_error
def run(
    config: Config = _CONFIG,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written once the control socket is open, for scripts.")
    ] = None,
) -> None:
    """Runs the node until it is told to stop (SIGTERM or SIGINT)."""
    from protos.wire.safelog import configure_logging

    loaded = _configured(config)
    configure_logging(level=loaded.log_level, json_lines=loaded.log_json)
    asyncio.run(_serve(loaded, loaded.passphrase(), ready_file))


async def _serve(config: NodeConfig, passphrase: str, ready_file: Path | None) -> None:
    from agency_node.app import Node

    node = Node.from_config(config, passphrase)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    try:
        await node.start()
        if ready_file is not None:
            await asyncio.to_thread(ready_file.write_text, "ready\n")
        await ending.wait()
    finally:
        await node.stop()


# -- talking to the running node


@node_app.command()
@stop_on_error
def status(config: Config = _CONFIG) -> None:
    """Where the running node is: broker, registry, keys, links, and what waits."""
    asyncio.run(_status(_configured(config)))


async def _status(config: NodeConfig) -> None:
    from agency_node.rpc.control_client import control_client

    async with control_client(config.control_socket) as client:
        answer = await client.status()
    say(f"agency:    {answer.agency_id}")
    say(f"broker:    {'connected' if answer.broker_connected else 'out of reach'} ({config.broker_target})")
    expires = datetime.fromtimestamp(answer.registry_expires_unix, UTC)
    say(f"registry:  version {answer.registry_version}, until {expires:%Y-%m-%d %H:%M} UTC")
    for item in answer.linkages:
        waiting = f", waiting for {', '.join(item.waiting_for)}" if item.waiting_for else ""
        say(
            f"linkage:   {item.linkage_id}: epoch {item.epoch} {item.epoch_state}{waiting}, "
            f"{item.subjects} subjects uploaded, {item.links} links"
        )
    say(f"requests:  {answer.requests_waiting} waiting, {answer.approvals_waiting} for approval")
    say(f"audit log: {answer.audit_size} entries")


@node_app.command()
@stop_on_error
def sync(
    linkage: Linkage,
    config: Config = _CONFIG,
    full: Annotated[bool, typer.Option("--full", help="Replace everything, not only what changed.")] = False,
) -> None:
    """Reads the data, encodes it and uploads what changed. Goes on where an interrupted upload stopped."""

    async def work(loaded: NodeConfig) -> None:
        from agency_node.progress import show_progress
        from agency_node.rpc.control_client import control_client

        async with control_client(loaded.control_socket) as client:
            await show_progress(client.sync(linkage, full=full))

    asyncio.run(work(_configured(config)))


@node_app.command()
@stop_on_error
def match(linkage: Linkage, config: Config = _CONFIG) -> None:
    """Has the broker match what the participants uploaded, and takes in the links."""

    async def work(loaded: NodeConfig) -> None:
        from agency_node.progress import show_progress
        from agency_node.rpc.control_client import control_client

        async with control_client(loaded.control_socket) as client:
            await show_progress(client.match(linkage))

    asyncio.run(work(_configured(config)))


@node_app.command()
@stop_on_error
def links(
    linkage: Annotated[str, typer.Argument(help="A linkage's id; all of them if left out.")] = "",
    subject: Annotated[str, typer.Option(help="Only this subject's, by the agency's own number.")] = "",
    config: Config = _CONFIG,
) -> None:
    """Lists the links that the agency was told of."""

    async def work(loaded: NodeConfig) -> int:
        from agency_node.rpc.control_client import control_client

        count = 0
        async with (
            control_client(loaded.control_socket) as client,
            aclosing(client.links(linkage, subject)) as answers,
        ):
            async for item in answers:
                count += 1
                who = item.counterpart or "(name withheld)"
                say(f"{item.token}  {item.subject_id}  {item.strength:<8}  {who}  {item.linkage_id}")
        return count

    say(f"{asyncio.run(work(_configured(config)))} links")


@node_app.command("rotate-key")
@stop_on_error
def rotate_key(
    linkage: Linkage,
    reason: Annotated[str, typer.Option(help="membership, age or suspicion.")] = "age",
    config: Config = _CONFIG,
) -> None:
    """Begins a new epoch with a new linkage key; every participant then uploads anew."""

    async def work(loaded: NodeConfig) -> int:
        from agency_node.rpc.control_client import control_client

        async with control_client(loaded.control_socket) as client:
            return await client.rotate(linkage, reason)

    epoch = asyncio.run(work(_configured(config)))
    say(f"Epoch {epoch} of {linkage} has begun; `tallystick node status` shows who is waited for.")


@node_app.command()
@stop_on_error
def publish(
    bundle: Annotated[Path, typer.Argument(help="A signed document with its officers' statements.")],
    config: Config = _CONFIG,
) -> None:
    """Publishes a fully signed linkage agreement or sharing policy."""

    async def work(loaded: NodeConfig) -> str:
        from agency_node.rpc.control_client import control_client
        from policies.signing import SignedDocument

        signed = SignedDocument.from_bytes(bundle.read_bytes())
        statements = tuple(item.to_bytes() for item in signed.statements)
        async with control_client(loaded.control_socket) as client:
            return await client.publish(signed.document.to_bytes(), statements)

    say(f"Published: {asyncio.run(work(_configured(config)))}")


@node_app.command("publish-event")
@stop_on_error
def publish_event(
    event: Annotated[Path, typer.Argument(help="What `tallystick policy suspend` wrote.")],
    config: Config = _CONFIG,
) -> None:
    """Publishes a suspension, reactivation or revocation that an officer has signed."""

    async def work(loaded: NodeConfig) -> str:
        from agency_node.rpc.control_client import control_client
        from crypto.envelope import Envelope
        from policies.codec import open_document
        from policies.statements import PolicyEvent

        data = event.read_bytes()
        about = open_document(PolicyEvent, Envelope.from_bytes(data))
        async with control_client(loaded.control_socket) as client:
            await client.publish_event(about.document_hash, data)
        return f"{about.action.value} of {about.document_hash[:16]}"

    say(f"Published: {asyncio.run(work(_configured(config)))}")


@node_app.command()
@stop_on_error
def documents(config: Config = _CONFIG) -> None:
    """Lists the agency's agreements and policies: hash, kind, state, number for `policy suspend`, title."""

    async def work(loaded: NodeConfig) -> None:
        from agency_node.rpc.control_client import control_client

        async with (
            control_client(loaded.control_socket) as client,
            aclosing(client.documents()) as answers,
        ):
            async for item in answers:
                say(
                    f"{item.document_hash[:16]}  {item.kind:<17}  {item.state:<12}  "
                    f"{item.sequence:>3}  {item.title}"
                )

    asyncio.run(work(_configured(config)))

"""The demonstration from beginning to end."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agency_node.audit_check import check_export
from policies.ids import LinkageId
from policies.vocabulary import OfficerRole
from protos.wire.errors import RefusedError
from tallystick.demo.disclosing import (
    ASKING,
    Asked,
    Link,
    Viewer,
    ask,
    export_audits,
    links_of,
    picture,
    places_of_susan,
    susan_at,
)
from tallystick.demo.documents import PEOPLE, PLACES
from tallystick.demo.linking import (
    Clients,
    match,
    node_clients,
    publish,
    score,
    sign_documents,
    told,
    upload,
    wait_for_keys,
)
from tallystick.demo.officers import NAMES
from tallystick.demo.output import heading, show_asked, show_audit, show_picture, show_score, show_withheld
from tallystick.demo.servers import Servers, accepts_connections, free_port
from tallystick.demo.stage import Stage, prepare, write_population
from tallystick.population import AGENCIES, Population, generate
from tallystick.population.views import subject_ids

#: A dated summary; it takes the holder's approval.
_TIER = 2
#: An agency knows several addresses of most people; what it declares must cover them.
_PLACES_PER_PERSON = 6


async def run_demo(
    servers: Servers, folder: Path, people: int, seed: int, began: float, *, stay: bool
) -> None:
    """Runs the whole job in `folder`; with `stay`, leaves the servers running until interrupted.

    `began`: when it was asked for, of the monotonic clock.
    """
    console = Console(highlight=False, soft_wrap=True)
    with servers:
        heading(console, 1, f"Made-up people: about {people:,} for each of five agencies (seed {seed})")
        population = generate(people, seed)
        write_population(population, folder)
        console.print(f"   {', '.join(NAMES.values())}. Who is who is kept apart, for scoring only.")

        heading(console, 2, "A federation: own keys, an office, a signed registry, mutual TLS")
        now = datetime.now(UTC)
        stage = await prepare(folder, free_port(), now, lambda text: console.print(f"   {text}"))
        _start(servers, stage)
        console.print(f"   The broker and {len(AGENCIES)} nodes run as servers on loopback.")
        async with node_clients(stage) as clients:
            await _link(console, stage, clients, population)
            await _disclose(console, stage, clients)
            await _audit(console, stage, clients, folder)
        console.print(f"\nDone in {time.monotonic() - began:.0f} s.")
        if stay:
            await _stay(console, stage)
    if not stay:
        console.print("All servers have ended and nothing is left behind.")


def _start(servers: Servers, stage: Stage) -> None:
    logs = stage.folder / "logs"
    logs.mkdir()
    broker = servers.start(
        "broker",
        ["broker", "run", "--config", str(stage.broker_config)],
        logs / "broker.log",
        stage.passphrase,
    )
    nodes = [
        servers.start(
            agency,
            ["node", "run", "--config", str(stage.node_config(agency))],
            logs / f"{agency}.log",
            stage.passphrase,
        )
        for agency in stage.agencies
    ]
    servers.wait_for(broker, lambda: accepts_connections(stage.port))
    for node in nodes:
        servers.wait_for(node, stage.socket(node.name).exists)


async def _link(console: Console, stage: Stage, clients: Clients, population: Population) -> None:
    heading(console, 3, "Agreements and a sharing policy, signed by officers of every agency")
    largest = max(len(list(subject_ids(population, agency))) for agency in AGENCIES)
    bundles = sign_documents(stage, largest, _PLACES_PER_PERSON * largest)
    await publish(clients, bundles)
    signatures = sum(len(bundle.statements) for bundle in bundles)
    console.print(f"   {len(bundles)} documents, {signatures} signatures; every node verified them itself.")
    await wait_for_keys(clients, linkages=2)
    console.print("   Linkage keys made by all five nodes together; the broker has none.")

    heading(console, 4, "Encode, upload, match")
    for linkage in (PEOPLE, PLACES):
        await _upload(console, clients, linkage)
        await match(clients, linkage)
    people = await told(clients, PEOPLE)
    places = await told(clients, PLACES)
    show_score(console, people.links, score(population, people))
    console.print(f"   {places.links} links between addresses.")


async def _upload(console: Console, clients: Clients, linkage: LinkageId) -> None:
    columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bars = {agency: progress.add_task(f"{linkage} of {agency}", total=None) for agency in clients}
        await upload(
            clients,
            linkage,
            lambda agency, done, total: progress.update(bars[agency], completed=done, total=total or None),
        )


async def _disclose(console: Console, stage: Stage, clients: Clients) -> None:
    heading(console, 5, f"{NAMES[ASKING]} asks about Susan, for the risk assessment conference")
    susan = susan_at(ASKING)
    subjects = (susan, *places_of_susan(stage.data(ASKING)))
    links: list[Link] = []
    for subject in subjects:
        what = "the same person" if subject == susan else "an address where she lived"
        for link in await links_of(clients[ASKING], subject):
            console.print(f"   {NAMES[link.counterpart]} holds {what} ({link.strength}).")
            links.append(link)
    answers = await asyncio.gather(*(_ask(console, stage, clients, link) for link in links))
    asked = [answer for answer in answers if answer is not None]
    show_asked(console, asked)

    heading(console, 6, "The single picture of Susan, which no agency had")
    viewer = Viewer(stage.officers[ASKING]["caseworker"], OfficerRole.MARAC_COORDINATOR)
    items = [item for subject in subjects for item in await picture(clients[ASKING], viewer, subject)]
    show_picture(console, sorted(items, key=lambda item: item.occurred))
    heading(console, 7, "What was kept back, and by which clause")
    show_withheld(console, asked)


async def _ask(console: Console, stage: Stage, clients: Clients, link: Link) -> Asked | None:
    try:
        return await ask(clients, stage.officers, link, _TIER)
    except RefusedError as refusal:
        console.print(f"   {NAMES[link.counterpart]} was not asked: {refusal.detail}")
        return None


async def _audit(console: Console, stage: Stage, clients: Clients, folder: Path) -> None:
    heading(console, 8, "The audit logs, verified offline")
    exported = await export_audits(clients, stage.officers, folder / "audit")
    for agency, target in exported.items():
        report = await asyncio.to_thread(check_export, target)
        show_audit(console, agency, report)


async def _stay(console: Console, stage: Stage) -> None:
    console.print(
        f"\nEverything stays in {stage.folder}, and the servers run until Ctrl-C. Try, for example:"
    )
    config = stage.node_config(ASKING)
    for command in ("status", "links people", "documents"):
        console.print(f"  tallystick node {command} --config {config}")
    await asyncio.Event().wait()

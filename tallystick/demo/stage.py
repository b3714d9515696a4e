"""Sets the demonstration up in a folder: people, federation, keys, certificates, configurations.

It goes the way that real agencies go: everybody makes their own keys and an enrolment request, the office
admits them, root holders sign the registry, everybody installs the office's answer.

    agencies/<id>/    the made-up data of one agency, with its mapping
    truth/            who is who, for scoring; no node ever reads it
    office/           the federation's office
    broker/, <id>/    the broker's and each node's own folder
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import tomli_w

from agency_node import setup as node_setup
from agency_node.config import load_config as load_node_config
from broker import setup as broker_setup
from broker.config import load_config as load_broker_config
from crypto.keys import SigningKey, generate_signing_key
from crypto.keystore import Argon2Cost
from policies.codec import write
from policies.enrolment import fingerprint
from policies.ids import AgencyId, Email, FederationId, Line, PersonId
from policies.root import Root, RootKey
from tallystick.demo.officers import KINDS, NAMES, DemoOfficer, appoint, requested
from tallystick.federation.office import FederationOffice
from tallystick.population import AGENCIES, Population, write_agency, write_truth

FEDERATION = FederationId("demo")
_ROOT_HOLDERS = ("northmoor-police", "northmoor-care", "vale-nhs")
#: The passphrase is 128 random bits, which no stretching makes harder to guess.
_COST = Argon2Cost(iterations=1, lanes=1, memory_kib=8 * 1024)
#: Made-up subjects that each node adds to what it uploads, in per cent of its own.
DECOYS_PERCENT = 5


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything of a demonstration is."""

    folder: Path
    passphrase: str = field(repr=False)
    port: int
    office: FederationOffice
    officers: Mapping[str, Mapping[str, DemoOfficer]] = field(repr=False)

    @property
    def broker_config(self) -> Path:
        """The broker's configuration file."""
        return self.folder / "broker" / broker_setup.CONFIG_NAME

    def node_config(self, agency: str) -> Path:
        """A node's configuration file."""
        return self.folder / agency / node_setup.CONFIG_NAME

    def socket(self, agency: str) -> Path:
        """A node's control socket."""
        return load_node_config(self.node_config(agency)).control_socket

    def data(self, agency: str) -> Path:
        """The folder of an agency's made-up data."""
        return self.folder / "agencies" / agency

    @property
    def agencies(self) -> tuple[AgencyId, ...]:
        """The five agencies."""
        return tuple(AgencyId(agency) for agency in AGENCIES)


def write_population(population: Population, folder: Path) -> None:
    """Writes each agency's data, and the truth apart from it."""
    for agency in AGENCIES:
        write_agency(population, agency, folder / "agencies" / agency)
    write_truth(population, folder / "truth")


async def prepare(folder: Path, port: int, now: datetime, say: Callable[[str], None]) -> Stage:
    """Founds the federation and enrols the broker and five nodes."""
    passphrase = secrets.token_urlsafe(16)
    holders = {agency: generate_signing_key() for agency in _ROOT_HOLDERS}
    office = _found(folder / "office", holders, passphrase, now)
    stage = Stage(folder, passphrase, port, office, {agency: appoint(agency) for agency in AGENCIES})
    office.admit(
        broker_setup.initialise(
            folder / "broker",
            FEDERATION,
            passphrase,
            listen=f"127.0.0.1:{port}",
            database="",
            dns_names=["localhost"],
            ip_addresses=["127.0.0.1"],
            cost=_COST,
        ),
        now,
    )
    for agency in AGENCIES:
        node = _new_node(stage, agency)
        office.admit(node_setup.initialise(folder / agency, node, passphrase, cost=_COST), now)
        _configure(stage, agency)
    office.propose_registry(now)
    for holder in _ROOT_HOLDERS[:2]:
        office.sign_registry(holders[holder])
    say(f"Federation founded: root and registry signed by {', '.join(_ROOT_HOLDERS[:2])}")
    await _enrol(stage, now)
    return stage


def _found(
    folder: Path, holders: Mapping[str, SigningKey], passphrase: str, now: datetime
) -> FederationOffice:
    root = Root(
        federation=FEDERATION,
        version=1,
        expires=now.replace(microsecond=0) + timedelta(days=365),
        threshold=2,
        minimum_organisations=2,
        keys=tuple(
            RootKey(PersonId(f"{agency}.root"), AgencyId(agency), key.verify_key)
            for agency, key in holders.items()
        ),
    )
    office = FederationOffice.create(folder, root, passphrase, now)
    for holder in _ROOT_HOLDERS[:2]:
        office.sign_root(holders[holder])
    return office


def _new_node(stage: Stage, agency: str) -> node_setup.NewNode:
    return node_setup.NewNode(
        federation=FEDERATION,
        agency=AgencyId(agency),
        kind=KINDS[agency],
        name=Line(NAMES[agency]),
        contact=Email(f"information.governance@{agency}.example.org"),
        broker_target=f"127.0.0.1:{stage.port}",
        officers=requested(stage.officers[agency]),
    )


def _configure(stage: Stage, agency: str) -> None:
    settings = {
        "node": {
            "federation": str(FEDERATION),
            "agency": agency,
            "data_dir": "data",
            "mapping": str(stage.data(agency) / "mapping.toml"),
        },
        "broker": {"target": f"127.0.0.1:{stage.port}"},
        "upload": {"batch_rows": 4096, "decoys_percent": DECOYS_PERCENT},
        "log": {"level": "info", "format": "json"},
    }
    stage.node_config(agency).write_text(tomli_w.dumps(settings))


async def _enrol(stage: Stage, now: datetime) -> None:
    """Everybody installs the office's answer after comparing the root's fingerprint."""
    told = fingerprint(stage.office.root())
    answers = stage.folder / "office" / "answers"
    answers.mkdir()
    path = answers / "broker.json"
    path.write_bytes(write(stage.office.answer("broker")))
    await broker_setup.install(load_broker_config(stage.broker_config), path, told, stage.passphrase)
    for agency in AGENCIES:
        path = answers / f"{agency}.json"
        path.write_bytes(write(stage.office.answer(agency)))
        answer, found = node_setup.read_answer(path)
        if not node_setup.same_fingerprint(found, told):
            raise AssertionError("the office's answer carries another root")
        config = load_node_config(stage.node_config(agency))
        await node_setup.install(config, answer, stage.passphrase, now)

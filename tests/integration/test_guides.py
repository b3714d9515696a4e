"""The guides are true: their tested commands run as printed, and every command they mention exists."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agency_node.app import Node
from agency_node.config import load_config as load_node_config
from agency_node.metrics import Metrics
from agency_node.rpc.broker_client import BrokerClient
from broker.app import Broker
from broker.config import load_config as load_broker_config
from crypto.canonical import parse_strict
from crypto.keys import VerifyKey
from crypto.keystore import Keystore
from policies.authoring import fill, placeholders, template_names
from policies.codec import document_hash, format_time
from policies.disclosure import BreakGlass
from policies.enrolment import fingerprint
from policies.ids import Line, Prose
from policies.sharing import SharingPolicy
from policies.vocabulary import OfficerRole
from protos.wire.channels import broker_channel
from protos.wire.errors import ErrorCode
from tallystick.cli import build
from tallystick.federation.cli import read_request
from tallystick.federation.office import FederationOffice
from tests.commands import command_of, every_option
from tests.federation import CARE, CHEAP, NHS, PASSPHRASE, POLICE, REFUGE, Federation
from tests.nodes import QUICK, NodeFolder, person, until, write_people
from tests.simulator.desk import Desk
from tests.simulator.disclosure_nodes import TOKEN, make_world
from tests.simulator.policies import key_of, officer, sample_policy, template_values

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))
MENTIONING = [ROOT / "README.md", ROOT / "deploy/README.md", *GUIDES]
MAPPING = """\
[source]
kind = "csv"
folder = "."
[people]
table = "people.csv"
subject_id = "id"
[people.fields]
given_names = "given"
family_name = "family"
date_of_birth = "dob"
postcode = "postcode"
"""
_FENCE = re.compile(r"^```(?P<info>.*)\n(?P<body>(?:.*\n)*?)^```$", re.MULTILINE)
#: What a command asks for; the rest of the line is what the reader types.
_ASKED = (
    "Your case reference: ", "Why it is necessary, in your own words: ", "What is happening: ",
    "Why, in your own words: ", "Why: ", "Why you look: ",
)  # fmt: skip
_STEP = re.compile(r"<!-- test: (?P<name>.+) -->")


# -- running a guide


@dataclass(frozen=True, slots=True)
class Block:
    """A tested block: commands, each with fragments of what it must print, and the exit code of all."""

    commands: tuple[tuple[str, tuple[str, ...]], ...]
    exit_code: int


def steps(text: str) -> Iterator[Block | str]:
    """The tested blocks and the names of the steps that a person does by hand, in their order."""
    found = [*_FENCE.finditer(text), *_STEP.finditer(text)]
    for match in sorted(found, key=lambda item: item.start()):
        if match.re is _STEP:
            yield match["name"]
            continue
        words = match["info"].split()
        if words[:2] == ["console", "tested"]:
            code = words[2].removeprefix("exit=") if len(words) > 2 else "0"
            yield Block(tuple(_commands(match["body"])), int(code))


def _commands(body: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    joined = body.replace("\\\n", " ")
    for part in re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]:
        command, *output = part.splitlines()
        yield command, tuple(line for line in output if line.strip())


def run(block: Block) -> None:
    """Runs the commands of a block in this process; `> FILE` is understood."""
    for command, fragments in block.commands:
        line, _, target = os.path.expandvars(command).partition(" > ")
        words = shlex.split(line)
        assert words.pop(0) == "tallystick", command
        answers = [line.partition(": ")[2] for line in fragments if line.startswith(_ASKED)]
        # The passphrase is asked for whatever the environment says, for break-glass.
        typed = "".join(f"{line}\n" for line in (*answers, PASSPHRASE))
        result = CliRunner().invoke(build(words[0]), words, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == block.exit_code, f"{command}\n{result.output}"
        if target:
            Path(target.strip()).write_text(result.stdout)
        for fragment in fragments:
            assert fragment in result.output, f"{command}\nlacks {fragment!r}:\n{result.output}"


async def follow(guide: str, by_hand: dict[str, Callable[[], Awaitable[None]]]) -> None:
    """Goes through a guide; every step by hand that it names must be known, and none be left over."""
    left = set(by_hand)
    blocks = 0
    for step in steps((ROOT / "docs/guides" / guide).read_text("utf-8")):
        if isinstance(step, Block):
            await asyncio.to_thread(run, step)
            blocks += 1
        else:
            await by_hand[step]()
            left.discard(step)
    assert not left
    assert blocks


async def test_the_ig_officers_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "police"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", PASSPHRASE)
    async with AsyncExitStack() as stack:

        async def federation_runs() -> None:
            federation = Federation.create(tmp_path)
            public = {path.name.removesuffix(".public.json"): _public(path) for path in _publics(home)}
            assert {f"{POLICE}.siro", f"{CARE}.guardian", f"{REFUGE}.siro"} <= public.keys()
            officers = tuple(
                replace(officer, verify_key=public.get(officer.person, officer.verify_key))
                for officer in federation.registry.officers
            )
            (home / "registry.json").write_bytes(federation.new_registry(officers=officers).to_bytes())
            (home / "root.1.json").write_bytes(federation.root_envelope.to_bytes())
            monkeypatch.setenv("ANCHOR", document_hash(federation.root))
            monkeypatch.setenv("TALLYSTICK_TRUST_DIR", str(tmp_path / "accepted"))
            broker = federation.broker()
            await broker.start()
            stack.push_async_callback(broker.stop)
            client = BrokerClient(broker_channel(f"127.0.0.1:{broker.port}", federation.agency(POLICE)))
            await client.registry.publish([], federation.registry_envelope.to_bytes())
            await client.close()
            folder = await NodeFolder.create(federation, POLICE, broker.port)
            node = folder.node()
            await node.start()
            stack.push_async_callback(node.stop)

        async def fill_in() -> None:
            draft = home / "marac.yaml"
            text = draft.read_text()
            today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            values = template_values(text) | {
                "police": str(POLICE),
                "care": str(CARE),
                "nhs": str(NHS),
                "charity": str(REFUGE),
                "not_before": format_time(today - timedelta(days=1)),
                "not_after": format_time(today + timedelta(days=300)),
                "review_by": format_time(today + timedelta(days=100)),
            }
            draft.write_text(fill(text, {name: values[name] for name in placeholders(text)}))

        async def at_social_care() -> None:
            policy = sample_policy(safeguards=replace(sample_policy().safeguards, review_sample_percent=100))
            desk = await stack.enter_async_context(open_desk(policy))
            monkeypatch.chdir(desk.folder / CARE)
            officers_key("care.privacy.json", "care.privacy")
            claim = BreakGlass(Line("threat to life"), Prose("Screams."), desk.world.clock.now)
            monkeypatch.setenv("REQUEST", await desk.world.ask())
            monkeypatch.setenv("EMERGENCY", await desk.world.ask(tier=2, break_glass=claim))
            await desk.world.deliver()
            (item,) = await desk.world.care.disclosure.list_supervision()
            monkeypatch.setenv("ITEM", item.item_id)
            desks.append(desk)

        async def messages_travel() -> None:
            await desks[0].world.deliver()

        desks: list[Desk] = []
        await follow(
            "ig-officer.md",
            {
                "the registry lists the officers, and the federation runs": federation_runs,
                "fill in the template": fill_in,
                "some requests later, at social care": at_social_care,
                "messages travel": messages_travel,
            },
        )


async def test_the_investigators_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", PASSPHRASE)
    async with open_desk() as desk:

        async def at_the_police() -> None:
            world = desk.world
            registry = world.registries.registry
            dana = officer("dana.okafor", POLICE, OfficerRole.INVESTIGATOR)
            world.registries.registry = replace(registry, officers=(*registry.officers, dana))
            monkeypatch.chdir(desk.folder / POLICE)
            officers_key("me.json", "dana.okafor")
            monkeypatch.setenv("TOKEN", TOKEN.text)

        async def answered() -> None:
            await desk.world.deliver()
            (made,) = await desk.world.police.disclosure.list_requests("made")
            monkeypatch.setenv("REQUEST", made.request_id)

        async def waiting() -> None:
            asked = await desk.world.ask(tier=2, officer="dana.okafor")
            monkeypatch.setenv("WAITING", asked)
            await desk.world.deliver()

        await follow(
            "investigator.md",
            {
                "the police know Susan, and so does social care": at_the_police,
                "the answer comes": answered,
                "a question that waits for an approval": waiting,
            },
        )


@asynccontextmanager
async def open_desk(policy: SharingPolicy | None = None) -> AsyncIterator[Desk]:
    """Police and social care, each with a folder of their node's."""
    # A socket's path is short.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        desk = Desk(Path(folder), await make_world(policy=policy))
        await desk.open()
        yield desk
        await desk.close()


def officers_key(file: str, person_id: str) -> None:
    """An officer's keystore in the current folder."""
    Keystore.create(Path(file), PASSPHRASE, cost=CHEAP).add_signing("signing", key_of(person_id))


async def test_agency_its_first_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", PASSPHRASE)
    async with AsyncExitStack() as stack:

        async def admitted() -> None:
            await asyncio.to_thread(_found_federation)
            await asyncio.to_thread(_admit, "broker/enrolment-request.json", "node/enrolment-request.json")
            root = FederationOffice.open(Path("office"), PASSPHRASE).root()
            monkeypatch.setenv("ROOT_FINGERPRINT", fingerprint(root))

        async def mapped() -> None:
            await asyncio.to_thread(Path("node/mapping.toml").write_text, MAPPING)
            write_people(Path("node"), [person(number) for number in range(20)])

        async def running() -> None:
            await asyncio.to_thread(_enrol_broker)
            broker = Broker.from_config(load_broker_config(Path("broker/broker.toml")), PASSPHRASE)
            await broker.start()
            stack.push_async_callback(broker.stop)
            path = Path("node/node.toml")
            await asyncio.to_thread(
                _replace, path, "broker.testshire.example:7443", f"127.0.0.1:{broker.port}"
            )
            node = Node.from_config(load_node_config(path), PASSPHRASE, timings=QUICK)
            await node.start()
            stack.push_async_callback(node.stop)

            async def connected() -> bool:
                return (await node.status()).broker_connected

            await until(connected)

        async def renewed() -> None:
            await asyncio.to_thread(_admit, "node/enrolment-request.json", answer="renewed.json")

        await follow(
            "agency-it.md",
            {
                "the office renews the certificate": renewed,
                "the office admits the node, and answers": admitted,
                "write the mapping": mapped,
                "the node runs": running,
            },
        )


def tallystick(line: str) -> None:
    """One command that must succeed."""
    run(Block(((f"tallystick {line}", ()),), 0))


def _found_federation() -> None:
    tallystick("officer new-key amira.json")
    init = "federation init testshire --dir office --threshold 1 --root-key amira:police:amira.public.json"
    run(Block(((f"tallystick {init}", ("Root 1 fingerprint: ", "Anchor: ")),), 0))
    tallystick("federation sign-root --dir office --key keystore:amira.json#signing")
    tallystick("broker init broker --federation testshire --ip 127.0.0.1 --listen 127.0.0.1:0")


def _enrol_broker() -> None:
    tallystick("federation answer broker --dir office --out broker.answer.json")
    tallystick(
        'broker enrol broker.answer.json --config broker/broker.toml --fingerprint "$ROOT_FINGERPRINT"'
    )


def _replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def _admit(*requests: str, answer: str = "answer.json") -> None:
    for request in requests:
        found = fingerprint(read_request(Path(request)))
        tallystick(f'federation admit {request} --dir office --fingerprint "{found}"')
    tallystick("federation propose-registry --dir office")
    tallystick("federation sign-registry --dir office --key keystore:amira.json#signing")
    tallystick(f"federation answer northmoor-police --dir office --out {answer}")


# -- what is mentioned


def mentioned(text: str) -> Iterator[tuple[list[str], bool]]:
    """Every `tallystick` command in a document: its words, and whether it is written out in full."""
    for match in _FENCE.finditer(text):
        for line in match["body"].replace("\\\n", " ").splitlines():
            prompted = "console" not in match["info"] or line.startswith("$ ")
            if not prompted or not re.search(r"tallystick|docker compose", line):
                continue
            words = shlex.split(re.sub(r"\s#\s.*| > .*", "", line.removeprefix("$ ")), comments=False)
            yield from ((found, True) for found in _program(words))
    for code in re.findall(r"`(tallystick [^`]+)`", _FENCE.sub("", text)):
        yield [word for word in shlex.split(code)[1:] if word != "..."], False


def _program(words: list[str]) -> Iterator[list[str]]:
    """What of a line of shell is a call of tallystick."""
    for number, word in enumerate(words):
        plain = word == "tallystick" and words[:number] in ([], ["uv", "run"])
        if plain or (word.endswith("/bin/tallystick") and words[0] == "runuser"):
            yield words[1 + number :]
    if words[:3] == ["docker", "compose", "exec"]:
        yield words[5:]
    elif words[:3] == ["docker", "compose", "run"] and "--entrypoint" not in words:
        start = next(i for i, word in enumerate(words) if i > 2 and not word.startswith("-"))
        yield words[start + 1 :]


@pytest.mark.parametrize("path", MENTIONING, ids=lambda path: path.name)
def test_every_command_that_is_mentioned_exists(path: Path) -> None:
    found = list(mentioned(path.read_text("utf-8")))
    assert found
    for words, whole in found:
        if words != ["--version"]:
            command_of(words, whole=whole)


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "policy nonsense",
        "policy show",
        "policy show a b",
        "node run --nonsense",
        "node run --config",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    ((words, whole),) = mentioned(f"```\ntallystick {line}\n```\n")
    with pytest.raises(AssertionError):
        command_of(words, whole=whole)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_every_option_that_is_mentioned_exists(path: Path) -> None:
    text = _FENCE.sub("", path.read_text("utf-8"))
    named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)[^`\n]*`", text))
    assert named <= every_option() | {"--no-deps", "--version"}


def test_templates_are_listed_as_they_are() -> None:
    text = (ROOT / "docs/guides/ig-officer.md").read_text("utf-8")
    assert all(f"\n{name}\n" in text for name in template_names())


def test_agency_it_explains_every_error_code() -> None:
    rows = re.findall(r"^\| (TS\d{4}) \| (.+) \| (.+) \|$", _guide("agency-it.md"), re.MULTILINE)
    assert [code for code, _, _ in rows] == sorted(code.value for code in ErrorCode)


def test_agency_it_names_metrics_that_exist() -> None:
    names = set(re.findall(r"`tallystick_node_(\w+)`", _guide("agency-it.md")))
    exposed = {
        metric.name.removeprefix("tallystick_node_") + ("_total" if metric.type == "counter" else "")
        for metric in Metrics().registry.collect()
    }
    assert names
    assert names <= exposed


def _guide(name: str) -> str:
    return (ROOT / "docs/guides" / name).read_text("utf-8")


def _publics(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.public.json"))


def _public(path: Path) -> VerifyKey:
    return VerifyKey.from_json(parse_strict(path.read_bytes()))

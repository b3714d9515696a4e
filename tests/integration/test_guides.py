"""The guides are true: their tested commands run as printed, and every command they mention exists."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agency_node.rpc.broker_client import BrokerClient
from crypto.canonical import parse_strict
from crypto.keys import VerifyKey
from policies.authoring import fill, placeholders, template_names
from policies.codec import format_time
from protos.wire.channels import broker_channel
from protos.wire.errors import ErrorCode
from tallystick.cli import build
from tests.commands import command_of
from tests.federation import CARE, NHS, PASSPHRASE, POLICE, REFUGE, Federation
from tests.nodes import NodeFolder
from tests.simulator.policies import template_values

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))
MENTIONING = [ROOT / "README.md", ROOT / "deploy/README.md", *GUIDES]
_FENCE = re.compile(r"^```(?P<info>.*)\n(?P<body>(?:.*\n)*?)^```$", re.MULTILINE)
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
        line, _, target = command.partition(" > ")
        words = shlex.split(line)
        assert words.pop(0) == "tallystick", command
        result = CliRunner().invoke(build(words[0]), words)
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

        await follow(
            "ig-officer.md",
            {
                "the registry lists the officers, and the federation runs": federation_runs,
                "fill in the template": fill_in,
            },
        )


def _publics(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.public.json"))


def _public(path: Path) -> VerifyKey:
    return VerifyKey.from_json(parse_strict(path.read_bytes()))

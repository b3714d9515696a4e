"""What a broker's operator sees of misuse, and the one way to let it go: the command line."""

from __future__ import annotations

import asyncio
import json
import secrets
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.app import Broker
from broker.check import check_config
from broker.cli import broker_app
from protos.wire.errors import ErrorCode
from protos.wire.linkage import UploadMode, UploadStart
from tests.broker_client import connected, message, refusal
from tests.encodings import batch, noisy, person_clks
from tests.federation import CARE, LINKAGE, NHS, PASSPHRASE, POLICE, Federation
from tests.nodes import until
from tests.simulator.policies import key_of


async def run(*arguments: str) -> tuple[int, str]:
    """A command of the broker's operator, beside the running broker."""
    result = await asyncio.to_thread(CliRunner().invoke, broker_app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


async def opened(federation: Federation, broker: Broker) -> None:
    for name in (POLICE, CARE, NHS):
        async with connected(broker.port, name, federation.agency(name)) as client:
            if name == POLICE:
                await client.publish_trust([], federation.registry_envelope.to_bytes())
                await client.publish(federation.signed_agreement(federation.agreement()))
            await client.confirm(LINKAGE, 1)


async def test_held_over_a_restart_listed_and_released(tmp_path: Path) -> None:
    federation = Federation.create(tmp_path)
    config = str(federation.broker_toml())
    variants = noisy(person_clks(1).repeat(25, axis=0), 30, 7)
    upload_id = secrets.token_hex(16)
    broker = federation.broker()
    await broker.start()
    await opened(federation, broker)
    async with connected(broker.port, POLICE, federation.agency(POLICE)) as client:
        epoch = await client.epoch(LINKAGE)
        await client.begin(UploadStart(LINKAGE, 1, epoch.schema_hash, upload_id, UploadMode.FULL, 25))
        await client.send_batches(upload_id, [(0, batch(POLICE, range(25), variants))])
        assert await refusal(client.commit(upload_id, 1, 25)) is ErrorCode.PROBING_SUSPECTED
    await broker.stop()

    code, output = await run("holds", "list", "--json", "--config", config)
    assert code == 0
    hold = json.loads(output)
    assert (hold["agency"], hold["kind"], hold["released"]) == (POLICE, "upload", None)
    assert hold["figures"]["most_near_ones"] == 24
    release = ("holds", "release", hold["hold"], "--config", config, "--reason", "an import", "--officer")
    code, output = await run("holds", "release", "none", *release[3:], "ada")
    assert (code, "there is no hold none" in output) == (2, True)
    code, output = await run(*release, " ")
    assert (code, "who decided" in output) == (2, True)

    broker = federation.broker()
    await broker.start()
    try:
        async with connected(broker.port, POLICE, federation.agency(POLICE)) as client:
            assert await refusal(client.commit(upload_id, 1, 25)) is ErrorCode.PROBING_SUSPECTED
            code, output = await run(*release, "ada")
            assert (code, output.splitlines()[-1]) == (0, f"{hold['hold']}: released.")
            assert await client.commit(upload_id, 1, 25) == 25
        assert await run("holds", "list", "--config", config) == (0, "")
        code, output = await run("holds", "list", "--all", "--config", config)
        assert "released 20" in output
        code, output = await run(*release, "ada")
        assert (code, "released already" in output) == (1, True)
    finally:
        await broker.stop()


async def test_a_release_waits_for_a_broker_that_is_stopped(tmp_path: Path) -> None:
    federation = Federation.create(tmp_path)
    config = str(federation.broker_toml())
    broker = federation.broker()
    await broker.start()
    await opened(federation, broker)
    async with connected(broker.port, CARE, federation.agency(CARE)) as client:
        epoch = await client.epoch(LINKAGE)
        variants = noisy(person_clks(1).repeat(25, axis=0), 30, 7)
        held = client.upload(epoch, LINKAGE, batch(CARE, range(25), variants))
        assert await refusal(held) is ErrorCode.PROBING_SUSPECTED
    await broker.stop()
    hold = json.loads((await run("holds", "list", "--json", "--config", config))[1])
    arguments = (hold["hold"], "--officer", "ada", "--reason", "import", "--config", config, "--wait", "0")
    code, output = await run("holds", "release", *arguments)
    assert (code, "when it runs" in output) == (0, True)
    stray = federation.folder / "broker" / "data" / "releases" / "stray.json"
    stray.write_text("{}")
    broker = federation.broker()
    await broker.start()
    try:

        async def taken() -> bool:
            return not list(stray.parent.glob("*.json"))

        await until(taken)
        async with connected(broker.port, CARE, federation.agency(CARE)) as client:
            assert await client.upload(epoch, LINKAGE, batch(CARE, range(25), variants)) == 25
    finally:
        await broker.stop()


async def test_metrics_show_what_waits(tmp_path: Path) -> None:
    federation = Federation.create(tmp_path)
    broker = federation.broker(metrics="127.0.0.1:0")
    await broker.start()
    try:
        await opened(federation, broker)
        async with connected(broker.port, POLICE, federation.agency(POLICE)) as client:
            for _ in range(3):
                await client.send(message(CARE, b"x" * 100))
            epoch = await client.epoch(LINKAGE)
            variants = noisy(person_clks(1).repeat(25, axis=0), 30, 7)
            await refusal(client.upload(epoch, LINKAGE, batch(POLICE, range(25), variants)))
        await broker.keep_house()
        url = f"http://127.0.0.1:{broker.metrics_port}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
    finally:
        await broker.stop()
    for line in ("mailbox_messages 3.0", "mailbox_bytes 300.0", "holds_open 1.0", "audit_key_listed 1.0"):
        assert f"tallystick_broker_{line}" in page.splitlines()


async def test_an_audit_key_that_the_registry_does_not_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Federation.create(tmp_path)
    path = federation.broker_toml()
    now = datetime.now(UTC)
    broker = Broker.from_config(federation.broker_config(), PASSPHRASE)
    await broker.start()
    await opened(federation, broker)
    assert await check_config(path, now) == ()
    assert "audit key not listed" not in capsys.readouterr().out
    other = federation.new_registry(broker_verify_key=key_of("another broker").verify_key)
    async with connected(broker.port, POLICE, federation.agency(POLICE)) as client:
        await client.publish_trust([], other.to_bytes())
    assert "audit key not listed" in capsys.readouterr().out
    await broker.stop()
    (problem,) = await check_config(path, now)
    assert problem.startswith("audit.key: registry version 2 lists another key for the broker")

"""`tallystick broker health` tells a serving broker from a stopped one and from another one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import broker_app
from broker.config import load_config
from broker.health import HealthError, probe
from crypto.pki import PeerRole
from tests.broker_world import running_world


async def test_only_the_configured_broker_is_healthy(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        path = tmp_path / "broker" / "broker.toml"
        path.write_text(path.read_text().replace(":0", f":{world.broker.port}"))
        config = load_config(path)
        assert await asyncio.to_thread(probe, config) == f"127.0.0.1:{world.broker.port}"
        result = await asyncio.to_thread(CliRunner().invoke, broker_app, ["health", "--config", str(path)])
        assert (result.exit_code, result.output) == (0, f"serving on 127.0.0.1:{world.broker.port}\n")
        # A certificate that was renewed on disk, but which the running broker has not taken up:
        config.tls.certificate.write_bytes(world.federation.tls(PeerRole.BROKER, "broker").certificate)
        with pytest.raises(HealthError, match="another certificate"):
            await asyncio.to_thread(probe, config)
    with pytest.raises(HealthError, match="nothing serves"):
        await asyncio.to_thread(probe, config)
    result = await asyncio.to_thread(CliRunner().invoke, broker_app, ["health", "--config", str(path)])
    assert result.exit_code == 1


async def test_a_port_without_tls_is_not_a_broker(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with running_world(tmp_path):
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            path = tmp_path / "broker" / "broker.toml"
            path.write_text(path.read_text().replace(":0", f":{port}"))
            with pytest.raises(HealthError, match="does not speak TLS"):
                await asyncio.to_thread(probe, load_config(path))

"""A broker that is killed without warning loses nothing that it acknowledged, and ends nothing half."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker.config import ConfigError
from protos.linkage.v1 import linkage_pb2
from protos.wire.errors import UnavailableError
from protos.wire.linkage import EncodingBatch, LinkEventKind, RunState, UploadMode, UploadStart, batch_to_wire
from tests.broker_client import Client, asked, connected, message
from tests.encodings import batch, noisy, person_clks
from tests.federation import CARE, LINKAGE, NHS, POLICE, Federation

START_SECONDS = 60.0
PARTICIPANTS = (POLICE, CARE, NHS)


class BrokerProcess:
    """`tallystick broker run` as a process of its own, which can be killed and started again."""

    def __init__(self, federation: Federation, **settings: object) -> None:
        self._config = federation.broker_toml(**settings)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Starts it and returns its port."""
        ready = self._config.with_name("ready")
        ready.unlink(missing_ok=True)
        arguments = ("broker", "run", "--config", str(self._config), "--ready-file", str(ready))
        with self._config.with_name("broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tallystick", *arguments], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not ready.exists():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return int(ready.read_text())

    def log(self) -> str:
        return self._config.with_name("broker.log").read_text()

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        """As systemd would; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=START_SECONDS)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


@contextmanager
def process(federation: Federation, **settings: object) -> Iterator[BrokerProcess]:
    found = BrokerProcess(federation, **settings)
    try:
        yield found
    finally:
        found.end()


async def opened(federation: Federation, port: int) -> None:
    """Trust, agreement and a confirmed key."""
    for name in PARTICIPANTS:
        async with connected(port, name, federation.agency(name)) as client:
            if name == POLICE:
                await client.publish_trust([], federation.registry_envelope.to_bytes())
                await client.publish(federation.signed_agreement(federation.agreement()))
            await client.confirm(LINKAGE, 1)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation.create(tmp_path)


async def test_killed_in_the_middle_of_an_upload(federation: Federation) -> None:
    clks = person_clks(400)
    batches = [batch(POLICE, range(start, start + 10), clks) for start in range(0, 400, 10)]
    with process(federation) as broker:
        port = await asyncio.to_thread(broker.start)
        await opened(federation, port)
        acknowledged: list[int] = []
        async with connected(port, POLICE, federation.agency(POLICE)) as client:
            epoch = await client.epoch(LINKAGE)
            start = UploadStart(LINKAGE, 1, epoch.schema_hash, secrets.token_hex(16), UploadMode.FULL, 400)
            await client.begin(start)

            async def requests() -> AsyncIterator[linkage_pb2.UploadBatchesRequest]:
                for sequence, item in enumerate(batches):
                    yield _request(start.upload_id, sequence, item)

            with pytest.raises(UnavailableError):
                await _stream_until_killed(client, requests(), acknowledged, broker)
        assert 5 <= len(acknowledged) < 40

        port = await asyncio.to_thread(broker.start)
        async with connected(port, POLICE, federation.agency(POLICE)) as client:
            resumed = (await client.begin(start)).next_sequence
            assert acknowledged[-1] < resumed <= 40
            await client.send_batches(start.upload_id, enumerate(batches[resumed:], resumed))
            assert await client.commit(start.upload_id, 40, 400) == 400


async def test_killed_in_the_middle_of_matching(federation: Federation) -> None:
    people = 1200
    clks = person_clks(people)
    with process(federation, matching={"threads": 1, "block_rows": 64}) as broker:
        port = await asyncio.to_thread(broker.start)
        await opened(federation, port)
        for seed, name in enumerate((POLICE, CARE)):
            async with connected(port, name, federation.agency(name)) as client:
                epoch = await client.epoch(LINKAGE)
                await client.upload(epoch, LINKAGE, batch(name, range(people), noisy(clks, 20, seed)))
        async with connected(port, CARE, federation.agency(CARE)) as client:
            await client.publish(federation.signed_policy(federation.policy()))
        async with connected(port, POLICE, federation.agency(POLICE)) as client:
            run_id = await client.start_run(LINKAGE, 1)
            watching = client.linkage.WatchRun(linkage_pb2.WatchRunRequest(run_id=run_id))
            async for progress in watching:
                if progress.done_units * 10 > progress.total_units > 0:
                    break
            broker.kill()
            watching.cancel()
        kept = federation.folder / "broker" / "data" / "matching" / "runs" / run_id
        assert any(kept.glob("task-*.npz"))

        port = await asyncio.to_thread(broker.start)
        async with connected(port, POLICE, federation.agency(POLICE)) as client:
            ended = (await client.watch_run(run_id))[-1]
            assert ended.state is RunState.DONE, ended
            assert await client.start_run(LINKAGE, 1) == run_id  # the same data is not matched twice
            events = await client.link_events(LINKAGE)
        assert [event.kind for event in events] == [LinkEventKind.TOLD] * people
        assert not kept.exists()


async def test_messages_survive_and_the_broker_ends_in_order(federation: Federation) -> None:
    with process(federation) as broker:
        port = await asyncio.to_thread(broker.start)
        await opened(federation, port)
        sent = message(CARE, b"wait for me")
        async with connected(port, POLICE, federation.agency(POLICE)) as police:
            await police.send(sent)
        broker.kill()
        port = await asyncio.to_thread(broker.start)
        async with connected(port, CARE, federation.agency(CARE)) as care:
            (arrived,) = await care.receive(1)
            assert arrived.sealed == b"wait for me"
            await care.acknowledge(arrived.message_id)
            health = health_pb2_grpc.HealthStub(care.channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            following = asyncio.create_task(care.receive(1))
            await asyncio.sleep(0.2)
            assert await asyncio.to_thread(broker.terminate) == 0
            with pytest.raises(UnavailableError):
                await following
        assert '"event": "stopped"' in broker.log()
        port = await asyncio.to_thread(broker.start)
        async with connected(port, POLICE, federation.agency(POLICE)) as police:
            assert await police.send(sent)  # remembered, not delivered again


async def test_one_broker_to_a_data_directory(federation: Federation) -> None:
    first, second = federation.broker(), federation.broker()
    await first.start()
    try:
        with pytest.raises(ConfigError, match="another broker is using"):
            await second.start()
        await second.stop()
    finally:
        await first.stop()


async def _stream_until_killed(
    client: Client,
    requests: AsyncIterator[linkage_pb2.UploadBatchesRequest],
    acknowledged: list[int],
    broker: BrokerProcess,
) -> None:
    async def collect() -> None:
        async for item in client.linkage.UploadBatches(requests):
            acknowledged.append(item.sequence)
            if len(acknowledged) == 5:
                broker.kill()

    await asked(collect())


def _request(upload_id: str, sequence: int, item: EncodingBatch) -> linkage_pb2.UploadBatchesRequest:
    return linkage_pb2.UploadBatchesRequest(upload_id=upload_id, sequence=sequence, batch=batch_to_wire(item))

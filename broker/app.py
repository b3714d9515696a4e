"""The broker put together: the only place where its parts are wired."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import grpc
import structlog

from broker import migrations
from broker.audit import AuditLog, Clock
from broker.bell import Bell
from broker.catalogue import Catalogue
from broker.config import BrokerConfig, ConfigError, RelayConfig
from broker.documents import DocumentService
from broker.epochs import EpochService
from broker.holds import HoldService
from broker.links import LinkService
from broker.lookups import LookUpService
from broker.matcher import Matcher
from broker.probing import ProbingWatch
from broker.relay import RelayService
from broker.rpc.audit import AuditServicer
from broker.rpc.documents import DocumentServicer
from broker.rpc.health import Health, enable_reflection
from broker.rpc.linkage import LinkageServicer
from broker.rpc.register import SERVICES, Servicers, register
from broker.rpc.registry import RegistryServicer
from broker.rpc.relay import RelayServicer
from broker.runs import RunService
from broker.store.model import MailboxLoad
from broker.store.ports import BrokerStore
from broker.store.sql import SqlStore, open_engine
from broker.trust import TrustService
from broker.turnover import Turnover
from broker.uploads import UploadService
from crypto.keys import Signer
from crypto.keystore import Keystore
from crypto.signers import load_signer
from protos.wire.channels import TlsIdentity, server_credentials
from protos.wire.errors import RefusedError
from protos.wire.limits import LIMITS, MIB, Limits
from protos.wire.lockfile import locked
from protos.wire.metrics import CallMetrics
from protos.wire.peers import Peer, spiffe_uri
from protos.wire.refusals import translator
from protos.wire.safelog import places_of
from protos.wire.server import SERVER_OPTIONS, Context, Gatekeeper

DETAILS_KEY = "audit-details"
_HOUSEKEEPING_SECONDS = 30.0
_RELEASES_SECONDS = 1.0
_log = structlog.get_logger("broker")


def utc_now() -> datetime:
    """The time, UTC aware."""
    return datetime.now(UTC)


class Broker:
    """A broker that can be started and stopped, by the command line and by tests.

    `signer` signs the audit log, `details_key` (32 bytes) encrypts its details. Time and randomness may be
    given by tests; TLS uses the machine's clock in any case.
    """

    def __init__(
        self,
        config: BrokerConfig,
        signer: Signer,
        details_key: bytes,
        *,
        store: BrokerStore | None = None,
        clock: Clock = utc_now,
        rng_bytes: Callable[[int], bytes] = secrets.token_bytes,
        housekeeping_seconds: float = _HOUSEKEEPING_SECONDS,
    ) -> None:
        self._config = config
        self._given_store = store
        self._clock = clock
        self._rng_bytes = rng_bytes
        self._housekeeping_seconds = housekeeping_seconds
        self._audit = AuditLog(signer, config.federation, details_key, clock)
        self._bell = Bell()
        self._health = Health()
        self.metrics = CallMetrics("broker")
        self._lock: IO[str] | None = None
        self._housekeeper: asyncio.Task[None] | None = None
        self._releaser: asyncio.Task[None] | None = None
        self._mailboxes = MailboxLoad(0, 0)
        self._open_holds = 0
        self._server: grpc.aio.Server | None = None
        self._stopped = False
        #: The port that the broker listens on, once started.
        self.port = 0
        #: The port of the metrics, if they are served.
        self.metrics_port = 0

    @classmethod
    def from_config(cls, config: BrokerConfig, passphrase: str) -> Broker:
        """A broker with the keys that its configuration names; raises what `crypto` raises for them."""
        signer = load_signer(config.audit.key, lambda: passphrase)
        details_key = Keystore.open(config.audit.keystore, passphrase).secret(DETAILS_KEY)
        return cls(config, signer, details_key)

    async def start(self) -> None:
        """Migrates the database, takes up unfinished runs and serves.

        Raises:
            ConfigError: another broker uses the data directory, or a file or address cannot be used.
        """
        self._config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(self._config.data_dir / "broker.lock")
        store = self._store = await self._open_store()
        self._trust = TrustService(store, self._audit, self._config.federation, self._clock)
        await self._trust.load(_read(self._config.anchor, "anchor"))
        self._catalogue = Catalogue(store, self._trust, self._clock)
        matcher = Matcher(self._config.matching, self._config.data_dir / "matching")
        self._holds = HoldService(store, self._audit, self._clock, self._config.releases)
        watch = self._config.watch
        self._probing = ProbingWatch(store, self._holds, watch, self._clock, self._rng_bytes)

        def rotated(linkage_id: str) -> None:
            matcher.forget(linkage_id)
            self._probing.forget(linkage_id)

        self._epochs = EpochService(store, self._catalogue, self._audit, rotated, watch, self._clock)
        self._links = LinkService(
            store, self._catalogue, self._audit, self._bell, self._clock, self._rng_bytes
        )
        self._runs = RunService(
            store,
            self._catalogue,
            self._epochs,
            self._links,
            matcher,
            self._holds,
            watch,
            self._audit,
            self._bell,
            self._clock,
        )
        self._uploads = UploadService(
            store,
            self._catalogue,
            self._epochs,
            self._probing,
            Turnover(watch.daily_turnover, self._clock),
            self._audit,
            self._links.withdraw,
            self._runs.committed,
            self._clock,
        )
        limits = relay_limits(self._config.relay)
        self._relay = RelayService(store, self._trust, self._links, self._bell, self._clock, limits)
        self._look_ups = LookUpService(
            store,
            self._catalogue,
            self._epochs,
            self._links,
            matcher,
            self._probing,
            self._config.matching.look_ups_per_minute,
            watch.look_ups_per_day,
            self._clock,
        )
        await self.documents_changed()
        await self._runs.resume()
        await self._serve()
        await self._count_waiting()
        self._housekeeper = asyncio.create_task(self._keep_house(), name="housekeeping")
        self._releaser = asyncio.create_task(self._keep_releasing(), name="releases")
        _log.info("serving", port=self.port, federation=self._config.federation)

    async def stop(self) -> None:
        """Turns callers away, ends what is under way, and closes everything. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        await self._health.leaving()
        self._bell.close()
        if self._server is not None:
            await self._server.stop(self._config.shutdown_seconds)
            await self._runs.stop()
        for task in (self._releaser, self._housekeeper):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        if self._housekeeper is not None:
            await self._trust.write_refusals()
        self.metrics.close()
        if hasattr(self, "_store"):
            await self._store.close()
        if self._lock is not None:
            self._lock.close()
        _log.info("stopped")

    async def documents_changed(self) -> None:
        """Verifies all documents anew and brings what is told into line."""
        if await self._catalogue.reload():
            await self._links.refresh()

    async def keep_house(self) -> None:
        """Forgets what is expired or abandoned, and tells or recalls what time alone changed."""
        await self._uploads.forget_abandoned()
        self._probing.forget_old()
        await self._relay.forget_expired()
        async with self._store.write() as tx:
            await tx.links.purge(self._clock())
            for linkage in self._catalogue.linkages():
                with suppress(RefusedError):  # being replaced by a newer agreement at this moment
                    await self._epochs.ensure(tx, linkage)
        for ended in await self._links.refresh():
            self._runs.forget(ended)
            self._probing.forget(ended)
        await self._trust.write_refusals()
        await self._count_waiting()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(self._housekeeping_seconds)
            try:
                await self.keep_house()
            except Exception as error:  # noqa: BLE001 - tried again next time
                _log.error("housekeeping failed", error=type(error).__name__, places=places_of(error))

    async def _keep_releasing(self) -> None:
        """Takes what the operator's command releases: a person waits for it."""
        while True:
            try:
                if await self._holds.take_releases():
                    await self._count_waiting()
            except Exception as error:  # noqa: BLE001 - tried again next time
                _log.error("releases not taken", error=type(error).__name__, places=places_of(error))
            await asyncio.sleep(_RELEASES_SECONDS)

    async def _count_waiting(self) -> None:
        async with self._store.read() as tx:
            self._mailboxes = await tx.relay.totals()
            self._open_holds = sum(hold.open for hold in await tx.holds.listed())

    async def _open_store(self) -> BrokerStore:
        if self._given_store is not None:
            return self._given_store
        engine = open_engine(self._config.database_url)
        await migrations.upgrade(engine)
        return SqlStore(engine)

    async def _serve(self) -> None:
        gatekeeper = Gatekeeper(self._authenticate, translator(), self.metrics.observe)
        server = self._server = grpc.aio.server(interceptors=[gatekeeper], options=SERVER_OPTIONS)
        documents = DocumentService(
            self._store, self._trust, self._audit, self._epochs.ensure, self.documents_changed, self._clock
        )
        servicers = Servicers(
            RegistryServicer(self._trust, self.documents_changed),
            DocumentServicer(documents),
            LinkageServicer(self._epochs, self._uploads, self._runs, self._links, self._look_ups),
            RelayServicer(self._relay),
            AuditServicer(self._store, self._audit, self._trust),
        )
        register(servicers, server)
        self._health.add_to(server)
        if self._config.reflection:
            enable_reflection(SERVICES, server)
        tls = self._config.tls
        identity = TlsIdentity(
            _read(tls.certificate, "tls.certificate"),
            _read(tls.key, "tls.key"),
            _read(tls.federation_ca, "tls.federation_ca"),
        )
        try:
            self.port = server.add_secure_port(self._config.listen, server_credentials(identity))
        except RuntimeError:
            raise ConfigError(f"cannot listen on {self._config.listen}: is it in use?") from None
        await server.start()
        await self._health.serving(SERVICES)
        self._serve_metrics()

    def _serve_metrics(self) -> None:
        self.metrics.gauge("runs_queued", "Matching runs that wait.", lambda: self._runs.queued)
        self.metrics.gauge("runs_running", "Matching runs under way.", lambda: self._runs.running)
        self.metrics.gauge("mailbox_messages", "Sealed messages that wait.", lambda: self._mailboxes.messages)
        self.metrics.gauge("mailbox_bytes", "Sealed bytes that wait.", lambda: self._mailboxes.sealed_bytes)
        self.metrics.gauge(
            "audit_key_listed",
            "1 if the registry lists this broker's audit key.",
            lambda: float(self._trust.key_problem() is None),
        )
        self.metrics.gauge("holds_open", "What waits for an officer's word.", lambda: self._open_holds)
        self.metrics.gauge("holds_raised", "Alarms since the start.", lambda: self._holds.raised.total())
        if self._config.metrics:
            host, _, port = self._config.metrics.rpartition(":")
            try:
                self.metrics_port = self.metrics.serve(host, int(port))
            except OSError as error:
                raise ConfigError(f"metrics: cannot listen on {self._config.metrics}: {error}") from None

    def _authenticate(self, context: Context) -> Peer:
        return self._trust.authenticate(spiffe_uri(context))


def relay_limits(config: RelayConfig) -> Limits:
    """The wire's limits, narrowed by the configuration."""
    return replace(
        LIMITS,
        relay_ttl_seconds=config.ttl_hours * 3600,
        waiting_messages=config.waiting_messages,
        waiting_bytes=config.waiting_mebibytes * MIB,
    )


def _read(path: Path, place: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{place}: cannot read {path}: {error.strerror}") from None


def _locked(path: Path) -> IO[str]:
    try:
        return locked(path)
    except BlockingIOError:
        raise ConfigError(f"another broker is using {path.parent}; stop it first") from None

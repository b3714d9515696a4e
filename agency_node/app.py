"""The node put together: the only place where its parts are wired."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import structlog

from agency_node import migrations
from agency_node.audit import AuditLog
from agency_node.config import NodeConfig
from agency_node.disclosure.service import build_disclosure
from agency_node.documents import HeldDocument, PolicyBook
from agency_node.errors import NodeConfigError, NodeError
from agency_node.exchange import Exchange
from agency_node.key_service import KeyingService, KeyRing
from agency_node.keys import NodeKeys, load_keys
from agency_node.links import LinkBook, SubjectLink
from agency_node.mailbox import Mailbox
from agency_node.metrics import Metrics
from agency_node.parts import BuildAudit, BuildDisclosure, NodeParts
from agency_node.ports import Clock
from agency_node.refusals import translate
from agency_node.rpc.broker_client import BrokerClient
from agency_node.rpc.ports import DisclosureService, LinkageStatus, NodeStatus
from agency_node.rpc.server import ControlServer
from agency_node.spool import empty_spool
from agency_node.store.store import NodeStore
from agency_node.subjects import SubjectId
from agency_node.sync import Progress, Report, SyncService, SyncSettings
from agency_node.trust import TrustKeeper
from crypto.errors import PkiError
from crypto.keystore import Keystore
from crypto.pki import certificate_expiry
from policies.ids import LinkageId
from protos.wire.channels import broker_channel
from protos.wire.documents import DocumentBundle
from protos.wire.errors import ErrorCode, RefusedError, UnavailableError
from protos.wire.linkage import RotationReason, RunState
from protos.wire.lockfile import locked

_log = structlog.get_logger("node")
#: How soon to look for documents again after something changed.
_SOON_SECONDS = 1.0
_WARN_BEFORE_EXPIRY = timedelta(days=14)


def utc_now() -> datetime:
    """The time, UTC aware."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class NodeTimings:
    """How often the node looks after its affairs, in seconds; tests are less patient."""

    trust: float = 300.0
    documents: float = 30.0
    keying: float = 20.0
    housekeeping: float = 60.0
    witness: float = 300.0
    outbox: float = 1.0
    minute: float = 60.0
    retry_first: float = 0.25
    retry_most: float = 15.0
    shutdown: float = 5.0


class Node:
    """A node that can be started and stopped, by the command line and by tests."""

    def __init__(
        self,
        config: NodeConfig,
        keys: NodeKeys,
        *,
        audit: BuildAudit,
        disclosure: BuildDisclosure,
        store: NodeStore | None = None,
        clock: Clock = utc_now,
        timings: NodeTimings | None = None,
    ) -> None:
        if keys.anchor is None:
            raise NodeError("the node is not enrolled; run `tallystick node enrol` with the office's answer")
        self._config = config
        self._keys = keys
        self._clock = clock
        self._timings = timings or NodeTimings()
        self._store = store or NodeStore.open(config.database)
        self._audit = audit(keys, clock)
        self._trust = TrustKeeper(self._store, self._audit, keys.agency, keys.anchor, clock)
        self._book = PolicyBook(keys, self._audit)
        self._mailbox = Mailbox(self._store, keys, self._trust.registry, self._audit, clock)
        self._ring = KeyRing(keys.wrapper)
        self._keying = KeyingService(
            self._store,
            keys,
            self._trust.registry,
            self._book,
            self._mailbox,
            self._ring,
            self._audit,
            clock,
        )
        self._links = LinkBook(self._store, keys, self._audit)
        self._exchange = Exchange(self._store, keys, self._trust, self._book, clock)
        settings = SyncSettings(
            config.mapping,
            config.spool_dir,
            config.batch_rows,
            config.decoys_percent,
            config.on_invalid_value,
        )
        self._sync = SyncService(
            self._store, keys, self._trust.registry, self._book, self._ring, self._audit, clock, settings
        )
        self.parts = NodeParts(
            config,
            keys,
            self._store,
            self._trust,
            self._book,
            self._mailbox,
            self._ring,
            self._links,
            self._audit,
            clock,
        )
        self._disclosure = disclosure(self.parts)
        self.metrics = Metrics()
        self._lock: IO[str] | None = None
        self._server: ControlServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._following: dict[LinkageId, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._connected = False
        self._stopped = False

    @classmethod
    def from_config(
        cls,
        config: NodeConfig,
        passphrase: str,
        *,
        disclosure: BuildDisclosure = build_disclosure,
        timings: NodeTimings | None = None,
    ) -> Node:
        """The node of a configuration, with its keys and audit log.

        Raises:
            NodeError: the keystore is not a node's, or the node is not enrolled.
            CryptoError: it does not open.
        """
        keys = load_keys(Keystore.open(config.keystore, passphrase), config.federation, config.agency)
        return cls(config, keys, audit=_audit_log, disclosure=disclosure, timings=timings)

    # -- life

    async def start(self) -> None:
        """Migrates the database, verifies what it holds, opens the control socket and dials the broker.

        Raises:
            NodeError: not enrolled, another node uses the data directory, or a file cannot be used.
            PolicyError, CryptoError: the stored trust documents do not verify.
        """
        self._config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(self._config.data_dir / "node.lock")
        _empty(self._config.spool_dir)
        await migrations.upgrade(self._store.engine)
        await self._trust.load()
        self._check_own_keys()
        identity = self._config.tls_identity()
        _warn_of_expiry(identity.certificate, self._clock())
        self._broker = BrokerClient(broker_channel(self._config.broker_target, identity))
        await self._serve()
        for name, work in (
            ("trust", self._trust_loop),
            ("documents", self._documents_loop),
            ("outbox", self._outbox_loop),
            ("inbox", self._inbox_loop),
            ("keying", self._keying_loop),
            ("links", self._links_loop),
            ("housekeeping", self._house_loop),
            ("witness", self._witness_loop),
            ("uploads", self._uploads_loop),
        ):
            self._tasks.append(asyncio.create_task(self._supervise(name, work), name=name))
        _log.info("node started", agency=str(self._keys.agency), broker=self._config.broker_target)

    def _check_own_keys(self) -> None:
        """Says loudly when the registry names other keys for this agency: nobody would believe this node."""
        registry = self._trust.last_registry
        listed = registry.agency(self._keys.agency) if registry else None
        if listed is None:
            _log.error("the registry does not list this agency", agency=str(self._keys.agency))
        elif (
            listed.node_verify_key != self._keys.signer.verify_key
            or listed.sealing_key != self._keys.sealing_keys[0].public_key
        ):
            _log.error("the registry lists other keys for this agency", agency=str(self._keys.agency))

    async def stop(self) -> None:
        """Ends what is under way and closes everything. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        if self._server is not None:
            await self._server.stop(self._timings.shutdown)
        for task in (*self._tasks, *self._following.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._following.values(), return_exceptions=True)
        self.metrics.close()
        if hasattr(self, "_broker"):
            await self._broker.close()
        await asyncio.to_thread(self._disclosure.close)
        await self._store.close()
        if self._lock is not None:
            self._lock.close()
        _log.info("node stopped")

    async def _serve(self) -> None:
        self._server = ControlServer(self, self._config.control_socket, self.metrics.observe)
        await self._server.start()
        await self._set_connected(False)
        if self._config.metrics_host:
            try:
                self.metrics.serve(self._config.metrics_host, self._config.metrics_port)
            except OSError as error:
                raise NodeConfigError(f"metrics.address: cannot listen there ({error.strerror})") from None

    # -- background

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work` for ever: after a failure again, a little later each time."""
        wait = self._timings.retry_first
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await work()
            except UnavailableError:
                await self._set_connected(False)
            except RefusedError as refusal:
                _log.warning("refused", task=name, code=str(refusal.code), detail=refusal.detail)
            except Exception as error:  # noqa: BLE001 - one task's fault must not end the node
                _log.error("task failed", task=name, exc_info=error)
            if asyncio.get_running_loop().time() - began > 2 * wait:
                wait = self._timings.retry_first
            await asyncio.sleep(wait)
            wait = min(self._timings.retry_most, 2 * wait)

    async def _trust_loop(self) -> None:
        while True:
            if await self._exchange.refresh_trust(self._broker.registry):
                self._nudge()
            await self._set_connected(True)
            await asyncio.sleep(self._timings.trust)

    async def _documents_loop(self) -> None:
        """Fetches documents and statuses; soon after something changed, then ever later.

        A new policy is of use only once its providers' statuses are here, and those come as each provider
        gets to publish its own.
        """
        soon = _SOON_SECONDS
        while True:
            self._news.clear()
            changed = await self._exchange.refresh_documents(self._broker.documents)
            if changed:
                self._keying.nudge()
                self._mailbox.retry()
            await self._set_connected(True)
            woken = await _wait(self._news, min(soon, self._timings.documents))
            soon = _SOON_SECONDS if changed or woken else min(2 * soon, self._timings.documents)

    async def _outbox_loop(self) -> None:
        await self._mailbox.send_loop(self._broker.relay, self._timings.outbox)

    async def _inbox_loop(self) -> None:
        await self._mailbox.receive_loop(self._broker.relay)

    async def _keying_loop(self) -> None:
        await self._keying.loop(self._broker.linkage, self._timings.keying)

    async def _links_loop(self) -> None:
        """Follows the links of every linkage in force that this agency takes part in."""
        while True:
            now = self._clock()
            registry = self._trust.registry(now)
            async with self._store.transaction() as tx:
                agreements = await self._book.agreements(tx, registry, now)
            wanted = {verified.agreement.id for verified in agreements}
            for linkage_id in wanted - self._following.keys():
                self._following[linkage_id] = asyncio.create_task(
                    self._supervise("links", lambda linkage_id=linkage_id: self._follow(linkage_id)),  # type: ignore[misc] # mypy cannot infer the default
                    name=f"links {linkage_id}",
                )
            for linkage_id in self._following.keys() - wanted:
                self._following.pop(linkage_id).cancel()
            await asyncio.sleep(self._timings.keying)

    async def _follow(self, linkage_id: LinkageId) -> None:
        await self._links.follow(self._broker.linkage, linkage_id)

    async def _house_loop(self) -> None:
        while True:
            await self._mailbox.forget_old()
            await self._disclosure.keep_house()
            async with self._store.transaction() as tx:
                self.metrics.waiting.set(await tx.outbox.count())
            registry = self._trust.last_registry
            self.metrics.trust_expires.set(registry.expires.timestamp() if registry else 0)
            await asyncio.sleep(self._timings.housekeeping)

    async def _witness_loop(self) -> None:
        """Vouches for the broker's log, or says that it is not what it was."""
        wait = min(self._timings.witness, _SOON_SECONDS)  # trust and documents come first at a start
        while True:
            await asyncio.sleep(wait)
            await self._disclosure.watch_broker(self._broker.audit)
            wait = self._timings.witness

    async def _uploads_loop(self) -> None:
        """Uploads what changed, as often as the configuration says."""
        if not self._config.sync_every_minutes:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(self._timings.minute * self._config.sync_every_minutes)
            for linkage_id in await self._agreements():
                await self._upload(linkage_id)

    async def _upload(self, linkage_id: LinkageId) -> None:
        outcome = "OK"
        try:
            await self.sync_linkage(linkage_id, _quiet, full=False)
        except Exception as error:  # noqa: BLE001 - one linkage's fault must not keep the others waiting
            refusal = translate(error)
            outcome = str(refusal.code if refusal else ErrorCode.INTERNAL)
            if refusal is None:
                _log.error("upload failed", linkage=str(linkage_id), exc_info=error)
            else:
                _log.warning("upload refused", linkage=str(linkage_id), code=outcome, detail=refusal.detail)
        self.metrics.uploads.labels(str(linkage_id), outcome).inc()

    async def _agreements(self) -> tuple[LinkageId, ...]:
        now = self._clock()
        registry = self._trust.registry(now)
        async with self._store.transaction() as tx:
            return tuple(item.agreement.id for item in await self._book.agreements(tx, registry, now))

    async def _set_connected(self, connected: bool) -> None:
        self._connected = connected
        self.metrics.connected.set(connected)
        if self._server is not None:
            await self._server.set_connected(connected)

    def _nudge(self) -> None:
        self._news.set()
        self._keying.nudge()
        self._mailbox.nudge()
        self._mailbox.retry()

    # -- what the control service asks (agency_node.rpc.control.NodeServices)

    @property
    def disclosure(self) -> DisclosureService:
        """Requests, approvals, releases and the audit log."""
        return self._disclosure

    async def status(self) -> NodeStatus:
        """Where everything is."""
        registry = self._trust.last_registry
        try:
            keys = await self._keying.statuses()
        except RefusedError:
            keys = ()  # no registry in force: the status page must still come
        async with self._store.transaction() as tx:
            linkages = [
                LinkageStatus(
                    str(item.linkage_id),
                    item.epoch,
                    item.shown,
                    await tx.handles.count(item.linkage_id),
                    await tx.links.count(item.linkage_id),
                    tuple(str(agency) for agency in item.waiting_for),
                )
                for item in keys
            ]
        return NodeStatus(
            agency_id=str(self._keys.agency),
            broker_connected=self._connected,
            registry_version=registry.version if registry else 0,
            registry_expires=registry.expires if registry else None,
            linkages=tuple(linkages),
            waiting=await self._disclosure.waiting(),
        )

    async def sync_linkage(self, linkage_id: LinkageId, report: Report, *, full: bool) -> None:
        """Uploads what changed, or everything."""

        async def observed(progress: Progress) -> None:
            if progress.problems is not None:
                self.metrics.observe_reading(str(linkage_id), progress.problems)
            await report(progress)

        final = await self._sync.sync(self._broker.linkage, linkage_id, observed, full=full)
        self.metrics.subjects_kept.labels(str(linkage_id)).set(final.counts["subjects_kept"])

    async def run_linkage(self, linkage_id: LinkageId, report: Report) -> None:
        """Has the broker match, then takes in what this agency may know of the result.

        Raises:
            RefusedError: the run failed or was cancelled; what the broker refuses.
        """
        current = await self._broker.linkage.epoch(linkage_id)
        run_id = await self._broker.linkage.start_run(linkage_id, current.epoch)
        state = RunState.QUEUED
        async for progress in self._broker.linkage.watch_run(run_id):
            state = progress.state
            if state is RunState.FAILED:
                raise RefusedError(ErrorCode.INTERNAL, progress.message or "the matching run failed")
            if state is RunState.CANCELLED:
                raise RefusedError(ErrorCode.CANCELLED, "the matching run was cancelled")
            await report(Progress(progress.stage or state.value, progress.done, progress.total))
        await self._links.follow(self._broker.linkage, linkage_id, follow=False)
        async with self._store.transaction() as tx:
            links = await tx.links.count(linkage_id)
        await report(Progress("done", 1, 1, {"links": links}))

    async def rotate_key(self, linkage_id: LinkageId, reason: RotationReason) -> int:
        """Begins a new epoch."""
        return await self._keying.rotate(self._broker.linkage, linkage_id, reason)

    async def list_links(
        self, linkage_id: LinkageId | None, subject_id: SubjectId | None
    ) -> tuple[SubjectLink, ...]:
        """The links that this agency was told of."""
        async with self._store.transaction() as tx:
            return await self._links.listed(tx, linkage_id, subject_id, self._clock())

    async def publish_document(self, bundle: DocumentBundle) -> str:
        """Verifies a fully signed document here, publishes it, and keeps it.

        Of one that is held here, new statements are kept whether or not the broker takes it.
        """
        now = self._clock()
        registry = self._trust.registry(now)
        published = DocumentBundle(bundle.kind, bundle.document, bundle.statements)
        async with self._store.transaction() as tx:
            await self._book.keep_statements(tx, published, registry, now)
        await self._broker.documents.publish(published)
        async with self._store.transaction() as tx:
            document_hash = await self._book.accept(tx, published, registry, now)
        await self._exchange.publish_status(self._broker.documents, registry, now_due=True)
        self._nudge()
        return document_hash

    async def publish_event(self, document_hash: str, event: bytes) -> None:
        """Applies a lifecycle event here at once, then publishes it; a broker out of reach gets it later."""
        now = self._clock()
        registry = self._trust.registry(now)
        async with self._store.transaction() as tx:
            await self._book.accept_event(tx, document_hash, event, registry, now)
        try:
            await self._broker.documents.publish_event(document_hash, event)
            await self._exchange.publish_status(self._broker.documents, registry, now_due=True)
        except UnavailableError:
            _log.warning("event kept for later: the broker is out of reach", document=document_hash)
        self._nudge()

    async def list_documents(self) -> tuple[HeldDocument, ...]:
        """Every document held."""
        now = self._clock()
        registry = self._trust.registry(now)
        async with self._store.transaction() as tx:
            return await self._book.listed(tx, registry, now)


def _audit_log(keys: NodeKeys, clock: Clock) -> AuditLog:
    return AuditLog(keys, keys.audit_wrapper, clock)


async def _quiet(_progress: Progress) -> None:
    """Nobody is watching."""


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came within that time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


def _warn_of_expiry(certificate: bytes, now: datetime) -> None:
    try:
        expires = certificate_expiry(certificate)
    except PkiError as error:
        raise NodeConfigError(f"tls.certificate: {error}") from None
    if expires - now < _WARN_BEFORE_EXPIRY:
        _log.warning("certificate expires soon", expires=expires.isoformat())


def _locked(path: Path) -> IO[str]:
    try:
        return locked(path)
    except BlockingIOError:
        raise NodeConfigError(f"another node is using {path.parent}; stop it first") from None


def _empty(spool: Path) -> None:
    try:
        empty_spool(spool)
    except OSError as error:
        raise NodeConfigError(
            f"{spool}: what an earlier run left there cannot be deleted ({error.strerror}); delete it"
        ) from None

"""The node's store: one unit of work at a time over all repositories.

Everything that must hold together (an audit entry and the release it is about, a message's effect and the
note that it had it) happens in one transaction; what leaves the node is read from what was committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from agency_node.store.audit import AuditRepository
from agency_node.store.documents import DocumentRepository
from agency_node.store.engine import open_engine
from agency_node.store.epochs import EpochRepository
from agency_node.store.handles import HandleRepository
from agency_node.store.links import LinkRepository
from agency_node.store.mail import InboxRepository, OutboxRepository
from agency_node.store.orders import OrderRepository
from agency_node.store.peer_logs import PeerLogRepository
from agency_node.store.releases import ReleaseRepository, RetentionRepository
from agency_node.store.requests import ApprovalRepository, EmergencyRepository, RequestRepository
from agency_node.store.supervision import ConflictRepository, PushRepository, SupervisionRepository
from agency_node.store.trust import TrustRepository
from agency_node.store.uploads import UploadRepository


class NodeTransaction:
    """The repositories of one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self.trust = TrustRepository(session)
        self.documents = DocumentRepository(session)
        self.epochs = EpochRepository(session)
        self.handles = HandleRepository(session)
        self.uploads = UploadRepository(session)
        self.links = LinkRepository(session)
        self.outbox = OutboxRepository(session)
        self.inbox = InboxRepository(session)
        self.audit = AuditRepository(session)
        self.peer_logs = PeerLogRepository(session)
        self.requests = RequestRepository(session)
        self.approvals = ApprovalRepository(session)
        self.emergencies = EmergencyRepository(session)
        self.releases = ReleaseRepository(session)
        self.retention = RetentionRepository(session)
        self.supervision = SupervisionRepository(session)
        self.conflicts = ConflictRepository(session)
        self.pushes = PushRepository(session)
        self.orders = OrderRepository(session)


class NodeStore:
    """A node's database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        # SQLite has one writer: its transactions queue here, in order, instead of polling the file's lock.
        self._turn = asyncio.Lock() if engine.dialect.name == "sqlite" else None
        self._within: asyncio.Task[object] | None = None

    @classmethod
    def open(cls, url: str) -> NodeStore:
        """The store at a database URL; its tables must have been migrated.

        Raises:
            StoreError: the URL cannot be used.
        """
        return cls(open_engine(url))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[NodeTransaction]:
        """One unit of work: durable when the context ends, undone when an exception leaves it."""
        if self._turn is None:
            async with self._sessions.begin() as session:
                yield NodeTransaction(session)
            return
        task = asyncio.current_task()
        if task is not None and self._within is task:
            raise AssertionError("a transaction within a transaction would wait for itself: pass `tx` on")
        async with self._turn:
            self._within = task
            try:
                async with self._sessions.begin() as session:
                    yield NodeTransaction(session)
            finally:
                self._within = None

    async def close(self) -> None:
        """Closes the connections."""
        await self.engine.dispose()

"""What disclosure builds upon: the node's services, made once in `agency_node.app`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from agency_node.config import NodeConfig
from agency_node.documents import PolicyBook
from agency_node.key_service import KeyRing
from agency_node.keys import NodeKeys
from agency_node.links import LinkBook
from agency_node.mailbox import Mailbox
from agency_node.ports import AuditSink, Clock
from agency_node.rpc.ports import (
    DisclosureService,
    PictureItem,
    PreparedDocument,
    RequestDetail,
    RequestDraft,
    RequestSummary,
    Waiting,
)
from agency_node.store.store import NodeStore
from agency_node.subjects import SubjectId
from agency_node.trust import TrustKeeper
from protos.wire.errors import ErrorCode, RefusedError


@dataclass(frozen=True, slots=True)
class NodeParts:
    """The node's infrastructure."""

    config: NodeConfig
    keys: NodeKeys
    store: NodeStore
    trust: TrustKeeper
    book: PolicyBook
    mailbox: Mailbox
    ring: KeyRing
    links: LinkBook
    audit: AuditSink
    clock: Clock


#: Makes the disclosure service, which registers its message handlers with `parts.mailbox`.
BuildDisclosure = Callable[[NodeParts], DisclosureService]
#: Makes the audit log.
BuildAudit = Callable[[NodeKeys, Clock], AuditSink]


class NullDisclosure:
    """For a node that takes part in linkage only: it asks for nothing and answers nothing."""

    def __init__(self, parts: NodeParts) -> None:
        self._agency = parts.keys.agency

    async def prepare_request(self, draft: RequestDraft) -> PreparedDocument:
        raise self._refusal()

    async def submit_request(self, envelope: bytes) -> str:
        raise self._refusal()

    async def list_requests(self, direction: str) -> Sequence[RequestSummary]:
        return ()

    async def get_request(self, request_id: str) -> RequestDetail:
        raise self._refusal()

    async def prepare_approval(
        self, request_id: str, decision: str, reason: str, officer: str, role: str
    ) -> PreparedDocument:
        raise self._refusal()

    async def submit_approval(self, envelope: bytes) -> str:
        raise self._refusal()

    async def picture(self, subject_id: SubjectId) -> Sequence[PictureItem]:
        raise self._refusal()

    async def export_audit(self) -> AsyncGenerator[tuple[str, bytes], None]:
        if self._agency:
            raise self._refusal()
        yield "", b""

    async def waiting(self) -> Waiting:
        return Waiting(0, 0, 0)

    async def keep_house(self) -> None:
        return

    def _refusal(self) -> RefusedError:
        return RefusedError(ErrorCode.NOT_ALLOWED, f"the node of {self._agency} takes part in linkage only")

"""What disclosure builds upon: the node's services, made once in `agency_node.app`."""

from __future__ import annotations

from collections.abc import Callable
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
)
from agency_node.store.store import NodeStore
from agency_node.trust import TrustKeeper


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

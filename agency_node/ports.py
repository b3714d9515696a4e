"""Ports between the node's services, named by role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction
from crypto.canonical import JsonInput
from crypto.keys import SealingPrivateKey, Signer
from policies.ids import AgencyId, FederationId

#: Gives the present moment, UTC aware. Passed in, so that tests decide what time it is.
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Append:
    """One audit entry to append; `subject` is this agency's own number, kept in the sealed details only."""

    action: AuditAction
    actor: str
    body: Mapping[str, JsonInput] = field(repr=False)
    subject: SubjectId | None = field(default=None, repr=False)
    policy: str | None = None
    ref: str | None = None


class AuditSink(Protocol):
    """The node's audit log. An entry is durable exactly when the transaction's other effects are."""

    async def append(
        self,
        tx: NodeTransaction,
        action: AuditAction,
        *,
        actor: str,
        body: Mapping[str, JsonInput],
        subject: SubjectId | None = None,
        policy: str | None = None,
        ref: str | None = None,
    ) -> None:
        """One entry. `actor` is an agency or person id, `policy` a document hash, `ref` a reference hash."""
        ...

    async def append_all(self, tx: NodeTransaction, items: Sequence[Append]) -> None:
        """Several entries in order; far cheaper than one by one."""
        ...


class NodeIdentity(Protocol):
    """Who this node is, and the private keys by which others know it."""

    @property
    def federation(self) -> FederationId: ...

    @property
    def agency(self) -> AgencyId: ...

    @property
    def signer(self) -> Signer: ...

    @property
    def sealing_keys(self) -> tuple[SealingPrivateKey, ...]:
        """The present sealing key first, then those that messages under way may still be sealed to."""
        ...

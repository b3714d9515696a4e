"""An audit log that only remembers, for tests that look at something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agency_node.ports import Append
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction
from crypto.canonical import JsonInput


class RecordedAudit:
    """Audit entries as a list."""

    def __init__(self) -> None:
        self.entries: list[tuple[AuditAction, Mapping[str, JsonInput]]] = []

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
        self.entries.append((action, dict(body)))

    async def append_all(self, tx: NodeTransaction, items: Sequence[Append]) -> None:
        self.entries += [(item.action, dict(item.body)) for item in items]

    def actions(self) -> list[AuditAction]:
        return [action for action, _ in self.entries]

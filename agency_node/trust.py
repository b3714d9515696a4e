"""Whom this node believes: the federation's registry, walked to from the anchor that enrolment fixed.

The broker hands trust documents over and can withhold them, but every byte is signed by the federation's root
keys. A withheld registry expires, and without one in force the node refuses to decide anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from agency_node.errors import NodeError
from agency_node.ports import AuditSink, Clock
from agency_node.store.store import NodeStore, NodeTransaction
from crypto.audit import AuditAction
from crypto.envelope import Envelope
from policies.audit_names import trust_reference
from policies.codec import open_document
from policies.errors import TrustError
from policies.ids import AgencyId, Hash256
from policies.registry import Registry
from policies.root import Root
from policies.trust import MAX_ROOT_UPDATES, TrustedRegistry
from protos.wire.errors import ErrorCode, RefusedError

_log = structlog.get_logger("trust")


class TrustKeeper:
    """Keeps the chain of roots and the newest registry; nothing enters that the roots have not signed."""

    def __init__(
        self, store: NodeStore, audit: AuditSink, agency: AgencyId, anchor: Hash256, clock: Clock
    ) -> None:
        self._store = store
        self._audit = audit
        self._agency = agency
        self._anchor = anchor
        self._clock = clock
        self._trusted: TrustedRegistry | None = None

    async def load(self) -> None:
        """Walks from the anchor to what the store holds.

        Raises:
            NodeError: the node is not enrolled. TrustError: the store's documents do not follow the anchor.
        """
        async with self._store.transaction() as tx:
            roots = await tx.trust.roots()
            registry = await tx.trust.registry()
        if not roots:
            raise NodeError("the node is not enrolled; run `tallystick node enrol` with the office's answer")
        self._trusted = TrustedRegistry.replayed(self._anchor, roots, registry, self._clock())

    def registry(self, now: datetime) -> Registry:
        """The registry in force.

        Raises:
            RefusedError: TRUST_EXPIRED where there is none, or its time or the root's is up.
        """
        try:
            return self._state().current(now)
        except TrustError as error:
            raise RefusedError(ErrorCode.TRUST_EXPIRED, str(error)) from None

    @property
    def last_registry(self) -> Registry | None:
        """The newest registry that was ever accepted, even if it has expired: for status pages only."""
        return self._state().registry

    @property
    def root_version(self) -> int:
        """The version of the last root."""
        return self._state().root.version

    async def offer(self, roots: Sequence[bytes], registry: bytes) -> bool:
        """Takes newer trust documents; returns whether anything changed. A refusal changes nothing.

        Raises:
            TrustError: a rollback, a skipped root, signatures below the threshold, an expired document.
        """
        trusted = before = self._state()
        if len(roots) > MAX_ROOT_UPDATES:
            raise TrustError(f"at most {MAX_ROOT_UPDATES} roots are walked at once")
        accepted: list[tuple[int, bytes]] = []
        for envelope in roots:
            if open_document(Root, Envelope.from_bytes(envelope)).version > trusted.root.version:
                trusted = trusted.update_root(envelope)
                accepted.append((trusted.root.version, envelope))
        if registry:
            trusted = trusted.update_registry(registry, self._clock())
        new_registry = trusted.registry if trusted.registry != before.registry else None
        if not accepted and new_registry is None:
            return False
        async with self._store.transaction() as tx:
            for version, envelope in accepted:
                await tx.trust.add_root(version, envelope)
            await keep_accepted(tx, self._audit, self._agency, trusted)
        self._trusted = trusted
        return True

    def _state(self) -> TrustedRegistry:
        if self._trusted is None:
            raise AssertionError("TrustKeeper.load comes first")
        return self._trusted


async def keep_accepted(
    tx: NodeTransaction, audit: AuditSink, agency: AgencyId, trusted: TrustedRegistry
) -> None:
    """Keeps what is believed from now on, with the audit entry from which on the log is judged by it."""
    version = trusted.registry.version if trusted.registry else 0
    held = trusted.registry_envelope
    await tx.trust.add_registry(trusted.root.version, None if held is None else held.to_bytes())
    await audit.append(
        tx,
        AuditAction.REGISTRY_ACCEPTED,
        actor=str(agency),
        body={"version": version, "root_version": trusted.root.version},
        ref=trust_reference(trusted),
    )
    _log.info("trust renewed", root=trusted.root.version, registry=version)


async def begin_trust(
    store: NodeStore,
    audit: AuditSink,
    agency: AgencyId,
    anchor: Hash256,
    roots: Sequence[bytes],
    registry: bytes,
    now: datetime,
    check: Callable[[Registry], None],
) -> Registry:
    """Verifies an enrolment answer's trust documents from the anchor on and keeps them; returns the registry.

    `check` may refuse the verified registry by raising; then nothing is kept. The answer is measured against
    what is held already: enrolling again, for a new certificate, never goes back in versions, and never to
    root keys that were replaced.

    Raises:
        TrustError: they do not lead from the anchor to a registry in force, or to an older one.
    """
    if not roots:
        raise TrustError("the answer carries no root")
    async with store.transaction() as tx:
        held = await tx.trust.roots()
        if any(mine != theirs for mine, theirs in zip(held, roots, strict=False)):
            raise TrustError("this node is enrolled under other roots; start with an empty data folder")
        held_registry = await tx.trust.registry()
        trusted = TrustedRegistry.replayed(anchor, held or roots[:1], held_registry, now)
        if not held:
            await tx.trust.add_root(trusted.root.version, roots[0])
        for envelope in roots[max(1, len(held)) :]:
            trusted = trusted.update_root(envelope)
            await tx.trust.add_root(trusted.root.version, envelope)
        trusted = trusted.update_registry(registry, now)
        check(trusted.current(now))
        if held_registry != registry or len(held) < len(roots):
            await keep_accepted(tx, audit, agency, trusted)
    return trusted.current(now)

"""Who may call: the registry in force, and the peers that it knows.

The broker hands the trust documents on and relies on them itself; it cannot alter them, for every byte is
signed by the federation's root keys. Without a registry in force nobody is more than a member, and a member
may fetch and offer trust documents only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from broker.audit import AuditLog, Clock
from broker.store.ports import BrokerStore, Transaction
from crypto.audit import AuditAction
from crypto.canonical import JsonInput
from crypto.envelope import Envelope
from crypto.errors import PkiError
from crypto.pki import PeerRole, parse_spiffe
from policies.errors import ExpiredError, TrustError
from policies.ids import Hash256
from policies.registry import Registry
from policies.trust import TrustedRegistry
from protos.wire.access import Caller
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS
from protos.wire.peers import Peer

_log = structlog.get_logger("trust")
_MEMBER = frozenset({Caller.MEMBER})
_AGENCY = frozenset({Caller.AGENCY, Caller.MEMBER})
#: Refusals are counted by peer and code until the next audit entry; peers beyond this share one count.
_REFUSALS_KEPT = 256


@dataclass(frozen=True, slots=True)
class TrustDocuments:
    """Root envelopes, versions ascending, and the newest registry's envelope, empty if there is none."""

    roots: tuple[bytes, ...]
    registry: bytes


class TrustService:
    """Holds the federation's trust state and authenticates peers against it."""

    def __init__(self, store: BrokerStore, audit: AuditLog, federation: str, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._federation = federation
        self._clock = clock
        self._trusted: TrustedRegistry | None = None
        self._refusals: Counter[tuple[str, str]] = Counter()

    async def load(self, anchor: bytes) -> None:
        """Walks from the anchor, the first root's envelope given out of band, to what the store holds.

        Raises:
            TrustError: the anchor is no root, or the store was begun with another one.
        """
        first = TrustedRegistry.from_anchor(anchor, Hash256(Envelope.from_bytes(anchor).digest))
        if first.root.federation != self._federation:
            raise TrustError(
                f"the anchor is of {first.root.federation}, the configuration of {self._federation}"
            )
        async with self._store.write() as tx:
            held = await tx.trust.roots()
            if not held:
                await tx.trust.add_root(first.root.version, anchor)
                held = ((first.root.version, anchor),)
            if held[0][1] != anchor:
                raise TrustError("this database was begun with another root anchor; check `anchor`")
            registry = await tx.trust.registry()
        now = self._clock()
        self._trusted = TrustedRegistry.replayed(
            Hash256(first.root_envelope.digest),
            [envelope for _, envelope in held],
            registry[1] if registry else None,
            now,
        )
        self._warn_of_expiry(now)
        self._warn_of_key()

    def registry(self) -> Registry:
        """The registry in force.

        Raises:
            RefusedError: TRUST_EXPIRED where there is none, or its time or the root's is up.
        """
        try:
            return self._state().current(self._clock())
        except ExpiredError as error:
            raise RefusedError(ErrorCode.TRUST_EXPIRED, str(error)) from None
        except TrustError:
            raise RefusedError(
                ErrorCode.TRUST_EXPIRED, "the broker holds no registry yet; publish the federation's registry"
            ) from None

    def key_problem(self) -> str | None:
        """What is wrong with the audit log's key by the registry held; None if nothing is."""
        registry = self._state().registry
        if registry is None or registry.broker_verify_key == self._audit.verify_key:
            return None
        return (
            f"audit.key: registry version {registry.version} lists another key for the broker "
            f"({registry.broker_verify_key.key_id[:16]}..., not {self._audit.verify_key.key_id[:16]}...): "
            "nobody can verify its log. Configure the listed key, or have the office list this one"
        )

    def _warn_of_expiry(self, now: datetime) -> None:
        state = self._state()
        if state.registry is not None:
            try:
                state.current(now)
            except ExpiredError as error:
                _log.warning("registry expired", reason=str(error))

    def _warn_of_key(self) -> None:
        problem = self.key_problem()
        if problem:
            _log.error("audit key not listed", reason=problem)

    def authenticate(self, uri: str) -> Peer:
        """The peer whose certificate bears this SPIFFE URI.

        Raises:
            RefusedError: NO_CERTIFICATE for another kind of name, WRONG_FEDERATION.
        """
        try:
            identity = parse_spiffe(uri)
        except PkiError as error:
            raise RefusedError(ErrorCode.NO_CERTIFICATE, str(error)) from None
        if identity.federation != self._federation:
            self._count_refusal(uri, ErrorCode.WRONG_FEDERATION)
            raise RefusedError(
                ErrorCode.WRONG_FEDERATION,
                f"the certificate is of {identity.federation}; this broker serves {self._federation}",
            )
        if identity.role is not PeerRole.AGENCY:
            return Peer(_MEMBER, None)
        try:
            agency = self.registry().agency(identity.id)
        except RefusedError as no_registry:
            return Peer(_MEMBER, identity.id, no_registry)
        if agency is None or agency.spiffe != uri:
            self._count_refusal(uri, ErrorCode.NOT_A_MEMBER)
            refusal = RefusedError(
                ErrorCode.NOT_A_MEMBER,
                f"the registry in force does not list agency {identity.id}; ask the federation to add it",
            )
            return Peer(_MEMBER, identity.id, refusal)
        return Peer(_AGENCY, identity.id)

    async def documents(self, known_root_version: int) -> TrustDocuments:
        """The roots after a version, and the newest registry."""
        async with self._store.read() as tx:
            roots = await tx.trust.roots()
            registry = await tx.trust.registry()
        newer = tuple(envelope for version, envelope in roots if version > known_root_version)
        return TrustDocuments(newer[: LIMITS.roots_per_answer], registry[1] if registry else b"")

    async def publish(self, roots: Sequence[bytes], registry: bytes) -> tuple[int, int]:
        """Takes newer trust documents; returns the root's and the registry's version (0 if none).

        Documents that are held already are passed over, so that publishing twice is harmless.
        """
        for envelope in (*roots, registry):
            if len(envelope) > LIMITS.document_bytes or len(roots) > LIMITS.roots_per_answer:
                raise RefusedError(
                    ErrorCode.TOO_LARGE, f"a trust document has at most {LIMITS.document_bytes} bytes"
                )
        async with self._store.write() as tx:
            held = {envelope for _, envelope in await tx.trust.roots()}
            trusted = self._state()
            for envelope in roots:
                if envelope not in held:
                    trusted = trusted.update_root(envelope)
                    await tx.trust.add_root(trusted.root.version, envelope)
            changed = await self._take_registry(tx, trusted, registry) if registry else trusted
        self._trusted = changed
        self._warn_of_key()
        return changed.root.version, changed.registry.version if changed.registry else 0

    async def write_refusals(self) -> None:
        """Puts the refusals of identity since the last call into the audit log."""
        refusals, self._refusals = self._refusals, Counter()
        if refusals:
            async with self._store.write() as tx:
                for (peer, code), count in sorted(refusals.items()):
                    body: dict[str, JsonInput] = {"peer": peer, "code": code, "count": count}
                    await self._audit.append(tx, AuditAction.IDENTITY_REFUSED, body)

    async def _take_registry(
        self, tx: Transaction, trusted: TrustedRegistry, registry: bytes
    ) -> TrustedRegistry:
        updated = trusted.update_registry(registry, self._clock())
        held = await tx.trust.registry()
        if updated.registry is None:
            raise AssertionError("update_registry returns a registry or raises")
        if held is None or held[1] != registry:
            await tx.trust.put_registry(updated.registry.version, registry)
            await self._audit.append(
                tx,
                AuditAction.REGISTRY_ACCEPTED,
                {"version": updated.registry.version, "root_version": updated.root.version},
            )
        return updated

    def _state(self) -> TrustedRegistry:
        if self._trusted is None:
            raise AssertionError("TrustService.load comes first")
        return self._trusted

    def _count_refusal(self, peer: str, code: ErrorCode) -> None:
        known = (peer, str(code)) in self._refusals or len(self._refusals) < _REFUSALS_KEPT
        self._refusals[(peer if known else "others", str(code))] += 1

"""The policies in an audit export: was the one that decided fully signed, in time, and not stopped just then?

The log says when this node learned of each suspension, revocation and reactivation; the documents beside it
hold the signed events in the same order. A release is measured against the events and newer versions that
were in the log before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from agency_node.audit_export import DOCUMENTS
from crypto.audit import AuditAction, AuditLeaf
from crypto.canonical import parse_canonical, require_object, require_text, unb64u
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.codec import open_document
from policies.errors import DocumentError, LifecycleError, PolicyError
from policies.ids import Hash256
from policies.lifecycle import PolicyState, Stage, apply_event, verify_event
from policies.registry import Registry
from policies.sharing import SharingPolicy
from policies.signing import SignedDocument
from policies.statements import PolicyAction, PolicyEvent
from policies.succession import stage_among
from policies.verified import verify_policy

_FIELDS = frozenset({"hash", "kind", "document", "statements", "events"})
_LINE_BYTES = 64 * 1024 * 1024
_NOTED = frozenset({AuditAction.POLICY_SUSPENDED, AuditAction.POLICY_REVOKED, AuditAction.POLICY_REACTIVATED})
_STOPPING = frozenset({PolicyAction.SUSPEND, PolicyAction.REVOKE})

Complain = Callable[[str, str], None]


@dataclass(slots=True)
class _Held:
    policy: SharingPolicy
    #: Why its signatures are not enough, empty if they are.
    unsigned: str
    events: tuple[Envelope, ...]
    noted: int = 0
    accepted: bool = False


@dataclass(slots=True)
class PolicyHistory:
    """The policies of an export, replayed alongside the log."""

    registry: Registry
    held: dict[str, _Held] = field(default_factory=dict)

    @classmethod
    def read(
        cls, folder: Path, registry: Registry, exported_at: datetime, complain: Complain
    ) -> PolicyHistory:
        """The policies in the export's documents; what cannot be read is complained of."""
        history = cls(registry)
        with (folder / DOCUMENTS).open("rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    history._take(line.removesuffix(b"\n"), exported_at)
                except (CryptoError, PolicyError) as error:
                    complain("documents", f"{DOCUMENTS}, line {number}: {error}")
        return history

    @property
    def review_times(self) -> list[timedelta]:
        """Within which time each policy wants break-glass reviewed."""
        rules = [item.policy.emergency for item in self.held.values()]
        return [timedelta(hours=rule.review_hours) for rule in rules if rule is not None]

    def note(self, leaf: AuditLeaf) -> None:
        """The log has come to this entry."""
        held = self.held.get(leaf.policy or "")
        if held is None:
            return
        if leaf.action in _NOTED:
            held.noted += 1
        held.accepted |= leaf.action is AuditAction.POLICY_ACCEPTED

    def objections(self, release: AuditLeaf) -> Iterator[str]:
        """Why the policy of a release was not good for it."""
        held = self.held.get(release.policy or "")
        if held is None:
            yield "something was released under a policy that the export does not hold"
            return
        if held.unsigned:
            yield f"something was released under a policy that is not fully signed: {held.unsigned}"
            return
        if held.noted > len(held.events):
            yield "events of the policy of a release are missing from the export"
            return
        stage = self._stage(held, release.policy or "", release.time)
        if stage is not Stage.ACTIVE or not held.policy.in_force(release.time):
            word = stage.value if stage is not Stage.ACTIVE else "out of its time"
            yield f"something was released under a policy that was {word}"

    def unlogged(self) -> Iterator[str]:
        """Events in the documents that the log does not know."""
        for held in self.held.values():
            if held.noted < len(held.events):
                yield f"policy {held.policy.id} has events that are not in the log yet"

    def _take(self, line: bytes, exported_at: datetime) -> None:
        value = require_object(parse_canonical(line, max_bytes=_LINE_BYTES), _FIELDS, "a document")
        statements, events = value["statements"], value["events"]
        if not isinstance(statements, list) or not isinstance(events, list):
            raise DocumentError("statements and events are lists")
        signed = SignedDocument(
            Envelope.from_bytes(unb64u(require_text(value["document"], "document"))),
            tuple(Envelope.from_bytes(unb64u(require_text(item, "statement"))) for item in statements),
        )
        if signed.digest != value["hash"]:
            raise DocumentError("the document is not the one that its hash names")
        if value["kind"] != "sharing-policy":
            return
        policy = open_document(SharingPolicy, signed.document)
        try:
            verify_policy(signed, self.registry, exported_at).quorum.require()
            unsigned = ""
        except (CryptoError, PolicyError) as error:
            unsigned = str(error)
        opened = tuple(Envelope.from_bytes(unb64u(require_text(item, "event"))) for item in events)
        self.held[signed.digest] = _Held(policy, unsigned, opened)

    def _stage(self, held: _Held, digest: str, moment: datetime) -> Stage:
        state = PolicyState(Hash256(digest), Stage.SIGNED, 0, held.policy.not_before)
        for envelope in held.events[: held.noted]:
            event = open_document(PolicyEvent, envelope)
            try:
                verified = verify_event(envelope, held.policy, self.registry, event.signed_at)
                state = apply_event(state, verified, held.policy, self.registry, event.signed_at)
            except (CryptoError, LifecycleError):
                if event.action in _STOPPING:
                    return Stage.SUSPENDED
        accepted = [item.policy for item in self.held.values() if item.accepted]
        return stage_among(state, held.policy, accepted, moment)

"""The policies in an audit export: was the one that decided fully signed, in time, and not stopped just then?

The log says when this node learned of each suspension, revocation and reactivation; the documents beside it
hold the signed events in the same order. Each event is judged when its entry comes, and each decision and
release by the events and newer versions that were in the log before it: by the registry of that entry, as the
node did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from agency_node.audit_manifest import DOCUMENTS
from agency_node.audit_trust import TrustHistory
from crypto.audit import AuditAction, AuditLeaf
from crypto.canonical import parse_canonical, require_object, require_text, unb64u
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.audit_names import EVENT_ENTRIES
from policies.codec import open_document
from policies.errors import DocumentError, LifecycleError, PolicyError
from policies.lifecycle import Stage, apply_event, verify_event
from policies.registry import Registry
from policies.replay import state_after
from policies.sharing import SharingPolicy
from policies.signing import SignedDocument
from policies.statements import PolicyEvent, SigningStatement
from policies.succession import stage_among
from policies.verified import verify_policy

_FIELDS = frozenset({"hash", "kind", "document", "statements", "events"})
_LINE_BYTES = 64 * 1024 * 1024
_NOTED = frozenset(EVENT_ENTRIES.values())

Complain = Callable[[str, str, int | None], None]


@dataclass(slots=True)
class _Held:
    policy: SharingPolicy
    signed: SignedDocument
    events: tuple[bytes, ...]
    #: From when on every statement counts by its own words.
    all_dated: datetime
    noted: int = 0
    accepted: bool = False
    #: By number of the span: why the signatures are not enough, empty if they are.
    unsigned: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class PolicyHistory:
    """The policies of an export, replayed alongside the log."""

    trust: TrustHistory
    complain: Complain
    held: dict[str, _Held] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, trust: TrustHistory, complain: Complain) -> PolicyHistory:
        """The policies in the export's documents; what cannot be read is complained of."""
        history = cls(trust, complain)
        with (folder / DOCUMENTS).open("rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    history._take(line.removesuffix(b"\n"))
                except (CryptoError, PolicyError) as error:
                    complain("documents", f"{DOCUMENTS}, line {number}: {error}", None)
        return history

    @property
    def review_times(self) -> dict[str, timedelta]:
        """Within which time each policy wants break-glass reviewed."""
        rules = {digest: item.policy.emergency for digest, item in self.held.items()}
        return {name: timedelta(hours=rule.review_hours) for name, rule in rules.items() if rule is not None}

    def note(self, leaf: AuditLeaf) -> None:
        """The log has come to this entry, which may be about a policy's life."""
        if leaf.action not in _NOTED and leaf.action is not AuditAction.POLICY_ACCEPTED:
            return
        held = self.held.get(leaf.policy or "")
        if held is None:
            self.complain("documents", "the entry is about a policy that the export does not hold", leaf.seq)
        elif leaf.action is AuditAction.POLICY_ACCEPTED:
            held.accepted = True
        else:
            problem = self._problem_with_event(held, leaf)
            held.noted += 1
            if problem:
                self.complain("policy-event", problem, leaf.seq)

    def objections(self, decision: AuditLeaf) -> Iterator[str]:
        """Why the policy of a decision or a release was not good for it."""
        what = "released" if decision.action is AuditAction.DISCLOSURE_RELEASED else "decided"
        held = self.held.get(decision.policy or "")
        if held is None:
            yield f"something was {what} under a policy that the export does not hold"
            return
        registry = self.trust.registry_at(decision.seq)
        if registry is None or decision.time >= registry.expires:
            yield f"something was {what} while no registry was in force"
            return
        unsigned = self._unsigned(held, registry, decision)
        if unsigned:
            yield f"something was {what} under a policy that is not fully signed: {unsigned}"
            return
        if held.noted > len(held.events):
            yield "events of the policy of a decision are missing from the export"
            return
        stage = self._stage(held, registry, decision)
        if stage is not Stage.ACTIVE or not held.policy.in_force(decision.time):
            word = stage.value if stage is not Stage.ACTIVE else "out of its time"
            yield f"something was {what} under a policy that was {word}"

    def unlogged(self) -> Iterator[str]:
        """Events in the documents that the log does not know."""
        for held in self.held.values():
            if held.noted < len(held.events):
                yield f"policy {held.policy.id} has events that are not in the log yet"

    def _take(self, line: bytes) -> None:
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
        dates = [open_document(SigningStatement, item).signed_at for item in signed.statements]
        opened = tuple(unb64u(require_text(item, "event")) for item in events)
        for event in opened:
            open_document(PolicyEvent, Envelope.from_bytes(event))
        self.held[signed.digest] = _Held(policy, signed, opened, max((policy.not_before, *dates)))

    def _problem_with_event(self, held: _Held, leaf: AuditLeaf) -> str:
        """Why the node should not have taken in the event that an entry is about."""
        if held.noted >= len(held.events):
            return "the event that the entry is about is missing from the export"
        envelope = Envelope.from_bytes(held.events[held.noted])
        event = open_document(PolicyEvent, envelope)
        registry = self.trust.registry_at(leaf.seq)
        if EVENT_ENTRIES.get(event.action) is not leaf.action or registry is None:
            return "the entry is not about the event that the export has in its place"
        before = held.events[: held.noted]
        try:
            state = state_after(held.signed.digest, held.policy, before, registry, leaf.time)
            verified = verify_event(envelope, held.policy, registry, leaf.time)
            apply_event(state, verified, held.policy, registry, min(event.signed_at, leaf.time))
        except (CryptoError, PolicyError) as error:
            return f"an event of the policy was taken in that does not count: {error}"
        return ""

    def _unsigned(self, held: _Held, registry: Registry, decision: AuditLeaf) -> str:
        """Found once for each registry, from when on no statement lies ahead."""
        span = self.trust.at(decision.seq)
        if decision.time >= held.all_dated and span in held.unsigned:
            return held.unsigned[span]
        try:
            verify_policy(held.signed, registry, decision.time).quorum.require()
            why = ""
        except (CryptoError, PolicyError) as error:
            why = str(error)
        if decision.time >= held.all_dated:
            held.unsigned[span] = why
        return why

    def _stage(self, held: _Held, registry: Registry, decision: AuditLeaf) -> Stage:
        moment = decision.time
        try:
            events = held.events[: held.noted]
            state = state_after(held.signed.digest, held.policy, events, registry, moment)
        except LifecycleError:
            return Stage.SUSPENDED  # something stopped it, and it is not clear from when to when
        accepted = [item.policy for item in self.held.values() if item.accepted]
        return stage_among(state, held.policy, accepted, moment)

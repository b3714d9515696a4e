"""The state of a fully signed policy after the events accepted for it: the same at node and broker."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.codec import open_document
from policies.errors import LifecycleError, PolicyError
from policies.ids import Hash256, PersonId
from policies.lifecycle import PolicyState, Stage, VerifiedEvent, apply_event, stage_at, verify_event
from policies.quorum import Signatory
from policies.registry import Registry
from policies.sharing import SharingPolicy
from policies.statements import PolicyAction, PolicyEvent

STOPPING = frozenset({PolicyAction.SUSPEND, PolicyAction.REVOKE})
#: Stands for the officer of a stopping event whose key the registry no longer lists.
_FORMER = PersonId("former")


def state_after(
    document_hash: str, policy: SharingPolicy, events: Iterable[bytes], registry: Registry, now: datetime
) -> PolicyState:
    """The state after accepted `events`, each at its own time; a fully signed policy begins as `signed`.

    What stops sharing was verified when it was accepted and goes on counting even if its officer was removed
    from the registry since; what resumes sharing must verify again.

    Raises:
        LifecycleError: a stopping event no longer applies while the policy would still be active.
    """
    state = PolicyState(Hash256(document_hash), Stage.SIGNED, 0, policy.not_before)
    for data in events:
        envelope = Envelope.from_bytes(data)
        event = open_document(PolicyEvent, envelope)
        try:
            verified = verify_event(envelope, policy, registry, event.signed_at)
        except (PolicyError, CryptoError):
            if event.action not in STOPPING:
                continue
            verified = VerifiedEvent(event, Signatory(_FORMER, event.organisation, event.role))
        try:
            state = apply_event(state, verified, policy, registry, min(event.signed_at, now))
        except LifecycleError:
            if event.action in STOPPING and stage_at(state, policy, now) is Stage.ACTIVE:
                raise
    return state

"""The life of one version of a sharing policy: a state machine without I/O.

    draft -> in_review -> partially_signed -> signed -> active <-> suspended
    draft, in_review, partially_signed -> withdrawn; in_review, partially_signed -> rejected
    signed, active, suspended -> revoked | superseded | expired

Order rules. An edit is another document with another hash, so signing starts again. One officer of any party
suspends or revokes; reactivation needs the quorum of the signatures anew, given within `REACTIVATION_TIME`. A
suspension of what is suspended makes another state, to whose reactivation nobody has agreed yet. Time alone
makes a signed policy active and an old one expired: `stage_at` says so, nothing needs to run for it. Every
event names the `sequence` of the state that its officer saw: only the present state's counts, but a
suspension counts from the last reactivation on, and a revocation always, for whoever stops sharing must not
lose a race. Terminal stages admit nothing. Whether a version is superseded does not depend on its own state:
see `policies.succession`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from crypto.envelope import Envelope, sign_envelope
from crypto.keys import Signer
from policies.codec import document_hash, open_document, payload_type, write
from policies.errors import LifecycleError
from policies.ids import Hash256
from policies.quorum import ACCOUNTABLE, Signatory, policy_rule, role_title, unfilled
from policies.registry import Officer, Registry
from policies.sharing import SharingPolicy
from policies.signing import CLOCK_SKEW, Quorum, signing_officer
from policies.statements import PolicyAction, PolicyEvent
from policies.vocabulary import OfficerRole


class Stage(StrEnum):
    """Where a policy is in its life."""

    DRAFT = "draft"
    IN_REVIEW = "in_review"
    PARTIALLY_SIGNED = "partially_signed"
    SIGNED = "signed"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


UNSIGNED = frozenset({Stage.DRAFT, Stage.IN_REVIEW, Stage.PARTIALLY_SIGNED})
IN_LIFE = frozenset({Stage.SIGNED, Stage.ACTIVE, Stage.SUSPENDED})
_MAY_STOP = (*ACCOUNTABLE, OfficerRole.CALDICOTT_GUARDIAN, OfficerRole.PRIVACY_OFFICER, OfficerRole.DPO)
_MAY_SIGN = (*ACCOUNTABLE, OfficerRole.CALDICOTT_GUARDIAN)
_ROLES = {
    PolicyAction.SUBMIT: (*_MAY_STOP, OfficerRole.SUPERVISOR),
    PolicyAction.WITHDRAW: _MAY_STOP,
    PolicyAction.SUSPEND: _MAY_STOP,
    PolicyAction.REVOKE: _MAY_SIGN,
    PolicyAction.REACTIVATE: _MAY_SIGN,
}
_FROM = {
    PolicyAction.SUBMIT: frozenset({Stage.DRAFT}),
    PolicyAction.WITHDRAW: UNSIGNED,
    PolicyAction.SUSPEND: IN_LIFE,
    PolicyAction.REVOKE: IN_LIFE,
    PolicyAction.REACTIVATE: frozenset({Stage.SUSPENDED}),
}
_TO = {
    PolicyAction.SUBMIT: Stage.IN_REVIEW,
    PolicyAction.WITHDRAW: Stage.WITHDRAWN,
    PolicyAction.SUSPEND: Stage.SUSPENDED,
    PolicyAction.REVOKE: Stage.REVOKED,
    PolicyAction.REACTIVATE: Stage.SIGNED,
}


#: From the first signature of a reactivation to its last, and from each to its arrival. Whoever agreed did so
#: for what was known then; a week is enough to ask everybody.
REACTIVATION_TIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Consent:
    """One officer's signature for a reactivation."""

    signatory: Signatory
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The state of one document. `consents` are the signatures for a reactivation under way."""

    document_hash: Hash256
    stage: Stage
    sequence: int
    since: datetime
    resumed_at_sequence: int = 0
    consents: tuple[Consent, ...] = ()

    def _moved(self, stage: Stage, now: datetime) -> "PolicyState":
        return replace(self, stage=stage, sequence=self.sequence + 1, since=now, consents=())


@dataclass(frozen=True, slots=True)
class VerifiedEvent:
    """An event whose signature, officer and role have been checked against the registry."""

    event: PolicyEvent
    signatory: Signatory


def draft(policy: SharingPolicy, now: datetime) -> PolicyState:
    """The state in which every document begins."""
    return PolicyState(Hash256(document_hash(policy)), Stage.DRAFT, 0, now)


def edit(state: PolicyState, edited: SharingPolicy, now: datetime) -> PolicyState:
    """Start again with an edited document; a signed one is never edited, but superseded."""
    if state.stage not in UNSIGNED | {Stage.REJECTED, Stage.WITHDRAWN}:
        raise LifecycleError(f"a policy that is {state.stage.value} cannot be edited: make a new version")
    return draft(edited, now)


def sign_event(event: PolicyEvent, signer: Signer) -> Envelope:
    """The event in an envelope signed by the officer."""
    return sign_envelope(payload_type(PolicyEvent), write(event), [signer])


def verify_event(
    envelope: Envelope, policy: SharingPolicy, registry: Registry, now: datetime
) -> VerifiedEvent:
    """Check who signed an event: LifecycleError if the officer may not, SignatureError if forged."""
    event = open_document(PolicyEvent, envelope)
    officer = signing_officer(envelope, registry)
    if officer is None:
        raise LifecycleError("the event is signed by a key that the registry does not list")
    if event.policy != policy.id or event.document_hash != document_hash(policy):
        raise LifecycleError("the event is about another policy or another version of it")
    _require_entitled(officer, event, policy, now)
    return VerifiedEvent(event, Signatory(officer.person, officer.organisation, event.role))


def apply_event(
    state: PolicyState, verified: VerifiedEvent, policy: SharingPolicy, registry: Registry, now: datetime
) -> PolicyState:
    """The next state; raises LifecycleError if the event is not allowed in this one."""
    event = verified.event
    if event.document_hash != state.document_hash:
        raise LifecycleError("the event is about another version of the policy")
    stage = stage_at(state, policy, now)
    if stage not in _FROM[event.action]:
        raise LifecycleError(f"a policy that is {stage.value} cannot {event.action.value}")
    if not _sequence_fits(state, event):
        raise LifecycleError("the event was signed for an earlier state of the policy: sign it anew")
    if event.action is PolicyAction.REACTIVATE:
        return _reactivated(state, verified, policy, registry, now)
    return state._moved(_TO[event.action], now)


def apply_quorum(state: PolicyState, quorum: Quorum, now: datetime) -> PolicyState:
    """The next state after another statement has been counted; the same state if nothing changes."""
    if state.stage not in (Stage.IN_REVIEW, Stage.PARTIALLY_SIGNED):
        raise LifecycleError(f"a policy that is {state.stage.value} is not open for signatures")
    if quorum.rejected_by:
        return state._moved(Stage.REJECTED, now)
    if quorum.met:
        return state._moved(Stage.SIGNED, now)
    if quorum.counted and state.stage is Stage.IN_REVIEW:
        return state._moved(Stage.PARTIALLY_SIGNED, now)
    return state


def stage_at(state: PolicyState, policy: SharingPolicy, now: datetime) -> Stage:
    """The stage at `now`: a signed policy becomes active, and any in life expires, by time alone."""
    if state.stage in IN_LIFE and now >= policy.not_after:
        return Stage.EXPIRED
    if state.stage is Stage.SIGNED and now >= policy.not_before:
        return Stage.ACTIVE
    return state.stage


def _require_entitled(officer: Officer, event: PolicyEvent, policy: SharingPolicy, now: datetime) -> None:
    if event.organisation != officer.organisation or policy.party(officer.organisation) is None:
        raise LifecycleError(f"{officer.person} does not act for a party of this policy")
    if event.role not in officer.roles or event.role not in _ROLES[event.action]:
        raise LifecycleError(f"{officer.person} may not {event.action.value} as {role_title(event.role)}")
    if not officer.valid_at(event.signed_at) or not officer.valid_at(now):
        raise LifecycleError(f"{officer.person} is no longer in post")
    if event.signed_at > now + CLOCK_SKEW:
        raise LifecycleError("the event is dated in the future")
    if event.action is PolicyAction.REACTIVATE and event.signed_at < now - REACTIVATION_TIME:
        raise LifecycleError(f"the reactivation was signed more than {REACTIVATION_TIME.days} days ago")


def _sequence_fits(state: PolicyState, event: PolicyEvent) -> bool:
    if event.action is PolicyAction.REVOKE:
        return True
    if event.action is PolicyAction.SUSPEND:
        return event.sequence >= state.resumed_at_sequence
    return event.sequence == state.sequence


def _reactivated(
    state: PolicyState, verified: VerifiedEvent, policy: SharingPolicy, registry: Registry, now: datetime
) -> PolicyState:
    consent = Consent(verified.signatory, verified.event.signed_at)
    consents = _not_lapsed((*state.consents, consent))
    persons = [item.signatory.person for item in consents]
    if persons.count(consent.signatory.person) > 1:
        raise LifecycleError(f"{consent.signatory.person} has already agreed to the reactivation")
    if unfilled(policy_rule(policy, registry), [item.signatory for item in consents]):
        return replace(state, consents=consents)
    resumed = state._moved(Stage.SIGNED, now)
    return replace(resumed, resumed_at_sequence=resumed.sequence)


def _not_lapsed(consents: tuple[Consent, ...]) -> tuple[Consent, ...]:
    """Those of the week that ends with the youngest."""
    youngest = max(item.signed_at for item in consents)
    return tuple(item for item in consents if item.signed_at >= youngest - REACTIVATION_TIME)

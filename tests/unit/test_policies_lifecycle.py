"""The life of a policy and its status: who may move it, what cannot be replayed, what time does."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from crypto.envelope import Envelope, sign_envelope
from policies.codec import document_hash, payload_type, write
from policies.errors import DocumentError, LifecycleError, StatusError
from policies.ids import AgencyId, Hash256, Prose
from policies.lifecycle import (
    REACTIVATION_TIME,
    PolicyState,
    Stage,
    apply_event,
    apply_quorum,
    draft,
    edit,
    sign_event,
    stage_at,
    verify_event,
)
from policies.quorum import Signatory
from policies.replay import state_after
from policies.signing import Quorum
from policies.statements import PolicyAction, PolicyEvent
from policies.status import (
    REVIEW_GRACE,
    SNAPSHOT_LIFETIME,
    STALE_GRACE,
    PolicyStatus,
    StatusBook,
    StatusSnapshot,
    ceiling_at_provider,
    ceiling_elsewhere,
)
from policies.vocabulary import OfficerRole
from tests.simulator.policies import (
    CARE,
    FEDERATION,
    NHS,
    NOW,
    POLICE,
    FederationSimulator,
    default_officers,
    key_of,
    officer,
    sample_policy,
)

POLICY = sample_policy()
HASH = Hash256(document_hash(POLICY))
REGISTRY = FederationSimulator().registry()
SIRO, GUARDIAN, PRIVACY = OfficerRole.SIRO, OfficerRole.CALDICOTT_GUARDIAN, OfficerRole.PRIVACY_OFFICER
MET = Quorum(True, (), (), (), ())
PARTIAL = Quorum(
    False, ("care: SIRO or IAO",), (Signatory(default_officers()[0].person, POLICE, SIRO),), (), ()
)
EVERYONE = [
    ("police.siro", POLICE, SIRO),
    ("care.siro", CARE, SIRO),
    ("care.guardian", CARE, GUARDIAN),
    ("nhs.siro", NHS, SIRO),
    ("nhs.guardian", NHS, GUARDIAN),
]


def event(
    action: PolicyAction, state: PolicyState, who: str, organisation: AgencyId, role: OfficerRole
) -> Envelope:
    made = PolicyEvent(
        POLICY.id, HASH, state.sequence, action, organisation, role, NOW, Prose("For good reasons.")
    )
    return sign_event(made, key_of(who))


def act(
    state: PolicyState,
    action: PolicyAction,
    who: str,
    organisation: AgencyId,
    role: OfficerRole,
    now: datetime = NOW,
) -> PolicyState:
    verified = verify_event(event(action, state, who, organisation, role), POLICY, REGISTRY, now)
    return apply_event(state, verified, POLICY, REGISTRY, now)


def submitted() -> PolicyState:
    return act(draft(POLICY, NOW), PolicyAction.SUBMIT, "police.siro", POLICE, SIRO)


def active() -> PolicyState:
    return apply_quorum(submitted(), MET, NOW)


def suspended() -> PolicyState:
    return act(active(), PolicyAction.SUSPEND, "nhs.privacy", NHS, PRIVACY)


def test_the_usual_way() -> None:
    state = submitted()
    assert state.stage is Stage.IN_REVIEW
    state = apply_quorum(state, PARTIAL, NOW)
    assert state.stage is Stage.PARTIALLY_SIGNED
    assert apply_quorum(state, PARTIAL, NOW) == state
    state = apply_quorum(state, MET, NOW)
    assert state.stage is Stage.SIGNED
    assert stage_at(state, POLICY, POLICY.not_before - timedelta(seconds=1)) is Stage.SIGNED
    assert stage_at(state, POLICY, NOW) is Stage.ACTIVE
    assert stage_at(state, POLICY, POLICY.not_after) is Stage.EXPIRED


def test_a_rejection_ends_the_signing_and_an_edit_starts_it_again() -> None:
    rejected = apply_quorum(submitted(), replace(PARTIAL, rejected_by=PARTIAL.counted), NOW)
    assert rejected.stage is Stage.REJECTED
    edited = replace(POLICY, obligations=replace(POLICY.obligations, retention_days=30))
    again = edit(rejected, edited, NOW)
    assert again.stage is Stage.DRAFT and again.document_hash != HASH and again.sequence == 0
    with pytest.raises(LifecycleError, match="make a new version"):
        edit(active(), edited, NOW)


@pytest.mark.parametrize(
    ("who", "organisation", "role"),
    [
        ("police.siro", POLICE, SIRO),
        ("care.guardian", CARE, GUARDIAN),
        ("nhs.privacy", NHS, PRIVACY),
    ],
)
def test_one_signature_of_any_party_suspends(who: str, organisation: AgencyId, role: OfficerRole) -> None:
    state = act(active(), PolicyAction.SUSPEND, who, organisation, role)
    assert stage_at(state, POLICY, NOW) is Stage.SUSPENDED


@pytest.mark.parametrize("state", [active(), suspended()], ids=["active", "suspended"])
def test_one_signature_revokes_for_good(state: PolicyState) -> None:
    revoked = act(state, PolicyAction.REVOKE, "police.siro", POLICE, SIRO)
    assert revoked.stage is Stage.REVOKED
    for action in PolicyAction:
        with pytest.raises(LifecycleError):
            act(revoked, action, "police.siro", POLICE, SIRO)


def test_reactivation_needs_the_full_quorum() -> None:
    state = suspended()
    for who, organisation, role in EVERYONE:
        assert stage_at(state, POLICY, NOW) is Stage.SUSPENDED
        state = act(state, PolicyAction.REACTIVATE, who, organisation, role)
    assert stage_at(state, POLICY, NOW) is Stage.ACTIVE


def test_nobody_reactivates_twice() -> None:
    state = act(suspended(), PolicyAction.REACTIVATE, "police.siro", POLICE, SIRO)
    with pytest.raises(LifecycleError, match="already agreed"):
        act(state, PolicyAction.REACTIVATE, "police.siro", POLICE, SIRO)


def _agree(state: PolicyState, who: tuple[str, AgencyId, OfficerRole], at: datetime) -> PolicyState:
    return _sign(state, PolicyAction.REACTIVATE, who, at, at)


def _sign(
    state: PolicyState,
    action: PolicyAction,
    who: tuple[str, AgencyId, OfficerRole],
    signed_at: datetime,
    now: datetime,
) -> PolicyState:
    label, organisation, role = who
    made = PolicyEvent(
        POLICY.id, HASH, state.sequence, action, organisation, role, signed_at, Prose("For good reasons.")
    )
    verified = verify_event(sign_event(made, key_of(label)), POLICY, REGISTRY, now)
    return apply_event(state, verified, POLICY, REGISTRY, now)


def test_a_reactivation_lapses_after_a_week() -> None:
    state = _agree(suspended(), EVERYONE[0], NOW)
    for who in EVERYONE[1:-1]:
        state = _agree(state, who, NOW + timedelta(days=1))
    week = NOW + REACTIVATION_TIME
    assert stage_at(_agree(state, EVERYONE[-1], week), POLICY, week) is Stage.ACTIVE
    over = week + timedelta(seconds=1)
    state = _agree(state, EVERYONE[-1], over)
    assert state.stage is Stage.SUSPENDED
    assert stage_at(_agree(state, EVERYONE[0], over), POLICY, over) is Stage.ACTIVE


def test_a_signature_for_a_reactivation_is_not_dated_back_beside_one_that_lapsed() -> None:
    state = _agree(suspended(), EVERYONE[0], NOW)
    later = NOW + timedelta(days=30)
    with pytest.raises(LifecycleError, match="signed more than 7 days ago"):
        _sign(state, PolicyAction.REACTIVATE, EVERYONE[1], NOW + timedelta(days=1), later)


def test_suspending_what_is_suspended_withdraws_every_consent_to_go_on() -> None:
    first = suspended()
    agreed = [
        verify_event(event(PolicyAction.REACTIVATE, first, *who), POLICY, REGISTRY, NOW) for who in EVERYONE
    ]
    state = apply_event(first, agreed[0], POLICY, REGISTRY, NOW)
    state = act(state, PolicyAction.SUSPEND, "police.siro", POLICE, SIRO)
    assert (state.stage, state.sequence, state.consents) == (Stage.SUSPENDED, first.sequence + 1, ())
    for one in agreed:
        with pytest.raises(LifecycleError, match="earlier state"):
            apply_event(state, one, POLICY, REGISTRY, NOW)
    for who in EVERYONE:
        state = act(state, PolicyAction.REACTIVATE, *who)
    assert stage_at(state, POLICY, NOW) is Stage.ACTIVE


def test_a_replay_lets_consents_lapse_by_the_events_own_times() -> None:
    def signed_at(
        action: PolicyAction, number: int, who: tuple[str, AgencyId, OfficerRole], days: int
    ) -> bytes:
        made = PolicyEvent(
            POLICY.id, HASH, number, action, who[1], who[2], NOW + timedelta(days=days), Prose("For reasons.")
        )
        return sign_event(made, key_of(who[0])).to_bytes()

    events = [signed_at(PolicyAction.SUSPEND, 0, EVERYONE[0], 0)]
    events += [
        signed_at(PolicyAction.REACTIVATE, 1, who, days)
        for who, days in zip(EVERYONE, (1, 5, 6, 7, 9), strict=True)
    ]
    now = NOW + timedelta(days=20)
    state = state_after(HASH, POLICY, events, REGISTRY, now)
    assert stage_at(state, POLICY, now) is Stage.SUSPENDED
    again = signed_at(PolicyAction.REACTIVATE, 1, EVERYONE[0], 10)
    assert stage_at(state_after(HASH, POLICY, [*events, again], REGISTRY, now), POLICY, now) is Stage.ACTIVE


def test_an_old_suspension_is_not_replayed_after_reactivation() -> None:
    before = active()
    old = verify_event(
        event(PolicyAction.SUSPEND, before, "nhs.privacy", NHS, PRIVACY), POLICY, REGISTRY, NOW
    )
    state = apply_event(before, old, POLICY, REGISTRY, NOW)
    for who, organisation, role in EVERYONE:
        state = act(state, PolicyAction.REACTIVATE, who, organisation, role)
    with pytest.raises(LifecycleError, match="earlier state"):
        apply_event(state, old, POLICY, REGISTRY, NOW)


def test_an_old_reactivation_is_not_replayed_after_a_second_suspension() -> None:
    first = suspended()
    agreed = [
        verify_event(event(PolicyAction.REACTIVATE, first, *who), POLICY, REGISTRY, NOW) for who in EVERYONE
    ]
    state = first
    for one in agreed:
        state = apply_event(state, one, POLICY, REGISTRY, NOW)
    again = act(state, PolicyAction.SUSPEND, "care.siro", CARE, SIRO)
    with pytest.raises(LifecycleError, match="earlier state"):
        apply_event(again, agreed[0], POLICY, REGISTRY, NOW)


FORBIDDEN: list[tuple[str, PolicyState, PolicyAction, str, AgencyId, OfficerRole, str]] = [
    (
        "suspend a draft",
        draft(POLICY, NOW),
        PolicyAction.SUSPEND,
        "police.siro",
        POLICE,
        SIRO,
        "is draft cannot",
    ),
    (
        "reactivate what is active",
        active(),
        PolicyAction.REACTIVATE,
        "police.siro",
        POLICE,
        SIRO,
        "is active cannot",
    ),
    (
        "withdraw what is active",
        active(),
        PolicyAction.WITHDRAW,
        "police.siro",
        POLICE,
        SIRO,
        "is active cannot",
    ),
    ("submit twice", submitted(), PolicyAction.SUBMIT, "police.siro", POLICE, SIRO, "is in_review cannot"),
    (
        "an investigator suspends",
        active(),
        PolicyAction.SUSPEND,
        "police.investigator",
        POLICE,
        OfficerRole.INVESTIGATOR,
        "may not suspend as investigator",
    ),
    (
        "a privacy officer revokes",
        active(),
        PolicyAction.REVOKE,
        "police.privacy",
        POLICE,
        PRIVACY,
        "may not revoke",
    ),
    (
        "a role not held",
        active(),
        PolicyAction.SUSPEND,
        "police.investigator",
        POLICE,
        SIRO,
        "may not suspend",
    ),
    (
        "no party",
        active(),
        PolicyAction.SUSPEND,
        "refuge.siro",
        AgencyId("refuge"),
        SIRO,
        "does not act for a party",
    ),
    ("for another", active(), PolicyAction.SUSPEND, "police.siro", CARE, SIRO, "does not act for a party"),
    ("a stranger's key", active(), PolicyAction.SUSPEND, "eve", POLICE, SIRO, "registry does not list"),
]


@pytest.mark.parametrize(
    ("state", "action", "who", "organisation", "role", "message"),
    [row[1:] for row in FORBIDDEN],
    ids=[row[0] for row in FORBIDDEN],
)
def test_forbidden(
    state: PolicyState,
    action: PolicyAction,
    who: str,
    organisation: AgencyId,
    role: OfficerRole,
    message: str,
) -> None:
    with pytest.raises(LifecycleError, match=message):
        act(state, action, who, organisation, role)


def test_an_officer_who_left_and_an_event_from_the_future() -> None:
    gone = officer("police.siro", POLICE, SIRO, not_after=NOW - timedelta(days=1))
    others = tuple(item for item in default_officers() if item.person != "police.siro")
    registry = FederationSimulator(officers=(*others, gone)).registry()
    envelope = event(PolicyAction.SUSPEND, active(), "police.siro", POLICE, SIRO)
    with pytest.raises(LifecycleError, match="no longer in post"):
        verify_event(envelope, POLICY, registry, NOW)
    with pytest.raises(LifecycleError, match="in the future"):
        verify_event(envelope, POLICY, REGISTRY, NOW - timedelta(hours=1))


def test_an_event_about_another_version() -> None:
    other = replace(POLICY, obligations=replace(POLICY.obligations, retention_days=30))
    with pytest.raises(LifecycleError, match="another version"):
        verify_event(event(PolicyAction.SUSPEND, active(), "police.siro", POLICE, SIRO), other, REGISTRY, NOW)


def test_signatures_only_while_open() -> None:
    for state in (draft(POLICY, NOW), active(), suspended()):
        with pytest.raises(LifecycleError, match="not open for signatures"):
            apply_quorum(state, MET, NOW)


# --- status
# ---------------------------------------------------------------------------------------------------


def snapshot(version: int = 1, stage: Stage = Stage.ACTIVE, issued: datetime = NOW) -> StatusSnapshot:
    status = PolicyStatus(POLICY.id, HASH, stage, 2)
    return StatusSnapshot(FEDERATION, CARE, version, issued, issued + SNAPSHOT_LIFETIME, (status,))


def signed(made: StatusSnapshot, label: str = "node care") -> Envelope:
    return sign_envelope(payload_type(StatusSnapshot), write(made), [key_of(label)])


def test_a_newer_status_replaces_and_an_older_is_refused() -> None:
    book = StatusBook().accept(signed(snapshot(5)), CARE, REGISTRY, NOW)
    assert book.accept(signed(snapshot(5)), CARE, REGISTRY, NOW) == book
    newer = book.accept(signed(snapshot(6, Stage.SUSPENDED)), CARE, REGISTRY, NOW)
    status = newer.snapshots[CARE].of(HASH)
    assert status is not None and status.stage is Stage.SUSPENDED
    with pytest.raises(StatusError, match="replayed"):
        newer.accept(signed(snapshot(5)), CARE, REGISTRY, NOW)
    with pytest.raises(StatusError, match="two statuses with one version"):
        newer.accept(signed(snapshot(6)), CARE, REGISTRY, NOW)


REFUSED: Sequence[tuple[str, Envelope, str]] = [
    ("by another node", signed(snapshot(), "node nhs"), "not care's"),
    ("by an officer", signed(snapshot(), "care.siro"), "not care's"),
    ("about another provider", signed(replace(snapshot(), provider=NHS)), "not about care"),
    ("from the future", signed(snapshot(issued=NOW + timedelta(hours=1))), "in the future"),
]


@pytest.mark.parametrize(
    ("envelope", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_statuses_refused(envelope: Envelope, message: str) -> None:
    with pytest.raises(StatusError, match=message):
        StatusBook().accept(envelope, CARE, REGISTRY, NOW)


def test_a_status_may_not_claim_a_long_life() -> None:
    with pytest.raises(ValueError, match="ten minutes"):
        replace(snapshot(), expires=NOW + timedelta(hours=1))
    body = write(snapshot()).replace(b"2026-03-02T09:10:00Z", b"2026-03-02T10:10:00Z")
    forged = sign_envelope(payload_type(StatusSnapshot), body, [key_of("node care")])
    with pytest.raises(DocumentError, match="ten minutes"):
        StatusBook().accept(forged, CARE, REGISTRY, NOW)


CEILINGS: list[tuple[str, StatusSnapshot | None, datetime, int | None]] = [
    ("fresh", snapshot(), NOW, 3),
    ("fresh to the last second", snapshot(), NOW + SNAPSHOT_LIFETIME - timedelta(seconds=1), 3),
    ("stale", snapshot(), NOW + SNAPSHOT_LIFETIME, 0),
    ("stale for a day", snapshot(), NOW + SNAPSHOT_LIFETIME + STALE_GRACE, None),
    ("suspended", snapshot(stage=Stage.SUSPENDED), NOW, None),
    ("suspended and stale", snapshot(stage=Stage.SUSPENDED), NOW + SNAPSHOT_LIFETIME, None),
    ("unknown", None, NOW, None),
    ("not listed", replace(snapshot(), policies=()), NOW, None),
    ("review overdue", snapshot(issued=POLICY.review_by), POLICY.review_by, 3),
    (
        "review long overdue",
        snapshot(issued=POLICY.review_by + REVIEW_GRACE),
        POLICY.review_by + REVIEW_GRACE,
        0,
    ),
    ("expired, says the clock", snapshot(issued=POLICY.not_after), POLICY.not_after, None),
]


@pytest.mark.parametrize(
    ("known", "now", "tier"), [row[1:] for row in CEILINGS], ids=[row[0] for row in CEILINGS]
)
def test_ceilings_elsewhere(known: StatusSnapshot | None, now: datetime, tier: int | None) -> None:
    ceiling = ceiling_elsewhere(POLICY, HASH, known, now)
    assert ceiling.tier == tier
    assert bool(ceiling.reasons) == (tier != 3 or now >= POLICY.review_by)


def test_ceilings_at_the_provider() -> None:
    assert ceiling_at_provider(POLICY, active(), NOW).tier == 3
    assert ceiling_at_provider(POLICY, suspended(), NOW).tier is None
    assert ceiling_at_provider(POLICY, submitted(), NOW).tier is None
    assert ceiling_at_provider(POLICY, active(), POLICY.review_by + REVIEW_GRACE).tier == 0
    late = ceiling_at_provider(POLICY, active(), POLICY.not_after)
    assert late.tier is None and late.reasons == ("the policy is expired",)
    early = ceiling_at_provider(POLICY, active(), POLICY.not_before - timedelta(seconds=1))
    assert early.tier is None and early.reasons == ("the policy is signed",)

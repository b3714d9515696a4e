"""Quorums: keys / officers / statements / what is missing, and what is refused outright."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from crypto.envelope import Envelope, Signature, add_signature
from crypto.errors import SignatureError
from policies.codec import document_hash, envelope_of
from policies.errors import (
    DocumentError,
    DuplicateKeyError,
    QuorumNotMetError,
    WrongDocumentError,
    WrongFederationError,
    WrongPageError,
)
from policies.ids import AgencyId, FederationId, Hash256
from policies.quorum import QuorumRule, Requirement, Signatory, policy_rule, unfilled
from policies.registry import Officer, Registry
from policies.render import page_hash, render_agreement, render_policy
from policies.signing import SignedDocument, sign_statement
from policies.standing import SIGNING_TIME
from policies.statements import SigningStatement
from policies.verified import joined, verify_agreement, verify_policy
from policies.vocabulary import Decision, OfficerRole
from tests.simulator.policies import (
    CARE,
    NHS,
    NOW,
    POLICE,
    REFUGE,
    FederationSimulator,
    default_officers,
    key_of,
    officer,
    sample_agreement,
    sample_policy,
)

SIRO, IAO, GUARDIAN = OfficerRole.SIRO, OfficerRole.IAO, OfficerRole.CALDICOTT_GUARDIAN
POLICY = sample_policy()
HASH = Hash256(document_hash(POLICY))
PAGE = page_hash(render_policy(POLICY))
REGISTRY = FederationSimulator().registry()


def statement(
    label: str,
    organisation: AgencyId,
    role: OfficerRole,
    change: Callable[[SigningStatement], SigningStatement] = lambda item: item,
) -> Envelope:
    made = SigningStatement(HASH, PAGE, organisation, role, Decision.APPROVE, NOW - timedelta(hours=1))
    return sign_statement(change(made), key_of(label))


def full() -> list[Envelope]:
    return [
        statement("police.siro", POLICE, SIRO),
        statement("care.siro", CARE, SIRO),
        statement("care.guardian", CARE, GUARDIAN),
        statement("nhs.siro", NHS, SIRO),
        statement("nhs.guardian", NHS, GUARDIAN),
    ]


def bundle(statements: Sequence[Envelope]) -> SignedDocument:
    return SignedDocument(envelope_of(POLICY), tuple(statements))


def test_a_full_quorum() -> None:
    verified = verify_policy(bundle(full()), REGISTRY, NOW)
    assert verified.quorum.met and verified.quorum.missing == ()
    assert verified.policy == POLICY and verified.hash == HASH
    verified.quorum.require()


@pytest.mark.parametrize("left_out", range(5))
def test_every_signature_is_needed(left_out: int) -> None:
    statements = full()
    del statements[left_out]
    quorum = verify_policy(bundle(statements), REGISTRY, NOW).quorum
    assert not quorum.met and len(quorum.missing) == 1
    with pytest.raises(QuorumNotMetError, match="still needed: "):
        quorum.require()


def test_reasons_name_organisation_and_roles() -> None:
    quorum = verify_policy(bundle([]), REGISTRY, NOW).quorum
    assert quorum.missing == (
        "police: SIRO or IAO",
        "care: SIRO or IAO",
        "care: Caldicott Guardian",
        "nhs: SIRO or IAO",
        "nhs: Caldicott Guardian",
    )


@dataclass(frozen=True)
class Case:
    name: str
    officers: tuple[Officer, ...]
    statements: list[Envelope]
    missing: tuple[str, ...]
    refused: str


def _without(person: str) -> tuple[Officer, ...]:
    return tuple(item for item in default_officers() if item.person != person)


def _replaced(person: str, *new: Officer) -> tuple[Officer, ...]:
    return (*_without(person), *new)


BOTH_ROLES = officer("nhs.siro", NHS, SIRO, GUARDIAN)
SECOND_KEY = replace(BOTH_ROLES, verify_key=key_of("nhs.siro second").verify_key)
CASES = [
    Case(
        "one officer in two roles with two keys fills one requirement",
        _replaced("nhs.siro", BOTH_ROLES, SECOND_KEY),
        [*full()[:4], statement("nhs.siro second", NHS, GUARDIAN)],
        ("nhs: Caldicott Guardian",),
        "nhs.siro signed more than once and counts once",
    ),
    Case(
        "the same person in two organisations fills one requirement",
        _replaced(
            "care.siro",
            replace(officer("police.siro", CARE, SIRO), verify_key=key_of("care.siro").verify_key),
        ),
        full(),
        ("care: SIRO or IAO",),
        "police.siro signed more than once and counts once",
    ),
    Case(
        "a key that the registry does not list",
        _without("police.siro"),
        full(),
        ("police: SIRO or IAO",),
        "a key that the registry does not list",
    ),
    Case(
        "an officer who signed after leaving",
        _replaced("police.siro", officer("police.siro", POLICE, SIRO, not_after=NOW - timedelta(hours=2))),
        full(),
        ("police: SIRO or IAO",),
        "after the officer's time in post had ended",
    ),
    Case(
        "a role claimed in the envelope only",
        default_officers(),
        [statement("police.approver", POLICE, SIRO), *full()[1:]],
        ("police: SIRO or IAO",),
        "does not give the officer the role of SIRO",
    ),
    Case(
        "an organisation claimed in the envelope only",
        default_officers(),
        [statement("refuge.siro", POLICE, SIRO), *full()[1:]],
        ("police: SIRO or IAO",),
        "the registry has the officer in refuge, not police",
    ),
    Case(
        "a DPO advises and is not counted",
        (*default_officers(), officer("police.dpo", POLICE, OfficerRole.DPO)),
        [statement("police.dpo", POLICE, OfficerRole.DPO), *full()[1:]],
        ("police: SIRO or IAO",),
        "",
    ),
    Case(
        "dated in the future",
        default_officers(),
        [
            statement(
                "police.siro", POLICE, SIRO, lambda item: replace(item, signed_at=NOW + timedelta(hours=1))
            ),
            *full()[1:],
        ],
        ("police: SIRO or IAO",),
        "dated in the future",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_does_not_count(case: Case) -> None:
    registry = FederationSimulator(officers=case.officers).registry()
    quorum = verify_policy(bundle(case.statements), registry, NOW).quorum
    assert not quorum.met
    assert quorum.missing == case.missing
    assert any(case.refused in reason for reason in quorum.refused) or not case.refused


def test_who_left_in_good_order_still_counts() -> None:
    officers = _replaced(
        "police.siro", officer("police.siro", POLICE, SIRO, not_after=NOW - timedelta(minutes=1))
    )
    assert verify_policy(bundle(full()), FederationSimulator(officers=officers).registry(), NOW).quorum.met


def test_one_rejection_is_enough() -> None:
    rejecting = statement("police.siro", POLICE, SIRO, lambda item: replace(item, decision=Decision.REJECT))
    extra = officer("police.iao", POLICE, IAO)
    registry = FederationSimulator(officers=(*default_officers(), extra)).registry()
    quorum = verify_policy(
        bundle([rejecting, statement("police.iao", POLICE, IAO), *full()[1:]]), registry, NOW
    ).quorum
    assert quorum.missing == () and not quorum.met
    with pytest.raises(QuorumNotMetError, match=r"rejected by police\.siro"):
        quorum.require()


def _registry(*changed: Officer) -> Registry:
    """The usual officers, with these in place of the ones of the same name, or added."""
    names = {item.person for item in changed}
    others = tuple(item for item in default_officers() if item.person not in names)
    return FederationSimulator(officers=(*others, *changed)).registry()


def _rejection(label: str, organisation: AgencyId, role: OfficerRole) -> Envelope:
    return statement(label, organisation, role, lambda item: replace(item, decision=Decision.REJECT))


def _dated(at: datetime, *signers: tuple[str, AgencyId, OfficerRole]) -> list[Envelope]:
    return [statement(*who, lambda item: replace(item, signed_at=at)) for who in signers]


STRANGERS = [
    ("a stranger's SIRO", "refuge.siro", REFUGE, SIRO),
    ("a party's investigator", "police.investigator", POLICE, OfficerRole.INVESTIGATOR),
    ("the guardian of a party that provides nothing", "police.guardian", POLICE, GUARDIAN),
]


@pytest.mark.parametrize(
    ("label", "organisation", "role"), [row[1:] for row in STRANGERS], ids=[row[0] for row in STRANGERS]
)
def test_whoever_could_not_approve_cannot_block(
    label: str, organisation: AgencyId, role: OfficerRole
) -> None:
    registry = _registry(officer("police.guardian", POLICE, GUARDIAN))
    quorum = verify_policy(bundle([*full(), _rejection(label, organisation, role)]), registry, NOW).quorum
    assert quorum.met and quorum.rejected_by == ()
    assert any("does not sign this document" in reason for reason in quorum.refused)


def test_a_providers_guardian_can_block() -> None:
    statements = [item for number, item in enumerate(full()) if number != 2]
    deputy = officer("care.deputy", CARE, GUARDIAN)
    approval = statement("care.deputy", CARE, GUARDIAN)
    rejection = _rejection("care.guardian", CARE, GUARDIAN)
    quorum = verify_policy(bundle([*statements, approval, rejection]), _registry(deputy), NOW).quorum
    assert not quorum.met and [item.person for item in quorum.rejected_by] == ["care.guardian"]


MONTH_AGO, LONG_AGO = NOW - SIGNING_TIME, NOW - timedelta(days=90)
#: A policy that may have been signed at any time of these tests.
OLD = replace(POLICY, governance=replace(POLICY.governance, dpo_advice=(), dpia=None))
SIGNERS = [
    ("police.siro", POLICE, SIRO),
    ("care.siro", CARE, SIRO),
    ("care.guardian", CARE, GUARDIAN),
    ("nhs.siro", NHS, SIRO),
    ("nhs.guardian", NHS, GUARDIAN),
]


def old_bundle(*dates: datetime) -> SignedDocument:
    """`OLD`, signed by each of the signers at one of `dates`."""
    made = SignedDocument(envelope_of(OLD))
    page = Hash256(page_hash(render_policy(OLD)))
    for (label, organisation, role), at in zip(SIGNERS, dates, strict=True):
        said = SigningStatement(made.digest, page, organisation, role, Decision.APPROVE, at)
        made = made.with_statement(sign_statement(said, key_of(label)))
    return made


@pytest.mark.parametrize(
    ("dates", "left", "missing"),
    [
        ((LONG_AGO, NOW, NOW, NOW, NOW), None, ("police: SIRO or IAO",)),
        ((NOW - timedelta(days=20), NOW, NOW, NOW, NOW), NOW - timedelta(days=19), ("police: SIRO or IAO",)),
        ((MONTH_AGO, NOW, NOW, NOW, NOW), None, ()),
        ((MONTH_AGO - timedelta(seconds=1), NOW, NOW, NOW, NOW), None, ("police: SIRO or IAO",)),
        ((NOW, NOW, NOW, NOW, NOW - timedelta(days=31)), None, ("nhs: Caldicott Guardian",)),
        ((LONG_AGO,) * 5, LONG_AGO, ()),
    ],
    ids=["dated back", "left before the last", "a month", "over a month", "one alone", "left afterwards"],
)
def test_signatures_stand_together(
    dates: tuple[datetime, ...], left: datetime | None, missing: tuple[str, ...]
) -> None:
    registry = _registry(officer("police.siro", POLICE, SIRO, not_after=left))
    quorum = verify_policy(old_bundle(*dates), registry, NOW).quorum
    assert quorum.missing == missing and quorum.met == (not missing)
    assert bool(quorum.refused) == bool(missing)


def test_an_officer_who_left_cannot_date_a_signature_back() -> None:
    gone = _registry(officer("police.siro", POLICE, SIRO, not_after=LONG_AGO))
    back = _dated(LONG_AGO - timedelta(days=1), SIGNERS[0])
    quorum = verify_policy(bundle([*back, *full()[1:]]), gone, NOW).quorum
    assert quorum.missing == ("police: SIRO or IAO",)
    assert "dated before 2026-02-01" in quorum.refused[0]
    alone = verify_policy(old_bundle(LONG_AGO, NOW, NOW, NOW, NOW), gone, NOW).quorum
    assert "still in post when the last of them signs" in alone.refused[0]


def test_nobody_signed_before_the_advice_was_given_but_may_have_rejected() -> None:
    early = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
    quorum = verify_policy(bundle([*_dated(early, SIGNERS[0]), *full()[1:]]), REGISTRY, NOW).quorum
    assert quorum.missing == ("police: SIRO or IAO",)
    later = early + timedelta(minutes=1)
    assert verify_policy(bundle(_dated(later, *SIGNERS)), REGISTRY, NOW).quorum.met
    rejecting = statement(
        "police.siro", POLICE, SIRO, lambda item: replace(item, decision=Decision.REJECT, signed_at=early)
    )
    assert verify_policy(bundle([rejecting, *full()[1:]]), REGISTRY, NOW).quorum.rejected_by


def test_a_quorum_stays_formed_whatever_is_signed_later() -> None:
    registry = _registry(
        officer("police.iao", POLICE, IAO),
        officer("police.siro", POLICE, SIRO, not_after=LONG_AGO + timedelta(days=1)),
    )
    formed = old_bundle(*[LONG_AGO] * 5)
    page = Hash256(page_hash(render_policy(OLD)))
    said = SigningStatement(formed.digest, page, POLICE, IAO, Decision.APPROVE, NOW)
    quorum = verify_policy(
        formed.with_statement(sign_statement(said, key_of("police.iao"))), registry, NOW
    ).quorum
    assert quorum.met and "police.siro" in {item.person for item in quorum.counted}
    assert quorum.vacant == ()


def test_what_nobody_in_post_has_signed_for() -> None:
    gone = _registry(officer("police.siro", POLICE, SIRO, not_after=NOW - timedelta(days=1)))
    quorum = verify_policy(old_bundle(*[LONG_AGO] * 5), gone, NOW).quorum
    assert quorum.met and [str(item) for item in quorum.vacant] == ["police: SIRO or IAO"]


@pytest.mark.parametrize(
    ("dates", "left", "met"),
    [
        ([MONTH_AGO] * 5, None, True),
        ([MONTH_AGO - timedelta(seconds=1)] * 5, None, False),
        ([MONTH_AGO] * 5, NOW - timedelta(seconds=1), False),
        ([NOW + timedelta(minutes=4)] * 5, None, True),
    ],
    ids=["a month ago", "over a month ago", "left since", "a clock that is fast"],
)
def test_published_now(dates: list[datetime], left: datetime | None, met: bool) -> None:
    registry = _registry(officer("police.siro", POLICE, SIRO, not_after=left))
    made = old_bundle(*dates)
    assert verify_policy(made, registry, NOW).quorum.met
    assert verify_policy(made, registry, NOW, published_now=True).quorum.met is met


def test_what_is_held_is_joined_and_never_lost() -> None:
    rejection = _rejection("police.iao", POLICE, IAO)
    late = statement("police.dpo", POLICE, SIRO)
    stranger = statement("eve", POLICE, SIRO)
    again = statement("care.siro", CARE, SIRO, lambda item: replace(item, signed_at=NOW))
    registry = _registry(
        officer("police.iao", POLICE, IAO),
        officer("police.dpo", POLICE, SIRO, not_after=NOW - timedelta(minutes=1)),
    )
    held = bundle(full())
    both = joined(held, bundle([again, rejection, late, stranger]), registry, NOW)
    assert both.statements == (*held.statements, rejection)
    assert joined(both, held, registry, NOW) == both


def test_signing_anew_replaces_what_the_same_key_signed() -> None:
    made = bundle(full())
    assert made.without_key(key_of("care.siro").verify_key.key_id).statements == (full()[0], *full()[2:])


def test_a_duplicated_key_is_an_error_of_its_own() -> None:
    again = statement("police.siro", POLICE, SIRO, lambda item: replace(item, signed_at=NOW))
    with pytest.raises(DuplicateKeyError, match=r"police\.siro signed twice"):
        verify_policy(bundle([*full(), again]), REGISTRY, NOW)


def test_a_statement_about_another_document() -> None:
    other = statement(
        "police.siro", POLICE, SIRO, lambda item: replace(item, document_hash=Hash256("0" * 64))
    )
    with pytest.raises(WrongDocumentError):
        verify_policy(bundle([other, *full()[1:]]), REGISTRY, NOW)


def test_statements_do_not_carry_over_to_an_edited_document() -> None:
    edited = replace(POLICY, obligations=replace(POLICY.obligations, retention_days=900))
    with pytest.raises(WrongDocumentError):
        verify_policy(SignedDocument(envelope_of(edited), tuple(full())), REGISTRY, NOW)


def test_a_statement_about_another_page() -> None:
    other = statement("police.siro", POLICE, SIRO, lambda item: replace(item, page_hash=Hash256("0" * 64)))
    with pytest.raises(WrongPageError):
        verify_policy(bundle([other, *full()[1:]]), REGISTRY, NOW)


def test_a_forged_signature_raises() -> None:
    genuine = full()[0]
    forged = Envelope(
        genuine.payload_type, genuine.payload, (Signature(genuine.signatures[0].key_id, b"\0" * 64),)
    )
    with pytest.raises(SignatureError):
        verify_policy(bundle([forged, *full()[1:]]), REGISTRY, NOW)


@pytest.mark.parametrize("count", [0, 2])
def test_a_statement_has_one_signature(count: int) -> None:
    genuine = full()[0]
    odd = add_signature(genuine, key_of("care.siro")) if count else replace(genuine, signatures=())
    with pytest.raises(DocumentError, match="exactly one signature"):
        verify_policy(bundle([odd, *full()[1:]]), REGISTRY, NOW)


def test_another_federation() -> None:
    foreign = replace(POLICY, federation=FederationId("elsewhere"))
    with pytest.raises(WrongFederationError):
        verify_policy(SignedDocument(envelope_of(foreign)), REGISTRY, NOW)


def test_an_agency_that_is_not_registered() -> None:
    small = replace(REGISTRY, agencies=REGISTRY.agencies[:2], officers=REGISTRY.officers[:10])
    with pytest.raises(DocumentError, match="names nhs, which the registry does not list"):
        verify_policy(bundle(full()), small, NOW)


def test_the_guardian_is_needed_whatever_the_policy_says_of_itself() -> None:
    parties = tuple(replace(item, health_or_care_data=False) for item in POLICY.parties)
    rule = policy_rule(replace(POLICY, parties=parties), REGISTRY)
    assert Requirement(NHS, (GUARDIAN,)) in rule.requirements


def test_a_quorum_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one requirement"):
        QuorumRule(())


def test_matching_finds_the_only_assignment() -> None:
    """A is SIRO and IAO's stand-in: greedy assignment would waste A on the first requirement."""
    rule = QuorumRule((Requirement(POLICE, (SIRO, IAO)), Requirement(POLICE, (SIRO,))))
    a, b = officer("a", POLICE, SIRO).person, officer("b", POLICE, IAO).person
    assert unfilled(rule, [Signatory(a, POLICE, SIRO), Signatory(b, POLICE, IAO)]) == ()
    assert unfilled(rule, [Signatory(a, POLICE, SIRO), Signatory(a, POLICE, IAO)]) != ()


def test_bundle_round_trip() -> None:
    made = bundle(full())
    assert SignedDocument.from_bytes(made.to_bytes()) == made
    for data in (
        b"",
        b"{}",
        made.to_bytes()[:-1],
        made.to_bytes().replace(b"signed-document/v1", b"signed-document/v2"),
    ):
        with pytest.raises(DocumentError):
            SignedDocument.from_bytes(data)


def test_agreements_need_every_participant() -> None:
    agreement = sample_agreement()
    page = page_hash(render_agreement(agreement))
    signed = SignedDocument(envelope_of(agreement))
    for name in (POLICE, CARE):
        said = SigningStatement(signed.digest, page, name, SIRO, Decision.APPROVE, NOW)
        signed = signed.with_statement(sign_statement(said, key_of(f"{name}.siro")))
    assert verify_agreement(signed, REGISTRY, NOW).quorum.missing == ("nhs: SIRO or IAO",)
    said = SigningStatement(signed.digest, page, NHS, SIRO, Decision.APPROVE, NOW)
    whole = signed.with_statement(sign_statement(said, key_of("nhs.siro")))
    assert verify_agreement(whole, REGISTRY, NOW).quorum.met
    early = replace(said, signed_at=NOW - timedelta(days=31))
    apart = signed.with_statement(sign_statement(early, key_of("nhs.siro")))
    assert verify_agreement(apart, REGISTRY, NOW).quorum.missing == ("nhs: SIRO or IAO",)
    later = NOW + timedelta(days=31)
    assert verify_agreement(whole, REGISTRY, later).quorum.met
    assert not verify_agreement(whole, REGISTRY, later, published_now=True).quorum.met

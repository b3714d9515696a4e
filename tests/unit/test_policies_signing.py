"""Quorums: keys / officers / statements / what is missing, and what is refused outright."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

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
from policies.registry import Officer
from policies.render import page_hash, render_agreement, render_policy
from policies.signing import SignedDocument, sign_statement
from policies.statements import SigningStatement
from policies.verified import verify_agreement, verify_policy
from policies.vocabulary import Decision, OfficerRole
from tests.simulator.policies import (
    CARE,
    NHS,
    NOW,
    POLICE,
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
    signed = signed.with_statement(sign_statement(said, key_of("nhs.siro")))
    assert verify_agreement(signed, REGISTRY, NOW).quorum.met

"""The n-of-n key agreement: any order, any restart, and whoever misbehaves is named."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency_node.keying import (
    Fault,
    KeyAgreement,
    KeyCommitment,
    KeyContribution,
    KeyDispute,
    KeyDocument,
    KeyingError,
    Terms,
    begin,
)
from agency_node.model import KeyState
from crypto.canonical import b64u
from crypto.envelope import Envelope, sign_envelope
from crypto.errors import CryptoError, SignatureError
from policies.codec import open_document, parse, payload_type, write
from policies.enrolment import Base64Url
from policies.ids import AgencyId, FederationId, Hash256, HexBytes, LinkageId
from tests.simulator.policies import key_of

MEMBERS = tuple(AgencyId(name) for name in ("care", "nhs", "police"))
CARE, NHS, POLICE = MEMBERS
KEYS = {member: key_of(f"node {member}").verify_key for member in MEMBERS}


def terms(members: tuple[AgencyId, ...] = MEMBERS, epoch: int = 1) -> Terms:
    return Terms(FederationId("testshire"), LinkageId("adults"), epoch, Hash256("ab" * 32), members)


def begun(member: AgencyId, seed: int = 1, epoch: int = 1) -> tuple[KeyAgreement, Envelope]:
    contribution = random.Random(f"{member} {seed}").randbytes(32)
    return begin(terms(epoch=epoch), member, contribution, key_of(f"node {member}"))


def committed(seed: int = 1) -> dict[AgencyId, KeyAgreement]:
    """Everybody's view once all commitments have arrived."""
    starts = {member: begun(member, seed) for member in MEMBERS}
    views = {}
    for member, (agreement, _) in starts.items():
        for _, envelope in starts.values():
            agreement = agreement.take_commitment(envelope, KEYS)
        views[member] = agreement
    return views


def contribution_of(agreement: KeyAgreement) -> tuple[KeyAgreement, KeyContribution]:
    after, envelope = agreement.reveal(key_of(f"node {agreement.me}"))
    return after, open_document(KeyContribution, envelope)


def resigned(document: KeyDocument) -> Envelope:
    return sign_envelope(payload_type(type(document)), write(document), [key_of(f"node {document.agency}")])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_order_with_repetitions_and_restarts_gives_everybody_the_same_key(data: st.DataObject) -> None:
    starts = {member: begun(member) for member in MEMBERS}
    views = {member: agreement for member, (agreement, _) in starts.items()}
    waiting: list[tuple[AgencyId, Envelope]] = [
        (receiver, envelope)
        for sender, (_, envelope) in starts.items()
        for receiver in MEMBERS
        if receiver != sender
    ]
    delivered: list[tuple[AgencyId, Envelope]] = []
    while waiting:
        index = data.draw(st.integers(0, len(waiting) - 1))
        receiver, envelope = waiting.pop(index)
        delivered.append((receiver, envelope))
        if data.draw(st.booleans()):
            waiting.append(data.draw(st.sampled_from(delivered))) if len(delivered) < 40 else None
        view = KeyAgreement.from_bytes(views[receiver].to_bytes())  # a restart between any two messages
        if envelope.payload_type == payload_type(KeyCommitment):
            view = view.take_commitment(envelope, KEYS)
        else:
            view = view.take_contribution(envelope, KEYS)
        if view.committed and not view.revealed:
            view, revealed = view.reveal(key_of(f"node {receiver}"))
            waiting += [(other, revealed) for other in view.others]
        views[receiver] = view
    assert {view.state for view in views.values()} == {KeyState.CONFIRMING}
    assert len({view.key for view in views.values()}) == 1
    assert len({view.confirmation for view in views.values()}) == 1
    opened = views[CARE].confirmed_open()
    assert KeyAgreement.from_bytes(opened.to_bytes()) == opened
    assert opened.state is KeyState.OPEN


def test_another_epoch_has_another_key() -> None:
    keys = set()
    for seed in (1, 2):
        views = committed(seed)
        documents = {member: contribution_of(view)[1] for member, view in views.items()}
        view = contribution_of(views[CARE])[0]
        for member in (NHS, POLICE):
            view = view.take_contribution(resigned(documents[member]), KEYS)
        keys.add(view.key)
    assert len(keys) == 2


def test_nobody_reveals_before_all_have_committed() -> None:
    agreement, _ = begun(CARE)
    agreement = agreement.take_commitment(begun(NHS)[1], KEYS)
    assert agreement.waiting_for == (POLICE,)
    with pytest.raises(KeyingError, match="only when every participant has committed"):
        agreement.reveal(key_of("node care"))


def test_withheld_contribution_names_who_is_waited_for() -> None:
    views = committed()
    view, _ = contribution_of(views[CARE])
    view = view.take_contribution(resigned(contribution_of(views[NHS])[1]), KEYS)
    assert (view.state, view.waiting_for) == (KeyState.REVEALING, (POLICE,))
    with pytest.raises(KeyingError):
        _ = view.key


def test_wrong_contribution_is_blamed_on_its_author() -> None:
    views = committed()
    bad = replace(contribution_of(views[NHS])[1], contribution=HexBytes("00" * 32))
    view = views[CARE].take_contribution(resigned(bad), KEYS)
    assert (view.fault, view.culprit, view.state) == (Fault.WRONG_CONTRIBUTION, NHS, KeyState.FAILED)
    short = replace(contribution_of(views[NHS])[1], contribution=HexBytes("00"))
    assert views[CARE].take_contribution(resigned(short), KEYS).culprit == NHS


def test_equivocation_comes_to_light_through_the_others_echo() -> None:
    """NHS commits to one value towards care and to another towards the police."""
    care, care_says = begun(CARE)
    police, police_says = begun(POLICE)
    _, to_care = begun(NHS, 1)
    _, to_police = begun(NHS, 2)
    for envelope in (police_says, to_care):
        care = care.take_commitment(envelope, KEYS)
    for envelope in (care_says, to_police):
        police = police.take_commitment(envelope, KEYS)
    assert care.committed and police.committed
    _, from_police = contribution_of(police)
    view = care.take_contribution(resigned(from_police), KEYS)
    assert (view.fault, view.culprit) == (Fault.EQUIVOCATION, NHS)
    direct = care.take_commitment(to_police, KEYS)
    assert (direct.fault, direct.culprit) == (Fault.EQUIVOCATION, NHS)


def test_whoever_finds_a_fault_convinces_those_who_saw_only_the_honest_half() -> None:
    """Care would otherwise wait for ever for the contribution of the police, who stopped at the fault."""
    views = committed()
    two_faced = views[POLICE].take_commitment(begun(NHS, 2)[1], KEYS)
    false = replace(contribution_of(views[NHS])[1], contribution=HexBytes("00" * 32))
    cheated = views[POLICE].take_contribution(resigned(false), KEYS)
    for found, fault in ((two_faced, Fault.EQUIVOCATION), (cheated, Fault.WRONG_CONTRIBUTION)):
        dispute = KeyAgreement.from_bytes(found.to_bytes()).dispute(key_of("node police"))
        view = views[CARE].take_dispute(dispute, KEYS)
        assert (view.fault, view.culprit, view.state) == (fault, NHS, KeyState.FAILED)
        assert view.take_dispute(dispute, KEYS) == view
        fresh = begun(CARE)[0].take_dispute(dispute, KEYS)
        assert (fresh.fault, fresh.culprit) == (fault, NHS)


def test_a_dispute_without_proof_changes_nothing() -> None:
    """Else one participant could stop every agreement and put the blame on another."""
    views = committed()
    honest = contribution_of(views[NHS])[1]
    accuser = key_of("node police")
    for shown in (resigned(honest), begun(NHS)[1]):
        accusation = views[POLICE].failed(Fault.WRONG_CONTRIBUTION, NHS, shown).dispute(accuser)
        with pytest.raises(KeyingError, match="evidence shows no fault"):
            views[CARE].take_dispute(accusation, KEYS)
    forged = sign_envelope(
        payload_type(KeyContribution), write(replace(honest, contribution=HexBytes("00" * 32))), [accuser]
    )
    framed = views[POLICE].failed(Fault.WRONG_CONTRIBUTION, NHS, forged).dispute(accuser)
    with pytest.raises(CryptoError):
        views[CARE].take_dispute(framed, KEYS)
    with pytest.raises(KeyingError, match="needs evidence"):
        views[CARE].failed(Fault.KEY_MISMATCH, None).dispute(accuser)


def test_a_participant_cannot_frame_another_with_a_forged_echo() -> None:
    views = committed()
    document = contribution_of(views[NHS])[1]
    other = parse(KeyCommitment, begun(POLICE, 9)[1].payload)
    forged = sign_envelope(payload_type(KeyCommitment), write(other), [key_of("node nhs")])
    framed = replace(
        document,
        commitments=(*document.commitments[:2], Base64Url(b64u(forged.to_bytes()))),
    )
    with pytest.raises(SignatureError):
        views[CARE].take_contribution(resigned(framed), KEYS)
    assert views[CARE].fault is None


def test_wrong_transcript_or_missing_echo_is_blamed_on_its_author() -> None:
    views = committed()
    document = contribution_of(views[NHS])[1]
    for bad in (
        replace(document, transcript=Hash256("00" * 32)),
        replace(document, commitments=document.commitments[:2]),
        replace(document, commitments=(document.commitments[0],) * 3),
    ):
        view = views[CARE].take_contribution(resigned(bad), KEYS)
        assert (view.fault, view.culprit) == (Fault.WRONG_TRANSCRIPT, NHS)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 2},
        {"linkage": LinkageId("other")},
        {"agreement_hash": Hash256("cd" * 32)},
        {"federation": FederationId("elsewhere")},
    ],
)
def test_messages_of_another_agreement_are_refused_without_blame(changes: dict[str, object]) -> None:
    views = committed()
    commitment = replace(parse(KeyCommitment, begun(NHS)[1].payload), **changes)  # type: ignore[arg-type] # real fields
    with pytest.raises(KeyingError):
        views[CARE].take_commitment(resigned(commitment), KEYS)
    contribution = replace(contribution_of(views[NHS])[1], **changes)  # type: ignore[arg-type] # real fields
    with pytest.raises(KeyingError):
        views[CARE].take_contribution(resigned(contribution), KEYS)
    found = views[POLICE].take_commitment(begun(NHS, 2)[1], KEYS)
    dispute = open_document(KeyDispute, found.dispute(key_of("node police")))
    with pytest.raises(KeyingError):
        views[CARE].take_dispute(resigned(replace(dispute, **changes)), KEYS)  # type: ignore[arg-type] # real fields


def test_commitment_signed_by_another_is_refused() -> None:
    document = parse(KeyCommitment, begun(NHS)[1].payload)
    forged = sign_envelope(payload_type(KeyCommitment), write(document), [key_of("node police")])
    with pytest.raises(CryptoError):
        begun(CARE)[0].take_commitment(forged, KEYS)
    stranger = replace(document, agency=AgencyId("stranger"))
    with pytest.raises(KeyingError, match="does not take part"):
        begun(CARE)[0].take_commitment(resigned(stranger), KEYS)


def test_a_failed_agreement_stays_failed_and_secrets_stay_out_of_repr() -> None:
    views = committed()
    failed = views[CARE].failed(Fault.KEY_MISMATCH, None)
    assert failed.take_contribution(resigned(contribution_of(views[NHS])[1]), KEYS) == failed
    assert KeyAgreement.from_bytes(failed.to_bytes()) == failed
    with pytest.raises(KeyingError):
        failed.reveal(key_of("node care"))
    secret = views[CARE].contribution
    assert secret.hex() not in repr(views[CARE]) and repr(secret) not in repr(views[CARE])
    assert secret.hex() not in repr(contribution_of(views[CARE])[1])

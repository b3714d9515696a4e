"""Disclosure requests and approvals: whose signatures count, the Annex B form, and redacted `repr`."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from crypto.envelope import Envelope, Signature
from crypto.errors import SignatureError
from crypto.keys import Signer
from policies.clauses import Approvals
from policies.codec import Document
from policies.disclosure import Approval, DisclosureDecision, DisclosureRequest
from policies.errors import DuplicateKeyError, RequestError
from policies.ids import AgencyId, DocumentId, Hash256, PersonId
from policies.requests import VerifiedRequest, sign_approval, sign_request, tally_approvals, verify_request
from policies.vocabulary import Consent, Decision, OfficerRole, Strength
from tests.simulator.disclosures import APPROVAL, REQUEST, disclosure_documents
from tests.simulator.policies import (
    CARE,
    NHS,
    NOW,
    POLICE,
    FederationSimulator,
    default_officers,
    key_of,
    officer,
)

REGISTRY = FederationSimulator().registry()
OFFICER, NODE = key_of("police.investigator"), key_of("node police")


def verified() -> VerifiedRequest:
    return verify_request(sign_request(REQUEST, OFFICER, NODE), REGISTRY, NOW)


def test_a_good_request() -> None:
    found = verified()
    assert found.request == REQUEST and found.officer.person == "police.investigator"
    asker = found.asker(CARE, Strength.STRONG, Consent.GIVEN, Approvals(1, 1), break_glass=False)
    assert (asker.recipient, asker.provider, asker.tier) == (POLICE, CARE, 3)


REFUSED: list[tuple[str, DisclosureRequest, Signer, Signer, str]] = [
    ("another node", REQUEST, OFFICER, key_of("node care"), "not signed by the node"),
    ("no officer of the registry", REQUEST, key_of("eve"), NODE, "not signed by the officer"),
    ("another officer", REQUEST, key_of("police.approver"), NODE, "not signed by the officer"),
    (
        "a person claimed",
        replace(REQUEST, officer=PersonId("police.siro")),
        OFFICER,
        NODE,
        "not signed by the officer",
    ),
    ("a role not held", replace(REQUEST, role=OfficerRole.CLINICIAN), OFFICER, NODE, "the role of clinician"),
    ("for another agency", replace(REQUEST, requester=CARE), OFFICER, key_of("node care"), "does not belong"),
    ("for a stranger", replace(REQUEST, requester=AgencyId("nowhere")), OFFICER, NODE, "not in the registry"),
    ("expired", replace(REQUEST, expires=NOW), OFFICER, NODE, "has expired"),
    ("from the future", replace(REQUEST, created=NOW + timedelta(hours=1)), OFFICER, NODE, "in the future"),
]


@pytest.mark.parametrize(
    ("request_", "signer", "node", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_requests_refused(request_: DisclosureRequest, signer: Signer, node: Signer, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        verify_request(sign_request(request_, signer, node), REGISTRY, NOW)


def test_a_tampered_request_raises() -> None:
    envelope = sign_request(REQUEST, OFFICER, NODE)
    forged = Envelope(
        envelope.payload_type, envelope.payload.replace(b'"tier":3', b'"tier":2'), envelope.signatures
    )
    with pytest.raises(SignatureError):
        verify_request(forged, REGISTRY, NOW)


def test_an_officer_who_left() -> None:
    gone = officer(
        "police.investigator", POLICE, OfficerRole.INVESTIGATOR, not_after=NOW - timedelta(seconds=1)
    )
    others = tuple(item for item in default_officers() if item.person != gone.person)
    with pytest.raises(RequestError, match="no longer in post"):
        verify_request(
            sign_request(REQUEST, OFFICER, NODE),
            FederationSimulator(officers=(*others, gone)).registry(),
            NOW,
        )


def approval(
    label: str, organisation: AgencyId, change: Callable[[Approval], Approval] = lambda item: item
) -> Envelope:
    return sign_approval(change(replace(APPROVAL, organisation=organisation)), key_of(label))


def test_four_eyes() -> None:
    tally = tally_approvals(
        verified(),
        CARE,
        [approval("care.approver", CARE), approval("police.approver", POLICE)],
        REGISTRY,
        NOW,
    )
    assert tally.approvals == Approvals(2, 1)
    assert tally.approvers == ("care.approver", "police.approver")
    assert tally.refused == () and tally.rejected_by == ()


SIRO = OfficerRole.SIRO
DISCOUNTED: list[tuple[str, Envelope, str]] = [
    ("a third agency", approval("nhs.approver", NHS), "neither to the provider nor to the recipient"),
    ("a claimed organisation", approval("police.approver", CARE), "neither to the provider nor"),
    ("a stranger", approval("eve", CARE), "the registry does not list"),
    ("a role not held", approval("care.approver", CARE, lambda item: replace(item, role=SIRO)), "as SIRO"),
    (
        "no approver's role",
        approval("care.privacy", CARE, lambda item: replace(item, role=OfficerRole.PRIVACY_OFFICER)),
        "as privacy officer",
    ),
    (
        "another request",
        approval("care.approver", CARE, lambda item: replace(item, request_hash=Hash256("0" * 64))),
        "another request",
    ),
    (
        "another id than the request's",
        approval("care.approver", CARE, lambda item: replace(item, request=DocumentId("request-0002"))),
        "another request",
    ),
    (
        "another requester than the request's",
        approval("care.approver", CARE, lambda item: replace(item, requester=CARE)),
        "another request",
    ),
    (
        "another tier than the request's",
        approval("care.approver", CARE, lambda item: replace(item, tier=2)),
        "another request",
    ),
    (
        "before the request",
        approval("care.approver", CARE, lambda item: replace(item, decided_at=NOW - timedelta(days=1))),
        "between the request and now",
    ),
]


@pytest.mark.parametrize(
    ("envelope", "reason"), [row[1:] for row in DISCOUNTED], ids=[row[0] for row in DISCOUNTED]
)
def test_approvals_that_do_not_count(envelope: Envelope, reason: str) -> None:
    tally = tally_approvals(verified(), CARE, [envelope], REGISTRY, NOW)
    assert tally.approvals == Approvals(0, 0)
    assert reason in tally.refused[0]


def test_nobody_approves_their_own_request() -> None:
    both = officer("police.investigator", POLICE, OfficerRole.INVESTIGATOR, OfficerRole.APPROVER)
    others = tuple(item for item in default_officers() if item.person != both.person)
    registry = FederationSimulator(officers=(*others, both)).registry()
    tally = tally_approvals(verified(), CARE, [approval("police.investigator", POLICE)], registry, NOW)
    assert tally.approvals == Approvals(0, 0) and "of their own" in tally.refused[0]


def test_one_person_with_two_keys_approves_once() -> None:
    one = officer("care.approver", CARE, OfficerRole.APPROVER)
    two = replace(one, verify_key=key_of("care.approver second").verify_key)
    registry = FederationSimulator(officers=(*default_officers(), two)).registry()
    envelopes = [approval("care.approver", CARE), approval("care.approver second", CARE)]
    assert tally_approvals(verified(), CARE, envelopes, registry, NOW).approvals == Approvals(1, 1)


def rejection(label: str, organisation: AgencyId) -> Envelope:
    return approval(label, organisation, lambda item: replace(item, decision=Decision.REJECT))


@pytest.mark.parametrize(("say", "words"), [(approval, "approved twice"), (rejection, "rejected twice")])
def test_one_key_saying_the_same_twice_is_an_error(
    say: Callable[[str, AgencyId], Envelope], words: str
) -> None:
    twice = [say("care.approver", CARE), say("care.approver", CARE)]
    with pytest.raises(DuplicateKeyError, match=words):
        tally_approvals(verified(), CARE, twice, REGISTRY, NOW)


SECOND_KEY = replace(
    officer("care.approver", CARE, OfficerRole.APPROVER), verify_key=key_of("care.approver second").verify_key
)


@pytest.mark.parametrize("key", ["care.approver", "care.approver second"])
def test_a_rejection_takes_back_the_officers_approval(key: str) -> None:
    registry = FederationSimulator(officers=(*default_officers(), SECOND_KEY)).registry()
    said = [approval("care.approver", CARE), approval("police.approver", POLICE), rejection(key, CARE)]
    tally = tally_approvals(verified(), CARE, said, registry, NOW)
    assert tally.approvals == Approvals(1, 0) and tally.approvers == ("police.approver",)
    assert tally.rejected_by == ("care.approver",) and tally.refused == ()


@pytest.mark.parametrize("key", ["care.approver", "care.approver second"])
def test_nothing_takes_back_a_rejection(key: str) -> None:
    registry = FederationSimulator(officers=(*default_officers(), SECOND_KEY)).registry()
    no, yes = rejection("care.approver", CARE), approval(key, CARE)
    for said in ([no, yes], [approval("care.approver", CARE), no, yes]):
        tally = tally_approvals(verified(), CARE, said, registry, NOW)
        assert tally.approvals == Approvals(0, 0) and tally.rejected_by == ("care.approver",)
        assert "asked anew" in tally.refused[0]


def test_a_rejection_is_reported() -> None:
    tally = tally_approvals(verified(), CARE, [rejection("care.approver", CARE)], REGISTRY, NOW)
    assert tally.rejected_by == ("care.approver",) and tally.approvals == Approvals(0, 0)


def test_a_forged_approval_raises() -> None:
    genuine = approval("care.approver", CARE)
    forged = replace(genuine, signatures=(Signature(genuine.signatures[0].key_id, b"\1" * 64),))
    with pytest.raises(SignatureError):
        tally_approvals(verified(), CARE, [forged], REGISTRY, NOW)


def test_the_annex_b_form_is_filled_from_policy_and_request() -> None:
    decision = next(item for item in disclosure_documents() if isinstance(item, DisclosureDecision))
    form = decision.annex_b
    assert form.requester == "police.investigator" and form.requester_organisation == POLICE
    assert form.legal_powers == ("Crime and Disorder Act 1998 s.115",)
    assert form.lawful_basis == "6(1)(e)" and form.special_category_condition == "9(2)(g)"
    assert form.dpia_reference == "DPIA-2026-001" and form.retention_days == 90
    assert form.necessity == REQUEST.necessity


@pytest.mark.parametrize("document", disclosure_documents()[:5], ids=lambda item: item.KIND)
def test_repr_shows_no_contents(document: Document) -> None:
    shown = repr(document)
    assert "contents withheld" in shown
    for secret in ("Shouting", "same house", "a" * 26, "CASE-2026", "abab"):
        assert secret not in shown

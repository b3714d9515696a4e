"""The office: nothing is in force before the threshold of persons and organisations has signed it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto.errors import CryptoError
from crypto.keys import SigningKey, generate_sealing_key, generate_signing_key
from crypto.pki import PeerIdentity, PeerRole, make_key_and_request, verify_issued
from policies.codec import envelope_of
from policies.enrolment import AgencyRequest, BrokerRequest, Pem, RequestedOfficer, fingerprint
from policies.errors import DocumentError
from policies.ids import AgencyId, Email, FederationId, Line, PersonId
from policies.root import Root, RootKey
from policies.vocabulary import AgencyKind, OfficerRole
from tallystick.federation.office import FederationOffice, OfficeError, next_root

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
FEDERATION = FederationId("testfed")


def _root(holders: dict[str, tuple[str, SigningKey]], threshold: int, organisations: int) -> Root:
    return Root(
        federation=FEDERATION,
        version=1,
        expires=NOW + timedelta(days=365),
        threshold=threshold,
        minimum_organisations=organisations,
        keys=tuple(
            RootKey(PersonId(person), AgencyId(organisation), key.verify_key)
            for person, (organisation, key) in holders.items()
        ),
    )


def _broker_request() -> BrokerRequest:
    _, csr = make_key_and_request(PeerIdentity(FEDERATION, PeerRole.BROKER, "broker"))
    return BrokerRequest(
        FEDERATION, generate_signing_key().verify_key, Pem(csr.decode()), (Line("localhost"),), ()
    )


def _agency_request(agency: str) -> AgencyRequest:
    _, csr = make_key_and_request(PeerIdentity(FEDERATION, PeerRole.AGENCY, agency))
    return AgencyRequest(
        federation=FEDERATION,
        agency=AgencyId(agency),
        kind=AgencyKind.POLICE,
        name=Line("A police force"),
        contact=Email("ig@police.example.org"),
        node_verify_key=generate_signing_key().verify_key,
        sealing_key=generate_sealing_key().public_key,
        csr=Pem(csr.decode()),
        officers=(
            RequestedOfficer(PersonId("siro-1"), (OfficerRole.SIRO,), generate_signing_key().verify_key),
        ),
    )


@pytest.fixture
def holders() -> dict[str, tuple[str, SigningKey]]:
    return {
        "anna": ("police", generate_signing_key()),
        "ben": ("police", generate_signing_key()),
        "cara": ("care", generate_signing_key()),
    }


@pytest.fixture
def office(tmp_path: Path, holders: dict[str, tuple[str, SigningKey]]) -> FederationOffice:
    return FederationOffice.create(tmp_path / "office", _root(holders, 2, 2), "a passphrase", NOW)


def test_root_needs_threshold_of_persons_from_enough_organisations(
    office: FederationOffice, holders: dict[str, tuple[str, SigningKey]]
) -> None:
    assert not office.sign_root(holders["anna"][1]).in_force
    assert not office.sign_root(holders["ben"][1]).in_force  # two persons, one organisation
    with pytest.raises(OfficeError, match="first root is not signed"):
        office.root()
    done = office.sign_root(holders["cara"][1])
    assert done.in_force
    assert done.signed_by == ("anna", "ben", "cara")
    assert office.root().version == 1


def test_a_stranger_cannot_sign(office: FederationOffice) -> None:
    with pytest.raises(OfficeError, match="not a root key"):
        office.sign_root(generate_signing_key())


def test_admitted_agency_joins_with_the_signed_registry_only(
    office: FederationOffice, holders: dict[str, tuple[str, SigningKey]]
) -> None:
    for person in ("anna", "cara"):
        office.sign_root(holders[person][1])
    office.admit(_broker_request(), NOW)
    request = _agency_request("northmoor-police")
    office.admit(request, NOW)
    office.propose_registry(NOW)
    office.sign_registry(holders["anna"][1])
    with pytest.raises(OfficeError, match="no registry is signed"):
        office.answer("northmoor-police")
    assert office.sign_registry(holders["cara"][1]).in_force
    answer = office.answer("northmoor-police")
    identity = verify_issued(answer.certificate.encode(), office.ca_certificate, NOW)
    assert identity.uri == "spiffe://testfed/agency/northmoor-police"
    listed = office.registry().agency("northmoor-police")
    assert listed is not None
    assert listed.node_verify_key == request.node_verify_key


def test_withdrawn_agency_is_not_in_the_next_registry(
    office: FederationOffice, holders: dict[str, tuple[str, SigningKey]]
) -> None:
    for person in ("anna", "cara"):
        office.sign_root(holders[person][1])
    office.admit(_broker_request(), NOW)
    office.admit(_agency_request("one"), NOW)
    office.admit(_agency_request("two"), NOW)
    office.withdraw("one")
    registry = office.propose_registry(NOW)
    assert [agency.id for agency in registry.agencies] == ["two"]


def test_next_root_needs_old_and_new_threshold(
    office: FederationOffice, holders: dict[str, tuple[str, SigningKey]]
) -> None:
    for person in ("anna", "cara"):
        office.sign_root(holders[person][1])
    heir = generate_signing_key()
    old = office.root()
    new = next_root(old, NOW + timedelta(days=700))
    new = Root(
        federation=new.federation,
        version=2,
        expires=new.expires,
        threshold=2,
        minimum_organisations=2,
        keys=(new.keys[0], RootKey(PersonId("dora"), AgencyId("health"), heir.verify_key)),
    )
    office.propose_root(new)
    assert not office.sign_root(holders["anna"][1]).in_force
    assert not office.sign_root(heir).in_force  # the new threshold, but not the old
    assert office.sign_root(holders["cara"][1]).in_force
    assert office.root().version == 2
    assert len(office.root_envelopes()) == 2


def test_office_reopens_with_its_passphrase_only(tmp_path: Path, office: FederationOffice) -> None:
    assert FederationOffice.open(tmp_path / "office", "a passphrase").federation == FEDERATION
    with pytest.raises(CryptoError, match="passphrase"):
        FederationOffice.open(tmp_path / "office", "another")
    with pytest.raises(OfficeError, match="already holds"):
        FederationOffice.create(tmp_path / "office", office_root(), "x", NOW)


def test_a_holder_signs_a_draft_of_the_kind_that_the_command_names(
    office: FederationOffice, holders: dict[str, tuple[str, SigningKey]], tmp_path: Path
) -> None:
    for person in ("anna", "cara"):
        office.sign_root(holders[person][1])
    mine = _root({"anna": holders["anna"]}, 1, 1)
    registry, root = (tmp_path / "office" / f"{name}.draft.json" for name in ("registry", "root"))
    for draft in (replace(mine, version=2), replace(mine, federation=FederationId("elsewhere"), version=2)):
        registry.write_bytes(envelope_of(draft).to_bytes())
        with pytest.raises(DocumentError):
            office.sign_registry(holders["anna"][1])
    for draft in (replace(mine, version=3), replace(mine, federation=FederationId("elsewhere"), version=2)):
        root.write_bytes(envelope_of(draft).to_bytes())
        with pytest.raises(OfficeError, match="not the next root"):
            office.sign_root(holders["anna"][1])


def office_root() -> Root:
    return _root({"anna": ("police", generate_signing_key())}, 1, 1)


def test_request_fingerprint_changes_with_any_key() -> None:
    assert fingerprint(_agency_request("one")) != fingerprint(_agency_request("one"))

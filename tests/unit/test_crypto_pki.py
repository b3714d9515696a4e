"""The federation's certificates: who may be what, and nothing more."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from crypto.errors import PkiError
from crypto.pki import (
    FederationCa,
    PeerIdentity,
    PeerRole,
    certificate_expiry,
    certificate_identity,
    make_key_and_request,
    parse_spiffe,
    verify_issued,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AGENCY = PeerIdentity("demo", PeerRole.AGENCY, "north-police")
BROKER = PeerIdentity("demo", PeerRole.BROKER, "broker")


@pytest.fixture(scope="module")
def ca() -> FederationCa:
    return FederationCa.create("demo", NOW)


def _agency(ca: FederationCa, now: datetime = NOW, days: int = 30) -> bytes:
    return ca.issue("agency", AGENCY.id, make_key_and_request(AGENCY)[1], now, days)


def _broker(ca: FederationCa) -> bytes:
    request = make_key_and_request(BROKER)[1]
    return ca.issue("broker", "broker", request, NOW, dns_names=["broker.test"], ip_addresses=["127.0.0.1"])


def test_the_identity_is_the_uri(ca: FederationCa) -> None:
    assert certificate_identity(_agency(ca)) == AGENCY
    assert certificate_identity(_broker(ca)) == BROKER
    assert verify_issued(_agency(ca), ca.certificate_pem, NOW) == AGENCY
    assert AGENCY.uri == "spiffe://demo/agency/north-police"
    assert BROKER.uri == "spiffe://demo/broker"


def test_an_independent_verifier_accepts_the_chain_for_its_use_only(ca: FederationCa) -> None:
    store = Store([x509.load_pem_x509_certificate(ca.certificate_pem)])
    agency = x509.load_pem_x509_certificate(_agency(ca))
    broker = x509.load_pem_x509_certificate(_broker(ca))
    builder = PolicyBuilder().store(store).time(NOW)
    client = builder.build_client_verifier().verify(agency, [])
    assert client.subjects is not None
    assert [name.value for name in client.subjects] == [AGENCY.uri]
    builder.build_server_verifier(x509.DNSName("broker.test")).verify(broker, [])
    with pytest.raises(VerificationError):
        builder.build_client_verifier().verify(broker, [])
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("broker.test")).verify(agency, [])
    with pytest.raises(VerificationError):
        PolicyBuilder().store(store).time(NOW + timedelta(days=31)).build_client_verifier().verify(agency, [])


def test_a_leaf_signs_nothing_but_its_handshake(ca: FederationCa) -> None:
    leaf = x509.load_pem_x509_certificate(_agency(ca)).extensions
    constraints = leaf.get_extension_for_class(x509.BasicConstraints)
    usage = leaf.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, False)
    assert list(leaf.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]


def test_the_authority_signs_leaves_only(ca: FederationCa) -> None:
    authority = x509.load_pem_x509_certificate(ca.certificate_pem).extensions
    constraints = authority.get_extension_for_class(x509.BasicConstraints)
    usage = authority.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)


def test_certificates_are_short_lived_and_within_the_authority(ca: FederationCa) -> None:
    assert certificate_expiry(_agency(ca)) == NOW + timedelta(days=30)
    for days in (0, 91):
        with pytest.raises(PkiError, match="from 1 to 90 days"):
            _agency(ca, days=days)
    for now in (NOW + timedelta(days=3640), NOW - timedelta(days=1)):
        with pytest.raises(PkiError, match="outlive"):
            _agency(ca, now=now)
    with pytest.raises(PkiError, match="UTC aware"):
        FederationCa.create("demo", datetime(2026, 1, 1))


def test_a_request_must_be_signed_by_its_own_key(ca: FederationCa) -> None:
    pem = make_key_and_request(AGENCY)[1]
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(PkiError, match="not signed by its own key"):
        ca.issue("agency", AGENCY.id, forged, NOW)


def test_a_request_for_another_identity_is_refused(ca: FederationCa) -> None:
    request = make_key_and_request(AGENCY)[1]
    with pytest.raises(PkiError, match="another identity"):
        ca.issue("agency", "wessex-nhs", request, NOW)
    with pytest.raises(PkiError, match="another identity"):
        ca.issue("broker", "broker", request, NOW, dns_names=["broker.test"])


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_only_p_256_keys_are_certified(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, ca: FederationCa
) -> None:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm)
    with pytest.raises(PkiError, match="P-256"):
        ca.issue("agency", AGENCY.id, request.public_bytes(serialization.Encoding.PEM), NOW)


def test_other_input_is_refused(ca: FederationCa) -> None:
    request, broker_request = make_key_and_request(AGENCY)[1], make_key_and_request(BROKER)[1]
    with pytest.raises(PkiError, match="not readable"):
        ca.issue("agency", AGENCY.id, b"no PEM", NOW)
    with pytest.raises(PkiError, match="'agency' or 'broker'"):
        ca.issue("officer", AGENCY.id, request, NOW)
    with pytest.raises(PkiError, match="agency id"):
        ca.issue("agency", "North Police", request, NOW)
    with pytest.raises(PkiError, match="needs a DNS name"):
        ca.issue("broker", "broker", broker_request, NOW)
    with pytest.raises(PkiError, match="an agency's has none"):
        ca.issue("agency", AGENCY.id, request, NOW, dns_names=["a.test"])
    for name in ("*.test", "UPPER.test", "a b", "", "a..b"):
        with pytest.raises(PkiError):
            ca.issue("broker", "broker", broker_request, NOW, dns_names=[name])
    with pytest.raises(PkiError, match="IP address"):
        ca.issue("broker", "broker", broker_request, NOW, ip_addresses=["127.0.0.256"])


def test_a_stranger_s_certificate_is_refused(ca: FederationCa) -> None:
    other = FederationCa.create("demo", NOW)
    with pytest.raises(PkiError, match="not issued by"):
        verify_issued(_agency(other), ca.certificate_pem, NOW)
    renamed = FederationCa.load(ca.certificate_pem, ca.key_pem(None))
    renamed.federation = "other"
    request = make_key_and_request(replace(AGENCY, federation="other"))[1]
    with pytest.raises(PkiError, match="another federation"):
        verify_issued(renamed.issue("agency", AGENCY.id, request, NOW), ca.certificate_pem, NOW)
    with pytest.raises(PkiError, match="valid until"):
        verify_issued(_agency(ca), ca.certificate_pem, NOW + timedelta(days=31))
    with pytest.raises(PkiError):
        certificate_identity(ca.certificate_pem)
    with pytest.raises(PkiError, match="not readable"):
        certificate_identity(b"")


def test_an_authority_is_kept_and_loaded(ca: FederationCa) -> None:
    again = FederationCa.load(ca.certificate_pem, ca.key_pem("pass"), "pass")
    assert again.federation == "demo"
    assert verify_issued(_agency(again), ca.certificate_pem, NOW) == AGENCY
    assert b"ENCRYPTED" in ca.key_pem("pass")
    assert b"ENCRYPTED" not in ca.key_pem(None)
    for passphrase in ("other", None):
        with pytest.raises(PkiError, match="wrong passphrase"):
            FederationCa.load(ca.certificate_pem, ca.key_pem("pass"), passphrase)
    with pytest.raises(PkiError, match="does not belong"):
        FederationCa.load(FederationCa.create("demo", NOW).certificate_pem, ca.key_pem(None))
    key, request = make_key_and_request(AGENCY)
    with pytest.raises(PkiError, match="not that of a federation's authority"):
        FederationCa.load(ca.issue("agency", AGENCY.id, request, NOW), key)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://demo",
        "spiffe://demo/",
        "spiffe://demo/agency",
        "spiffe://demo/agency/",
        "spiffe://demo/agency/a/b",
        "spiffe://demo/agency/..",
        "spiffe://demo/agency/A",
        "spiffe://demo/agency/a%20b",
        "spiffe://demo/agency/a?x=1",
        "spiffe://demo/agency/a#x",
        "spiffe://demo/broker/",
        "spiffe://demo/broker/x",
        "spiffe://demo/Broker",
        "spiffe://Demo/broker",
        "spiffe://user@demo/broker",
        "spiffe://demo:443/broker",
        "spiffe:///broker",
        "SPIFFE://demo/broker",
        "spiffe://spiffe://demo/broker",
        "https://demo/broker",
        "demo/broker",
        "spiffe://demo/agency/a\n",
        "spiffe://demo/officer/a",
    ],
)
def test_only_exact_identities_are_read(uri: str) -> None:
    with pytest.raises(PkiError):
        parse_spiffe(uri)


def test_identities_are_read_back() -> None:
    for identity in (AGENCY, BROKER, PeerIdentity("a.b-c", PeerRole.AGENCY, "broker")):
        assert parse_spiffe(identity.uri) == identity
    with pytest.raises(PkiError):
        PeerIdentity("demo", PeerRole.BROKER, "other")

"""The federation's TLS identities: an X.509 authority, leaf certificates and SPIFFE ids.

TLS keys are ECDSA P-256 because gRPC refuses Ed25519 certificates; they identify a connection and sign no
document. The identity of a peer is the one URI SAN of its certificate (SPIFFE X.509-SVID)::

    spiffe://<federation>/agency/<agency id>        client authentication only
    spiffe://<federation>/broker                    server authentication only, with its DNS names and IP
    addresses

The authority has path length 0, leaves cannot sign certificates, and a leaf is issued only for a request
that proves possession of its key. What a request says about names is never copied: the operator of the
authority decides the identity.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crypto.errors import PkiError

MAX_LEAF_DAYS = 90
CLOCK_SKEW = timedelta(minutes=5)
_TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DNS = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_UNUSED_KEY_USAGES = {
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "encipher_only": False,
    "decipher_only": False,
}


class PeerRole(StrEnum):
    """What a certificate lets its holder be."""

    AGENCY = "agency"
    BROKER = "broker"


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Who is at the other end of a TLS connection; `id` is the agency id, or `broker`."""

    federation: str
    role: PeerRole
    id: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.federation):
            raise PkiError("a federation name is lower-case letters, digits, dots and hyphens")
        if not _ID.fullmatch(self.id):
            raise PkiError("an agency id is lower-case letters, digits, dots, hyphens and underscores")
        if self.role is PeerRole.BROKER and self.id != "broker":
            raise PkiError("the broker's identity has no other id than 'broker'")

    @property
    def uri(self) -> str:
        """The SPIFFE id."""
        path = "broker" if self.role is PeerRole.BROKER else f"agency/{self.id}"
        return f"spiffe://{self.federation}/{path}"


def parse_spiffe(uri: str) -> PeerIdentity:
    """The identity in a SPIFFE id of the two forms above; PkiError for anything else, however close."""
    head, _, path = uri.removeprefix("spiffe://").partition("/")
    role, _, agency = path.partition("/")
    if uri.startswith("spiffe://") and role == "broker" and path == "broker":
        return PeerIdentity(head, PeerRole.BROKER, "broker")
    if uri.startswith("spiffe://") and role == "agency":
        return PeerIdentity(head, PeerRole.AGENCY, agency)
    raise PkiError("not a SPIFFE id of this system: spiffe://<federation>/agency/<id> or .../broker")


def make_key_and_request(identity: PeerIdentity) -> tuple[bytes, bytes]:
    """A fresh P-256 key and a request for `identity`: (PKCS#8 PEM without encryption, as gRPC needs.

    CSR PEM).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(identity.uri))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key, None), request.public_bytes(serialization.Encoding.PEM)


class FederationCa:
    """The certificate authority of one federation, its private key in memory."""

    __slots__ = ("_certificate", "_key", "federation")

    def __init__(
        self, federation: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        self.federation = federation
        self._key = key
        self._certificate = certificate

    @classmethod
    def create(cls, federation: str, now: datetime, days: int = 3650) -> "FederationCa":
        """A new authority, valid from `now` (UTC) for `days`."""
        if not _TRUST_DOMAIN.fullmatch(federation):
            raise PkiError("a federation name is lower-case letters, digits, dots and hyphens")
        key = ec.generate_private_key(ec.SECP256R1())
        name = _subject(f"Tallystick federation {federation}")
        builder = _builder(name, name, key.public_key(), now, now + timedelta(days=days))
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{federation}")]),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        return cls(federation, key, certificate)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes, passphrase: str | None = None) -> "FederationCa":
        """The authority of a certificate and its key; PkiError when they do not belong together."""
        certificate = _load_certificate(certificate_pem)
        try:
            key = serialization.load_pem_private_key(key_pem, passphrase.encode() if passphrase else None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise PkiError("the authority's key does not load: wrong passphrase or not a PEM key") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise PkiError("the authority's key does not belong to its certificate")
        uris = _uris(certificate)
        if len(uris) != 1 or not _TRUST_DOMAIN.fullmatch(uris[0].removeprefix("spiffe://")):
            raise PkiError("the certificate is not that of a federation's authority")
        return cls(uris[0].removeprefix("spiffe://"), key, certificate)

    @property
    def certificate_pem(self) -> bytes:
        """The trust anchor that every node and the broker are given."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: str | None) -> bytes:
        """The private key as PKCS#8 PEM, encrypted unless `passphrase` is None."""
        return _key_pem(self._key, passphrase)

    def issue(
        self,
        role: PeerRole | str,
        id: str,
        csr_pem: bytes,
        now: datetime,
        days: int = 30,
        *,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
    ) -> bytes:
        """A leaf certificate (PEM) for the key of a request, from `now` (UTC) for `days` (at most 90).

        `role` is "agency" (`id` its agency id) or "broker" (`id` "broker", with at least one name or
        address). Raises PkiError, also where the request is not signed by its own key, is not P-256 or asks
        for another identity.
        """
        identity = PeerIdentity(self.federation, _role(role), id)
        public_key = _proven_key(csr_pem, identity)
        if not 1 <= days <= MAX_LEAF_DAYS:
            raise PkiError(f"a certificate lasts from 1 to {MAX_LEAF_DAYS} days")
        end = now + timedelta(days=days)
        if end > self._certificate.not_valid_after_utc or now < self._certificate.not_valid_before_utc:
            raise PkiError("the certificate would outlive its authority; renew the authority first")
        names = _alternative_names(identity, dns_names, ip_addresses)
        usage = (
            ExtendedKeyUsageOID.SERVER_AUTH
            if identity.role is PeerRole.BROKER
            else ExtendedKeyUsageOID.CLIENT_AUTH
        )
        certificate = (
            _builder(_subject(identity.uri), self._certificate.subject, public_key, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def __repr__(self) -> str:
        return f"FederationCa({self.federation!r})"


def certificate_identity(certificate_pem: bytes) -> PeerIdentity:
    """The identity in a leaf certificate.

    PkiError unless it has exactly one URI SAN and that is a SPIFFE id.
    """
    uris = _uris(_load_certificate(certificate_pem))
    if len(uris) != 1:
        raise PkiError(f"the certificate has {len(uris)} URI names, not one")
    return parse_spiffe(uris[0])


def certificate_expiry(certificate_pem: bytes) -> datetime:
    """When a certificate ends (UTC aware), so that a service can warn in time."""
    return _load_certificate(certificate_pem).not_valid_after_utc


def verify_issued(certificate_pem: bytes, authority_pem: bytes, now: datetime) -> PeerIdentity:
    """The identity in a leaf that this authority issued and that is valid at `now`; PkiError otherwise.

    For checks outside a handshake (`check-config`); TLS does its own.
    """
    leaf, authority = _load_certificate(certificate_pem), _load_certificate(authority_pem)
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise PkiError("the certificate was not issued by this federation's authority") from None
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise PkiError(f"the certificate is valid until {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC only")
    identity = certificate_identity(certificate_pem)
    if _uris(authority) != [f"spiffe://{identity.federation}"]:
        raise PkiError("the certificate names another federation than its authority")
    return identity


def _proven_key(csr_pem: bytes, identity: PeerIdentity) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        valid = request.is_signature_valid
        key = request.public_key()
        asked = _uris(request)
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        raise PkiError("the certificate request is not readable PEM") from None
    if not valid:
        raise PkiError("the certificate request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise PkiError("a TLS key must be ECDSA P-256")
    if asked not in ([], [identity.uri]):
        raise PkiError(f"the certificate request asks for another identity than {identity.uri}")
    return key


def _alternative_names(
    identity: PeerIdentity, dns_names: Sequence[str], ip_addresses: Sequence[str]
) -> list[x509.GeneralName]:
    if (identity.role is PeerRole.BROKER) != bool(dns_names or ip_addresses):
        raise PkiError("a broker's certificate needs a DNS name or IP address, and an agency's has none")
    if not all(_DNS.fullmatch(name) for name in dns_names):
        raise PkiError("a DNS name of a certificate is lower-case and has no wildcard")
    try:
        addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ip_addresses]
    except ValueError:
        raise PkiError("an IP address of the certificate is malformed") from None
    return [
        x509.UniformResourceIdentifier(identity.uri),
        *(x509.DNSName(name) for name in dns_names),
        *addresses,
    ]


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    if start.tzinfo is None:
        raise PkiError("times of a certificate must be UTC aware")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - CLOCK_SKEW)
        .not_valid_after(end)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        **_UNUSED_KEY_USAGES,
    )


def _subject(text: str) -> x509.Name:
    # A common name holds 64 characters; the identity is in the SAN, this is for people who list certificates.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text.removeprefix("spiffe://")[:64])])


def _role(role: PeerRole | str) -> PeerRole:
    try:
        return PeerRole(role)
    except ValueError:
        raise PkiError("the role of a certificate is 'agency' or 'broker'") from None


def _uris(source: x509.Certificate | x509.CertificateSigningRequest) -> list[str]:
    try:
        names = source.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _load_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise PkiError("the certificate is not readable PEM") from None


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: str | None) -> bytes:
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

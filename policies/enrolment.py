"""Joining a federation: what a node or broker asks for, and what the federation's office answers.

A request carries public keys only. It is not signed: the office checks it out of band (in person, by
telephone against the fingerprint that `fingerprint` gives), issues the certificate, and lists the keys in the
registry, which the root holders sign. The answer carries nothing secret either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from crypto.canonical import sha256_hex
from crypto.keys import SealingPublicKey, VerifyKey
from policies.codec import Document, write
from policies.ids import AgencyId, Email, FederationId, Line, PersonId, Text
from policies.vocabulary import AgencyKind, OfficerRole


class Pem(Text):
    """One PEM block."""

    __slots__ = ()
    PATTERN = r"-----BEGIN [A-Z ]{1,40}-----\n[A-Za-z0-9+/=\n]{1,8000}-----END [A-Z ]{1,40}-----\n"
    SHAPE = "one PEM block"


class Base64Url(Text):
    """Bytes in base64url without padding."""

    __slots__ = ()
    PATTERN = r"[A-Za-z0-9_-]{1,2000000}"
    SHAPE = "base64url without padding"


@dataclass(frozen=True, slots=True)
class RequestedOfficer:
    """An officer whom the agency wants listed, with the key that the officer made and keeps."""

    person: PersonId
    roles: tuple[OfficerRole, ...]
    verify_key: VerifyKey
    name: Line | None = None


@dataclass(frozen=True, slots=True)
class AgencyRequest:
    """`agency-enrolment-request/v1`."""

    KIND: ClassVar[str] = "agency-enrolment-request/v1"

    federation: FederationId
    agency: AgencyId
    kind: AgencyKind
    name: Line
    contact: Email
    node_verify_key: VerifyKey
    sealing_key: SealingPublicKey
    csr: Pem
    officers: tuple[RequestedOfficer, ...]


@dataclass(frozen=True, slots=True)
class BrokerRequest:
    """`broker-enrolment-request/v1`."""

    KIND: ClassVar[str] = "broker-enrolment-request/v1"

    federation: FederationId
    audit_key: VerifyKey
    csr: Pem
    dns_names: tuple[Line, ...]
    ip_addresses: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class EnrolmentAnswer:
    """`enrolment-answer/v1`: the certificate, the authority, and the trust documents as DSSE envelopes.

    Whoever installs it compares the fingerprint of the first root with the one that the office gave out of
    band: from then on every byte is verified from that root.
    """

    KIND: ClassVar[str] = "enrolment-answer/v1"

    federation: FederationId
    certificate: Pem
    federation_ca: Pem
    roots: tuple[Base64Url, ...]
    registry: Base64Url


def fingerprint(document: Document) -> str:
    """What two people compare on the telephone: SHA-256 of the document, in groups of four digits."""
    digest = sha256_hex(write(document))[:32]
    return " ".join(digest[i : i + 4] for i in range(0, 32, 4))

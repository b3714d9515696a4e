"""The office of a federation: a folder with its authority, roots, registry and members.

    ca.pem, ca-key.pem     the TLS authority; its key is encrypted with the office's passphrase
    root.<n>.json          signed roots, from version 1
    registry.json          the registry that is in force
    registry.draft.json    the next registry while it collects root signatures
    root.draft.json        the next root while it collects signatures
    members/<id>.json      enrolment requests that were admitted (public keys only)
    members/<id>.pem       certificates that were issued

The office decides nothing alone: a draft comes into force when the root's threshold has signed it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from crypto.canonical import b64u
from crypto.envelope import Envelope, add_signature, verified_keys
from crypto.keys import Signer
from crypto.pki import FederationCa, PeerRole
from policies.codec import envelope_of, open_document, parse, write
from policies.enrolment import AgencyRequest, Base64Url, BrokerRequest, EnrolmentAnswer, Pem
from policies.ids import FederationId, SpiffeUri
from policies.registry import Agency, Officer, Registry
from policies.root import Root
from protos.wire.terminal import TerminalError

CERTIFICATE_DAYS = 90
REGISTRY_DAYS = 90


class OfficeError(TerminalError):
    """The office cannot do this; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class SigningProgress:
    """How far a draft is: who signed, how many must, and whether it came into force."""

    signed_by: tuple[str, ...]
    needed: int
    in_force: bool


def _write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


class FederationOffice:
    """An office's folder, opened."""

    def __init__(self, folder: Path, ca: FederationCa) -> None:
        self._folder = folder
        self._ca = ca

    @classmethod
    def create(cls, folder: Path, root: Root, passphrase: str, now: datetime) -> FederationOffice:
        """A new office whose first root waits for its signatures.

        Raises:
            OfficeError: the folder already holds an office.
        """
        if (folder / "ca.pem").exists():
            raise OfficeError(f"{folder} already holds a federation; choose an empty folder")
        if root.version != 1:
            raise OfficeError("a new federation starts with version 1 of its root")
        (folder / "members").mkdir(parents=True, exist_ok=True)
        ca = FederationCa.create(root.federation, now)
        _write_atomic(folder / "ca-key.pem", ca.key_pem(passphrase), 0o600)
        _write_atomic(folder / "root.draft.json", envelope_of(root).to_bytes())
        _write_atomic(folder / "ca.pem", ca.certificate_pem)
        return cls(folder, ca)

    @classmethod
    def open(cls, folder: Path, passphrase: str) -> FederationOffice:
        """The office in `folder`.

        Raises:
            OfficeError: there is none. PkiError: the passphrase is wrong.
        """
        try:
            certificate = (folder / "ca.pem").read_bytes()
            key = (folder / "ca-key.pem").read_bytes()
        except FileNotFoundError:
            raise OfficeError(
                f"{folder} holds no federation; run `tallystick federation init` first"
            ) from None
        return cls(folder, FederationCa.load(certificate, key, passphrase))

    @property
    def federation(self) -> FederationId:
        """The federation's id."""
        return FederationId(self._ca.federation)

    @property
    def ca_certificate(self) -> bytes:
        """The authority's certificate, PEM."""
        return self._ca.certificate_pem

    def root_envelopes(self) -> tuple[bytes, ...]:
        """The signed roots, version 1 first."""
        envelopes: list[bytes] = []
        while (path := self._folder / f"root.{len(envelopes) + 1}.json").exists():
            envelopes.append(path.read_bytes())
        return tuple(envelopes)

    def root(self) -> Root:
        """The root in force.

        Raises:
            OfficeError: none has its signatures yet.
        """
        envelopes = self.root_envelopes()
        if not envelopes:
            raise OfficeError("the first root is not signed yet; run `tallystick federation sign-root`")
        return open_document(Root, Envelope.from_bytes(envelopes[-1]))

    def registry_envelope(self) -> bytes:
        """The registry in force, as its DSSE envelope.

        Raises:
            OfficeError: none has its signatures yet.
        """
        path = self._folder / "registry.json"
        if not path.exists():
            raise OfficeError("no registry is signed yet; run `tallystick federation sign-registry`")
        return path.read_bytes()

    def registry(self) -> Registry:
        """The registry in force."""
        return open_document(Registry, Envelope.from_bytes(self.registry_envelope()))

    def propose_root(self, root: Root) -> None:
        """Puts the next root up for signing by the old threshold and its own.

        Raises:
            OfficeError: its version does not follow.
        """
        expected = len(self.root_envelopes()) + 1
        if root.version != expected or root.federation != self.federation:
            raise OfficeError(f"the next root of {self.federation} has version {expected}")
        _write_atomic(self._folder / "root.draft.json", envelope_of(root).to_bytes())

    def root_draft(self) -> Root:
        """The root that is up for signing, to be read before. Raises OfficeError where none is."""
        return open_document(Root, self._draft("root"))

    def sign_root(self, signer: Signer) -> SigningProgress:
        """Adds a signature to the root draft, which comes into force at the threshold."""
        draft, root = self._draft("root"), self.root_draft()
        if root.version != len(self.root_envelopes()) + 1 or root.federation != self.federation:
            raise OfficeError(f"what is up for signing is not the next root of {self.federation}")
        envelope = add_signature(draft, signer)
        authorities = [root] if root.version == 1 else [self.root(), root]
        progress = _progress(envelope, authorities)
        path = self._folder / "root.draft.json"
        _write_atomic(path, envelope.to_bytes())
        if progress.in_force:
            path.replace(self._folder / f"root.{root.version}.json")
        return progress

    def _draft(self, what: str) -> Envelope:
        path = self._folder / f"{what}.draft.json"
        if not path.exists():
            raise OfficeError(f"no {what} is up for signing")
        return Envelope.from_bytes(path.read_bytes())

    def admit(self, request: AgencyRequest | BrokerRequest, now: datetime) -> None:
        """Issues a certificate for a request whose fingerprint was checked out of band.

        Admitting the same agency again replaces its keys and officers in the next registry.

        Raises:
            OfficeError: another federation. PkiError: the certificate request is wrong.
        """
        if request.federation != self.federation:
            raise OfficeError(f"the request is for another federation than {self.federation}")
        if isinstance(request, BrokerRequest):
            name = "broker"
            certificate = self._ca.issue(
                PeerRole.BROKER,
                name,
                request.csr.encode(),
                now,
                CERTIFICATE_DAYS,
                dns_names=request.dns_names,
                ip_addresses=request.ip_addresses,
            )
        else:
            name = str(request.agency)
            certificate = self._ca.issue(PeerRole.AGENCY, name, request.csr.encode(), now, CERTIFICATE_DAYS)
        _write_atomic(self._folder / "members" / f"{name}.json", write(request))
        _write_atomic(self._folder / "members" / f"{name}.pem", certificate)

    def propose_registry(self, now: datetime, days: int = REGISTRY_DAYS) -> Registry:
        """Puts a registry of everybody admitted so far up for signing.

        Raises:
            OfficeError: the broker is not admitted yet.
        """
        broker_path = self._folder / "members" / "broker.json"
        if not broker_path.exists():
            raise OfficeError("the broker is not admitted yet; the registry names its key")
        broker = parse(BrokerRequest, broker_path.read_bytes())
        requests = [
            parse(AgencyRequest, path.read_bytes())
            for path in sorted((self._folder / "members").glob("*.json"))
            if path != broker_path
        ]
        held = (self._folder / "registry.json").exists()
        registry = Registry(
            federation=self.federation,
            version=self.registry().version + 1 if held else 1,
            minimum_version=1,
            expires=now.replace(microsecond=0) + timedelta(days=days),
            broker_verify_key=broker.audit_key,
            broker_spiffe=SpiffeUri(f"spiffe://{self.federation}/broker"),
            agencies=tuple(_agency(request) for request in requests),
            officers=tuple(officer for request in requests for officer in _officers(request)),
        )
        _write_atomic(self._folder / "registry.draft.json", envelope_of(registry).to_bytes())
        return registry

    def registry_draft(self) -> Registry:
        """The registry that is up for signing, to be read before. Raises OfficeError where none is."""
        return open_document(Registry, self._draft("registry"))

    def sign_registry(self, signer: Signer) -> SigningProgress:
        """Adds a signature to the registry draft, which comes into force at the threshold."""
        draft, registry = self._draft("registry"), self.registry_draft()
        if registry.federation != self.federation:
            raise OfficeError(f"what is up for signing is not a registry of {self.federation}")
        envelope = add_signature(draft, signer)
        progress = _progress(envelope, [self.root()])
        path = self._folder / "registry.draft.json"
        _write_atomic(path, envelope.to_bytes())
        if progress.in_force:
            path.replace(self._folder / "registry.json")
        return progress

    def answer(self, member: str) -> EnrolmentAnswer:
        """What an admitted member needs to join: its certificate and the trust documents.

        Raises:
            OfficeError: not admitted, or the registry in force does not list it yet.
        """
        path = self._folder / "members" / f"{member}.pem"
        if not path.exists():
            raise OfficeError(f"{member} is not admitted; run `tallystick federation admit` with its request")
        if member != "broker" and self.registry().agency(member) is None:
            raise OfficeError(f"the registry in force does not list {member} yet; propose and sign the next")
        return EnrolmentAnswer(
            federation=self.federation,
            certificate=Pem(path.read_text("ascii")),
            federation_ca=Pem(self._ca.certificate_pem.decode("ascii")),
            roots=tuple(Base64Url(b64u(envelope)) for envelope in self.root_envelopes()),
            registry=Base64Url(b64u(self.registry_envelope())),
        )

    def withdraw(self, member: str) -> None:
        """Leaves a member out of the next registry. Its certificate is worthless once that is in force."""
        path = self._folder / "members" / f"{member}.json"
        if not path.exists():
            raise OfficeError(f"{member} is not admitted")
        path.unlink()


def _progress(envelope: Envelope, authorities: Sequence[Root]) -> SigningProgress:
    """Counts distinct persons and organisations under every authority; each must reach its own threshold."""
    signed: set[str] = set()
    complete = True
    for root in authorities:
        keys = verified_keys(envelope, [key.verify_key for key in root.keys])
        holders = [key for key in root.keys if key.verify_key in keys]
        persons = {key.person for key in holders}
        signed |= {str(person) for person in persons}
        organisations = {key.organisation for key in holders}
        complete &= len(persons) >= root.threshold and len(organisations) >= root.minimum_organisations
    if not signed:
        raise OfficeError("this key is not a root key of the federation")
    return SigningProgress(tuple(sorted(signed)), max(root.threshold for root in authorities), complete)


def _agency(request: AgencyRequest) -> Agency:
    return Agency(
        id=request.agency,
        kind=request.kind,
        name=request.name,
        node_verify_key=request.node_verify_key,
        sealing_key=request.sealing_key,
        spiffe=SpiffeUri(f"spiffe://{request.federation}/agency/{request.agency}"),
        contact=request.contact,
    )


def _officers(request: AgencyRequest) -> list[Officer]:
    return [
        Officer(
            person=officer.person,
            organisation=request.agency,
            roles=officer.roles,
            verify_key=officer.verify_key,
            name=officer.name,
        )
        for officer in request.officers
    ]


def next_root(root: Root, expires: datetime) -> Root:
    """The same root holders for another term: the next version, with a later expiry."""
    return replace(root, version=root.version + 1, expires=expires)

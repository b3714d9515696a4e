"""Setting a node up: its folder and keys, what it asks of the federation's office, and what that answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate

from agency_node import migrations
from agency_node.audit import AuditLog
from agency_node.config import NodeConfig, example_config, load_config
from agency_node.errors import NodeConfigError, NodeError
from agency_node.keys import ANCHOR, NodeKeys, create_keystore, load_keys
from agency_node.mapping import load_mapping
from agency_node.mapping_toml import MappingError
from agency_node.store.engine import StoreError
from agency_node.store.store import NodeStore
from agency_node.trust import begin_trust
from crypto.audit import AuditAction
from crypto.canonical import parse_strict, unb64u
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from crypto.keys import VerifyKey
from crypto.keystore import Argon2Cost, Keystore
from crypto.pki import PeerIdentity, PeerRole, make_key_and_request, verify_issued
from policies.codec import open_document, parse, write
from policies.enrolment import AgencyRequest, EnrolmentAnswer, Pem, RequestedOfficer, fingerprint
from policies.errors import PolicyError
from policies.ids import AgencyId, Email, FederationId, Hash256, Line, PersonId
from policies.registry import Registry
from policies.root import Root
from policies.vocabulary import AgencyKind, OfficerRole

CONFIG_NAME = "node.toml"
REQUEST_NAME = "enrolment-request.json"


@dataclass(frozen=True, slots=True)
class NewNode:
    """What `node init` is told."""

    federation: FederationId
    agency: AgencyId
    kind: AgencyKind
    name: Line
    contact: Email
    broker_target: str
    officers: tuple[RequestedOfficer, ...]


def initialise(
    folder: Path, node: NewNode, passphrase: str, *, cost: Argon2Cost | None = None
) -> AgencyRequest:
    """Makes a node's folder: configuration, keystore, TLS key, and the request for the federation's office.

    Raises:
        NodeConfigError: the folder holds a node already. CryptoError: the keystore cannot be made.
    """
    if (folder / CONFIG_NAME).exists():
        raise NodeConfigError(f"{folder} holds a node already; choose another folder")
    data = folder / "data"
    for path in (folder, data):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    keystore = create_keystore(data / "keys.json", passphrase, cost)
    keys = load_keys(keystore, node.federation, node.agency)
    identity = PeerIdentity(node.federation, PeerRole.AGENCY, node.agency)
    tls_key, csr = make_key_and_request(identity)
    _write(data / "tls-key.pem", tls_key, 0o600)
    request = AgencyRequest(
        federation=node.federation,
        agency=node.agency,
        kind=node.kind,
        name=node.name,
        contact=node.contact,
        node_verify_key=keys.signer.verify_key,
        sealing_key=keys.sealing_keys[0].public_key,
        csr=Pem(csr.decode("ascii")),
        officers=node.officers,
    )
    _write(folder / REQUEST_NAME, write(request), 0o644)
    text = example_config(node.federation, node.agency, node.broker_target)
    _write(folder / CONFIG_NAME, text.encode(), 0o644)
    return request


def read_officer(text: str) -> RequestedOfficer:
    """An officer from `PERSON:ROLE[,ROLE]:PUBLIC-KEY-FILE`.

    Raises:
        NodeError: not of that form. OSError: the file cannot be read.
    """
    parts = text.split(":", 2)
    if len(parts) != 3:
        raise NodeError(f"--officer {text}: expected PERSON:ROLE[,ROLE]:PUBLIC-KEY-FILE")
    person, roles, file = parts
    try:
        held = tuple(OfficerRole(role) for role in roles.split(","))
    except ValueError:
        known = ", ".join(role.value for role in OfficerRole)
        raise NodeError(f"--officer {person}: a role is one of {known}") from None
    key = VerifyKey.from_json(parse_strict(Path(file).read_bytes()))
    return RequestedOfficer(PersonId(person), held, key)


def read_answer(path: Path) -> tuple[EnrolmentAnswer, str]:
    """The office's answer and the fingerprint of its first root, which somebody must compare.

    Raises:
        PolicyError, CryptoError: not an answer, or without a root.
    """
    answer = parse(EnrolmentAnswer, path.read_bytes())
    if not answer.roots:
        raise NodeError(f"{path} holds no root; ask the federation's office for a whole answer")
    return answer, fingerprint(open_document(Root, Envelope.from_bytes(unb64u(answer.roots[0]))))


def same_fingerprint(one: str, other: str) -> bool:
    """Whether two fingerprints are the same, however they are spaced."""
    return "".join(one.split()).lower() == "".join(other.split()).lower()


async def install(config: NodeConfig, answer: EnrolmentAnswer, passphrase: str, now: datetime) -> Registry:
    """Installs an answer whose root's fingerprint was compared; returns the registry in force.

    Raises:
        NodeError: the certificate or registry is not for this node and its keys, or the node is enrolled
            under another root. PolicyError, CryptoError: the trust documents do not verify.
    """
    keystore = Keystore.open(config.keystore, passphrase)
    keys = load_keys(keystore, config.federation, config.agency)
    certificate, authority = answer.certificate.encode("ascii"), answer.federation_ca.encode("ascii")
    check_certificate(config, certificate, authority, now)
    roots = [unb64u(item) for item in answer.roots]
    anchor = Hash256(Envelope.from_bytes(roots[0]).digest)
    if keys.anchor not in (None, anchor):
        raise NodeError("this node is enrolled under another root; begin with a new folder")
    store = NodeStore.open(config.database)
    log = AuditLog(keys, keys.audit_wrapper, lambda: now)
    try:
        await migrations.upgrade(store.engine)
        registry = await begin_trust(
            store,
            log,
            keys.agency,
            anchor,
            roots,
            unb64u(answer.registry),
            now,
            lambda found: _check_listed(found, keys),
        )
        await _note_enrolment(store, log, keys, registry)
    finally:
        await store.close()
    if keys.anchor is None:
        keystore.add_secret(ANCHOR, anchor.encode("ascii"))
    _write(config.federation_ca, authority, 0o644)
    _write(config.certificate, certificate, 0o644)
    return registry


async def _note_enrolment(store: NodeStore, log: AuditLog, keys: NodeKeys, registry: Registry) -> None:
    async with store.transaction() as tx:
        await log.append(
            tx,
            AuditAction.NODE_ENROLLED,
            actor=str(keys.agency),
            body={"registry": registry.version, "key": keys.signer.verify_key.key_id},
        )


def check_certificate(config: NodeConfig, certificate: bytes, authority: bytes, now: datetime) -> None:
    """Refuses a certificate that is not this node's, or not for its key.

    Raises:
        NodeError, CryptoError.
    """
    identity = verify_issued(certificate, authority, now)
    wanted = PeerIdentity(config.federation, PeerRole.AGENCY, config.agency)
    if identity != wanted:
        raise NodeError(f"the certificate is for {identity.uri}, this node is {wanted.uri}")
    try:
        key = serialization.load_pem_private_key(config.private_key.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise NodeError(f"{config.private_key} is not a private key in PEM form") from None
    if key.public_key() != load_pem_x509_certificate(certificate).public_key():
        raise NodeError(
            f"the certificate does not belong to {config.private_key}; it answers an older request"
        )


def _check_listed(registry: Registry, keys: NodeKeys) -> None:
    listed = registry.agency(keys.agency)
    if listed is None:
        raise NodeError(f"the registry does not list {keys.agency}")
    if listed.node_verify_key != keys.signer.verify_key:
        raise NodeError(
            f"the registry lists another signing key for {keys.agency}: it was signed for an older request, "
            "or somebody enrolled in this agency's name"
        )
    if listed.sealing_key != keys.sealing_keys[0].public_key:
        raise NodeError(f"the registry lists another sealing key for {keys.agency}")


def check_config(path: Path, passphrase: str | None, now: datetime) -> list[str]:
    """Everything that is wrong with a configuration and the files that it names; empty if it is good.

    Without a passphrase the keystore is only looked for.
    """
    try:
        config = load_config(path)
    except NodeConfigError as error:
        return [str(error)]
    problems: list[str] = []
    problems += _tls_problems(config, now)
    problems += _keystore_problems(config, passphrase)
    try:
        load_mapping(config.mapping)
    except MappingError as error:
        problems.append(f"mapping: {error}")
    try:
        NodeStore.open(config.database)
    except StoreError as error:
        problems.append(f"database: {error}")
    if len(os.fsencode(config.control_socket)) > 107:
        problems.append("control_socket: the path is longer than 107 bytes; set a shorter one")
    if config.passphrase_file is not None and not config.passphrase_file.is_file():
        problems.append(f"keys.passphrase_file: {config.passphrase_file} is not there")
    return problems


def _tls_problems(config: NodeConfig, now: datetime) -> Sequence[str]:
    try:
        identity = config.tls_identity()
        check_certificate(config, identity.certificate, identity.federation_ca, now)
    except (NodeError, CryptoError, OSError) as error:
        return [f"tls: {error}"]
    return []


def _keystore_problems(config: NodeConfig, passphrase: str | None) -> Sequence[str]:
    if passphrase is None:
        return [] if config.keystore.is_file() else [f"keys.keystore: {config.keystore} is not there"]
    try:
        keys = load_keys(Keystore.open(config.keystore, passphrase), config.federation, config.agency)
    except (NodeError, CryptoError, PolicyError) as error:
        return [f"keys: {error}"]
    return [] if keys.anchor else ["keys: the node is not enrolled; run `tallystick node enrol`"]


def _write(path: Path, content: bytes, mode: int) -> None:
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)

"""Setting a broker up: its folder and keys, what it asks of the federation's office, and the answer."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import tomli_w

from broker import migrations
from broker.app import DETAILS_KEY, utc_now
from broker.audit import AuditLog
from broker.config import BrokerConfig, ConfigError
from broker.store.sql import SqlStore, open_engine
from broker.trust import TrustService
from crypto.canonical import unb64u
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from crypto.keys import generate_signing_key
from crypto.keystore import Argon2Cost, Keystore
from crypto.pki import PeerIdentity, PeerRole, make_key_and_request, verify_issued
from crypto.signers import load_signer
from policies.codec import open_document, parse, write
from policies.enrolment import BrokerRequest, EnrolmentAnswer, Pem, fingerprint
from policies.ids import FederationId, Line
from policies.root import Root

AUDIT_KEY = "audit"
CONFIG_NAME = "broker.toml"
REQUEST_NAME = "enrolment-request.json"


def initialise(
    folder: Path,
    federation: str,
    secret: str,
    *,
    listen: str,
    database: str,
    dns_names: Sequence[str],
    ip_addresses: Sequence[str],
    cost: Argon2Cost | None = None,
) -> BrokerRequest:
    """Makes a broker's folder: configuration, keystore, TLS key, and the request for the federation's office.

    Raises:
        ConfigError: the folder holds a broker already, or a name is missing.
    """
    if not dns_names and not ip_addresses:
        raise ConfigError("give the names or addresses by which nodes reach the broker: --dns or --ip")
    if (folder / CONFIG_NAME).exists():
        raise ConfigError(f"{folder} holds a broker already; choose another folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    audit_key = generate_signing_key()
    keystore = Keystore.create(folder / "keys.json", secret, cost=cost or Argon2Cost())
    keystore.add_signing(AUDIT_KEY, audit_key)
    keystore.add_secret(DETAILS_KEY, secrets.token_bytes(32))
    tls_key, csr = make_key_and_request(PeerIdentity(federation, PeerRole.BROKER, "broker"))
    _write_private(folder / "tls.key", tls_key)
    request = BrokerRequest(
        federation=FederationId(federation),
        audit_key=audit_key.verify_key,
        csr=Pem(csr.decode("ascii")),
        dns_names=tuple(Line(name) for name in dns_names),
        ip_addresses=tuple(Line(address) for address in ip_addresses),
    )
    (folder / REQUEST_NAME).write_bytes(write(request))
    settings: dict[str, object] = {
        "federation": federation,
        "listen": listen,
        "data_dir": "data",
        "anchor": "root.json",
        "tls": {"certificate": "tls.crt", "key": "tls.key", "federation_ca": "federation-ca.crt"},
        "audit": {"keystore": "keys.json"},
    }
    if database:
        settings = {"database": database, **settings}
    (folder / CONFIG_NAME).write_text(tomli_w.dumps(settings))
    return request


async def install(config: BrokerConfig, answer_file: Path, expected: str, secret: str) -> int:
    """As `install_files`, and brings the trust documents into force; returns the registry's version.

    `secret` is the keystore's passphrase.
    """
    roots, registry = await asyncio.to_thread(install_files, config, answer_file, expected)
    return await _bring_into_force(config, secret, roots, registry)


def install_files(config: BrokerConfig, answer_file: Path, expected: str) -> tuple[list[bytes], bytes]:
    """Installs the office's answer; returns the roots after the first, and the registry.

    `expected` is the fingerprint of the first root as the office gave it out of band.

    Raises:
        ConfigError: the answer is not for this broker, or its root is not the expected one.
    """
    try:
        answer = parse(EnrolmentAnswer, answer_file.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {answer_file}: {error.strerror}") from None
    roots = [unb64u(item) for item in answer.roots]
    if not roots:
        raise ConfigError(f"{answer_file} holds no root; ask the federation's office for a whole answer")
    found = fingerprint(open_document(Root, Envelope.from_bytes(roots[0])))
    if found.replace(" ", "") != expected.replace(" ", "").lower():
        raise ConfigError(
            f"{answer_file}: the root's fingerprint is {found}, not the one given. Do not go on before you "
            "know why: somebody may have changed the answer on its way."
        )
    certificate, authority = answer.certificate.encode("ascii"), answer.federation_ca.encode("ascii")
    try:
        identity = verify_issued(certificate, authority, utc_now())
    except CryptoError as error:
        raise ConfigError(f"{answer_file}: {error}") from None
    if (identity.federation, identity.role) != (config.federation, PeerRole.BROKER):
        raise ConfigError(f"{answer_file}: the certificate is for {identity.uri}, not for this broker")
    config.anchor.write_bytes(roots[0])
    config.tls.certificate.write_bytes(certificate)
    config.tls.federation_ca.write_bytes(authority)
    return roots[1:], unb64u(answer.registry)


async def _bring_into_force(
    config: BrokerConfig, secret: str, roots: Sequence[bytes], registry: bytes
) -> int:
    signer = load_signer(config.audit.key, lambda: secret)
    details_key = Keystore.open(config.audit.keystore, secret).secret(DETAILS_KEY)
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = open_engine(config.database_url)
    await migrations.upgrade(engine)
    store = SqlStore(engine)
    try:
        log = AuditLog(signer, config.federation, details_key, utc_now)
        trust = TrustService(store, log, config.federation, utc_now)
        await trust.load(config.anchor.read_bytes())
        _, version = await trust.publish(roots, registry)
    finally:
        await store.close()
    return version


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)

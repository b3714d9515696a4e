"""What is wrong with a broker's configuration, and where: everything that can be known before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from broker import migrations
from broker.app import DETAILS_KEY
from broker.audit import AuditLog
from broker.config import BrokerConfig, ConfigError, load_config, passphrase
from broker.store.sql import SqlStore, open_engine
from broker.trust import TrustService
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from crypto.keystore import Keystore
from crypto.pki import PeerRole, certificate_expiry, verify_issued
from crypto.signers import load_signer
from policies.errors import PolicyError
from policies.ids import Hash256
from policies.trust import TrustedRegistry

_WARN_BEFORE = timedelta(days=7)


async def check_config(path: Path, now: datetime) -> tuple[str, ...]:
    """The problems of a configuration file, each saying where it is and what to do; none if it is good."""
    try:
        config = load_config(path)
    except ConfigError as error:
        return (str(error),)
    problems = [*_check_tls(config, now), *_check_anchor(config, now), *_check_keys(config)]
    problem = await _check_database(config) or (None if problems else await _check_listed(config, now))
    return (*problems, problem) if problem else tuple(problems)


def _check_tls(config: BrokerConfig, now: datetime) -> Iterator[str]:
    certificate = _content(config.tls.certificate)
    key = _content(config.tls.key)
    authority = _content(config.tls.federation_ca)
    for name, found in (("certificate", certificate), ("key", key), ("federation_ca", authority)):
        if isinstance(found, str):
            yield f"tls.{name}: {found}"
    if isinstance(certificate, str) or isinstance(authority, str):
        return
    try:
        identity = verify_issued(certificate, authority, now)
        expiry = certificate_expiry(certificate)
    except CryptoError as error:
        yield f"tls.certificate: {error}"
        return
    if identity.federation != config.federation:
        yield f"tls.certificate: it is of federation {identity.federation}, not {config.federation}"
    if identity.role is not PeerRole.BROKER:
        yield f"tls.certificate: it is for {identity.uri}, not for a broker"
    if expiry - now < _WARN_BEFORE:
        yield f"tls.certificate: it expires on {expiry:%Y-%m-%d %H:%M} UTC; renew it now"
    if isinstance(key, bytes) and not _belongs(key, certificate):
        yield "tls.key: it is not the unencrypted PEM key of tls.certificate"


def _check_anchor(config: BrokerConfig, now: datetime) -> Iterator[str]:
    anchor = _content(config.anchor)
    if isinstance(anchor, str):
        yield f"anchor: {anchor}"
        return
    try:
        trusted = TrustedRegistry.from_anchor(anchor, Hash256(Envelope.from_bytes(anchor).digest))
    except (CryptoError, PolicyError) as error:
        yield f"anchor: {error}"
        return
    if trusted.root.federation != config.federation:
        yield f"anchor: it is the root of {trusted.root.federation}, not of {config.federation}"


def _check_keys(config: BrokerConfig) -> Iterator[str]:
    try:
        secret = passphrase(config.audit)
    except ConfigError as error:
        yield str(error)
        return
    try:
        Keystore.open(config.audit.keystore, secret).secret(DETAILS_KEY)
    except CryptoError as error:
        yield f"audit.keystore: {error}"
        return
    try:
        load_signer(config.audit.key, lambda: secret)
    except CryptoError as error:
        yield f"audit.key: {error}"


async def _check_database(config: BrokerConfig) -> str | None:
    if not config.database and not config.data_dir.exists():
        return None  # made when the broker starts
    try:
        engine = open_engine(config.database_url)
    except (ValueError, SQLAlchemyError) as error:
        return f"database: {error}"
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError) as error:
        # The driver's own message may repeat the URL with its password.
        return f"database: cannot connect ({type(error).__name__}); is the server up, the URL right?"
    finally:
        await engine.dispose()
    return None


async def _check_listed(config: BrokerConfig, now: datetime) -> str | None:
    """Compares the audit log's key with the registry that the database holds, if it holds one already."""
    if not config.database and not config.data_dir.exists():
        return None
    engine = open_engine(config.database_url)
    try:
        if await migrations.revision(engine) is None:
            return None
        store = SqlStore(engine)
        async with store.read() as tx:
            if await tx.trust.registry() is None:
                return None
        signer = load_signer(config.audit.key, lambda: passphrase(config.audit))
        # The log's other key encrypts details, of which there are none here.
        log = AuditLog(signer, config.federation, b"", lambda: now)
        trust = TrustService(store, log, config.federation, lambda: now)
        await trust.load(config.anchor.read_bytes())
        return trust.key_problem()
    except PolicyError as error:
        return f"database: {error}"
    finally:
        await engine.dispose()


def _content(path: Path) -> bytes | str:
    """A file's bytes, or what is wrong with it."""
    try:
        return path.read_bytes()
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"


def _belongs(key: bytes, certificate: bytes) -> bool:
    try:
        private = load_pem_private_key(key, None)
        return private.public_key() == load_pem_x509_certificate(certificate).public_key()
    except (ValueError, TypeError):
        return False

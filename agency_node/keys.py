"""The node's private keys, out of its keystore, and what is encrypted at rest under them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agency_node.errors import NodeError
from crypto.derive import frame
from crypto.errors import KeystoreEntryError
from crypto.keys import SealingPrivateKey, Signer, generate_sealing_key, generate_signing_key
from crypto.keystore import Argon2Cost, Keystore
from policies.ids import AgencyId, FederationId, Hash256

SIGNING, SEALING, WRAP, AUDIT, ANCHOR = "node-signing", "node-sealing", "wrap", "audit-wrap", "anchor"
_FORMER_SEALING = "node-sealing."
_NONCE = 12


@dataclass(frozen=True, slots=True, repr=False)
class Wrapper:
    """Encrypts small secrets at rest: `nonce (12) || AES-256-GCM(secret, nonce, plaintext, context)`."""

    secret: bytes

    def __repr__(self) -> str:
        return "Wrapper(<hidden>)"

    def wrap(self, plaintext: bytes, *context: str) -> bytes:
        """`plaintext` encrypted and bound to its context, such as a table and a row's keys."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self.secret).encrypt(nonce, plaintext, frame("tallystick/wrap/v1", *context))

    def unwrap(self, wrapped: bytes, *context: str) -> bytes:
        """The inverse of `wrap`.

        Raises:
            NodeError: altered, moved from elsewhere, or wrapped under another keystore.
        """
        try:
            return AESGCM(self.secret).decrypt(
                wrapped[:_NONCE], wrapped[_NONCE:], frame("tallystick/wrap/v1", *context)
            )
        except (InvalidTag, ValueError):
            raise NodeError(
                f"a stored secret ({context[0]}) does not open: keystore and database do not belong together"
            ) from None


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """Who this node is, with its private keys. Satisfies `agency_node.ports.NodeIdentity`."""

    federation: FederationId
    agency: AgencyId
    signer: Signer = field(repr=False)
    sealing_keys: tuple[SealingPrivateKey, ...] = field(repr=False)
    wrapper: Wrapper = field(repr=False)
    audit_wrapper: Wrapper = field(repr=False)
    #: Digest of the first root, fixed at enrolment; None before.
    anchor: Hash256 | None = None


def create_keystore(path: Path, passphrase: str, cost: Argon2Cost | None = None) -> Keystore:
    """A keystore with everything that a new node needs."""
    store = Keystore.create(path, passphrase, cost=cost)
    store.add_signing(SIGNING, generate_signing_key())
    store.add_sealing(SEALING, generate_sealing_key())
    store.add_secret(WRAP, secrets.token_bytes(32))
    store.add_secret(AUDIT, secrets.token_bytes(32))
    return store


def load_keys(store: Keystore, federation: FederationId, agency: AgencyId) -> NodeKeys:
    """The node's keys.

    Raises:
        NodeError: the keystore is not one that `node init` made.
    """
    try:
        anchor = store.secret(ANCHOR).decode("ascii") if ANCHOR in store.names() else None
        former = sorted((name for name in store.names() if name.startswith(_FORMER_SEALING)), reverse=True)
        return NodeKeys(
            federation=federation,
            agency=agency,
            signer=store.signing(SIGNING),
            sealing_keys=tuple(store.sealing(name) for name in (SEALING, *former)),
            wrapper=Wrapper(store.secret(WRAP)),
            audit_wrapper=Wrapper(store.secret(AUDIT)),
            anchor=None if anchor is None else Hash256(anchor),
        )
    except KeystoreEntryError as error:
        raise NodeError(f"{store.path} is not a node's keystore: {error}") from None

"""A policy as it is held, whether or not it counts: for forms and limits, never to decide by."""

from __future__ import annotations

from agency_node.store.store import NodeTransaction
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.codec import open_document
from policies.errors import PolicyError
from policies.sharing import SharingPolicy
from protos.wire.errors import ErrorCode, RefusedError


async def held_policy(tx: NodeTransaction, policy_hash: str) -> SharingPolicy | None:
    """The policy with this document hash; None where none is held, or what is held cannot be read."""
    bundle = await tx.documents.get(policy_hash)
    if bundle is None:
        return None
    try:
        return open_document(SharingPolicy, Envelope.from_bytes(bundle.document))
    except (PolicyError, CryptoError):
        return None


async def require_held_policy(tx: NodeTransaction, policy_hash: str) -> SharingPolicy:
    """The policy with this document hash. Raises RefusedError: DOCUMENT_UNKNOWN."""
    policy = await held_policy(tx, policy_hash)
    if policy is None:
        raise RefusedError(ErrorCode.DOCUMENT_UNKNOWN, "the policy of a request or release is no longer held")
    return policy

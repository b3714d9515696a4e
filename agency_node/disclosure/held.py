"""What is held under a name: a policy by its hash, a request by its id.

A policy comes as it is held, whether or not it counts: for forms and limits, never to decide by.

An id names one request here, made or received: otherwise another agency could send a request under the id of
one that was made to it, and an officer who means the one would act on the other.
"""

from __future__ import annotations

from agency_node.disclosure.model import ReleaseSide, StoredRequest
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


async def held_request(tx: NodeTransaction, request_id: str) -> StoredRequest | None:
    """The request with this id. Raises RefusedError: REQUEST_UNKNOWN where the id does not say which."""
    found = await tx.requests.named(request_id)
    if len(found) > 1:
        raise RefusedError(
            ErrorCode.REQUEST_UNKNOWN,
            "this id is that of a request made here and of one received here: ask anew",
        )
    return found[0] if found else None


async def require_request(tx: NodeTransaction, request_id: str) -> StoredRequest:
    """The request with this id. Raises RefusedError: REQUEST_UNKNOWN."""
    found = await held_request(tx, request_id)
    if found is None:
        raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "no request with this id is held here")
    return found


async def id_is_taken(tx: NodeTransaction, request_id: str) -> bool:
    """Whether an id names something here: a request of either direction, or what was pushed."""
    if await tx.requests.named(request_id):
        return True
    return await tx.releases.get(ReleaseSide.GIVEN, request_id) is not None

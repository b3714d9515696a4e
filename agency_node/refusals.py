"""How errors of the layers below leave the node: as catalogued refusals with their own codes."""

from __future__ import annotations

from collections.abc import Sequence

from agency_node.errors import NodeError
from agency_node.mapping_toml import MappingError
from agency_node.sources.errors import SourceError
from crypto.errors import CryptoError, SignatureError
from policies.errors import (
    DocumentError,
    ExpiredError,
    LifecycleError,
    PolicyError,
    QuorumNotMetError,
    RollbackError,
    SigningError,
    StatusError,
    ThresholdError,
    TrustError,
    VersionSkipError,
    WrongFederationError,
)
from policies.ids import IdError
from protos.wire.errors import ErrorCode, RefusedError

#: First match wins, so that the special stands before the general.
_CODES: Sequence[tuple[type[Exception], ErrorCode]] = (
    (RollbackError, ErrorCode.TRUST_ROLLBACK),
    (VersionSkipError, ErrorCode.TRUST_ROLLBACK),
    (ThresholdError, ErrorCode.TRUST_SIGNATURES),
    (ExpiredError, ErrorCode.TRUST_EXPIRED),
    (WrongFederationError, ErrorCode.WRONG_FEDERATION),
    (TrustError, ErrorCode.TRUST_INVALID),
    (QuorumNotMetError, ErrorCode.QUORUM_NOT_MET),
    (SigningError, ErrorCode.SIGNATURE_INVALID),
    (LifecycleError, ErrorCode.LIFECYCLE_REFUSED),
    (StatusError, ErrorCode.STATUS_ROLLBACK),
    (DocumentError, ErrorCode.DOCUMENT_INVALID),
    (PolicyError, ErrorCode.DOCUMENT_INVALID),
    (SignatureError, ErrorCode.SIGNATURE_INVALID),
    (CryptoError, ErrorCode.DOCUMENT_INVALID),
    (IdError, ErrorCode.INVALID_ARGUMENT),
    (MappingError, ErrorCode.INVALID_ARGUMENT),
    (SourceError, ErrorCode.INVALID_ARGUMENT),
    (NodeError, ErrorCode.INVALID_ARGUMENT),
)


def translate(error: Exception) -> RefusedError | None:
    """The refusal that a foreseen error stands for; None for anything else."""
    if isinstance(error, RefusedError):
        return error
    for kind, code in _CODES:
        if isinstance(error, kind):
            return RefusedError(code, str(error))
    return None

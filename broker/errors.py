"""How errors of the layers below leave the broker: as catalogued refusals with their own codes."""

from __future__ import annotations

from collections.abc import Sequence

from crypto.errors import CryptoError, SignatureError
from policies.errors import (
    DocumentError,
    DuplicateKeyError,
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
    (DuplicateKeyError, ErrorCode.SIGNATURE_INVALID),
    (SigningError, ErrorCode.SIGNATURE_INVALID),
    (LifecycleError, ErrorCode.LIFECYCLE_REFUSED),
    (StatusError, ErrorCode.STATUS_ROLLBACK),
    (DocumentError, ErrorCode.DOCUMENT_INVALID),
    (PolicyError, ErrorCode.DOCUMENT_INVALID),
    (SignatureError, ErrorCode.SIGNATURE_INVALID),
    (CryptoError, ErrorCode.DOCUMENT_INVALID),
    (IdError, ErrorCode.INVALID_ARGUMENT),
)


def translate(error: Exception) -> RefusedError | None:
    """The refusal that an error of `policies` or `crypto` stands for; None for anything unforeseen."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return RefusedError(code, str(error))
    return None

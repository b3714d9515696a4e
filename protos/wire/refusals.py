"""How errors of the layers below leave a service: as catalogued refusals with their own codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
Codes = Sequence[tuple[type[Exception], ErrorCode]]

_CODES: Codes = (
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
)


def translator(own: Codes = ()) -> Callable[[Exception], RefusedError | None]:
    """What turns a foreseen error into the refusal that it stands for, and anything else into None.

    Foreseen are refusals themselves, the errors of `policies` and `crypto`, and a service's `own`.
    """
    codes = (*_CODES, *own)

    def translate(error: Exception) -> RefusedError | None:
        if isinstance(error, RefusedError):
            return error
        for kind, code in codes:
            if isinstance(error, kind):
                return RefusedError(code, str(error))
        return None

    return translate

"""The error catalogue: permanent codes that survive the RPC, and their gRPC status.

    RefusedError        an operation was refused; carries an `ErrorCode` and a sentence for people
      UnavailableError  the other side cannot be reached or is shutting down; trying again may help

A server raises `RefusedError`; `status_of` says which gRPC status goes out and `TRAILER` carries the code.
A client gets the same exception back from `refused_from_rpc`. Codes are never renumbered or reused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import grpc

#: Trailing metadata key that carries the code.
TRAILER = "tallystick-error"


class ErrorCode(StrEnum):
    """Permanent codes.

    First digit: 1 identity, 2 trust, 3 documents, 4 linkage, 5 relay, 6 disclosure, 9 general.
    """

    NO_CERTIFICATE = "TS1001"
    WRONG_FEDERATION = "TS1002"
    NOT_A_MEMBER = "TS1003"
    NOT_ALLOWED = "TS1004"
    ACTING_FOR_ANOTHER = "TS1005"

    TRUST_ROLLBACK = "TS2001"
    TRUST_SIGNATURES = "TS2002"
    TRUST_EXPIRED = "TS2003"
    TRUST_INVALID = "TS2004"

    DOCUMENT_INVALID = "TS3001"
    DOCUMENT_UNKNOWN = "TS3002"
    QUORUM_NOT_MET = "TS3003"
    SIGNATURE_INVALID = "TS3004"
    LIFECYCLE_REFUSED = "TS3005"
    STATUS_ROLLBACK = "TS3006"
    NOT_A_PARTY = "TS3007"

    LINKAGE_UNKNOWN = "TS4001"
    NOT_A_PARTICIPANT = "TS4002"
    WRONG_SCHEMA = "TS4003"
    WRONG_EPOCH = "TS4004"
    WRONG_LENGTH = "TS4005"
    EPOCH_NOT_OPEN = "TS4006"
    KEY_MISMATCH = "TS4007"
    UPLOAD_UNKNOWN = "TS4008"
    UPLOAD_OUT_OF_ORDER = "TS4009"
    UPLOAD_INCOMPLETE = "TS4010"
    QUOTA_EXCEEDED = "TS4011"
    RUN_UNKNOWN = "TS4012"
    TOO_MANY_PAIRS = "TS4013"
    BATCH_INVALID = "TS4014"
    NOTHING_TO_MATCH = "TS4015"
    PROBING_SUSPECTED = "TS4016"
    EPOCH_WENT_BACK = "TS4017"

    MESSAGE_REPLAYED = "TS5001"
    MAILBOX_FULL = "TS5002"
    TOKEN_UNKNOWN = "TS5003"  # noqa: S105 - a code, not a secret
    MESSAGE_EXPIRED = "TS5004"
    MESSAGE_TAMPERED = "TS5005"

    REQUEST_INVALID = "TS6001"
    REQUEST_UNKNOWN = "TS6002"
    REQUEST_REPLAYED = "TS6003"
    OFFICER_UNKNOWN = "TS6004"
    IDENTITY_MISMATCH = "TS6005"
    POLICY_NOT_ACTIVE = "TS6006"
    APPROVAL_REFUSED = "TS6007"
    CONFLICT_OF_INTEREST = "TS6008"

    TOO_LARGE = "TS9001"
    INVALID_ARGUMENT = "TS9002"
    UNAVAILABLE = "TS9003"
    INTERNAL = "TS9004"
    CANCELLED = "TS9005"
    DEADLINE = "TS9006"
    RATE_LIMITED = "TS9007"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """What a code means to people, and the gRPC status that carries it."""

    status: grpc.StatusCode
    meaning: str


_S = grpc.StatusCode
CATALOGUE: dict[ErrorCode, CatalogueEntry] = {
    ErrorCode.NO_CERTIFICATE: CatalogueEntry(
        _S.UNAUTHENTICATED, "No usable client certificate was presented."
    ),
    ErrorCode.WRONG_FEDERATION: CatalogueEntry(
        _S.UNAUTHENTICATED, "The certificate belongs to another federation."
    ),
    ErrorCode.NOT_A_MEMBER: CatalogueEntry(
        _S.PERMISSION_DENIED, "The federation registry does not list this agency."
    ),
    ErrorCode.NOT_ALLOWED: CatalogueEntry(_S.PERMISSION_DENIED, "This caller may not make this call."),
    ErrorCode.ACTING_FOR_ANOTHER: CatalogueEntry(
        _S.PERMISSION_DENIED, "An agency acted in the name of another."
    ),
    ErrorCode.TRUST_ROLLBACK: CatalogueEntry(
        _S.FAILED_PRECONDITION, "A trust document is older than the one already held."
    ),
    ErrorCode.TRUST_SIGNATURES: CatalogueEntry(
        _S.PERMISSION_DENIED, "A trust document lacks the root signatures it needs."
    ),
    ErrorCode.TRUST_EXPIRED: CatalogueEntry(
        _S.FAILED_PRECONDITION, "The root or the federation registry has expired."
    ),
    ErrorCode.TRUST_INVALID: CatalogueEntry(_S.INVALID_ARGUMENT, "A trust document is malformed."),
    ErrorCode.DOCUMENT_INVALID: CatalogueEntry(_S.INVALID_ARGUMENT, "A signed document is malformed."),
    ErrorCode.DOCUMENT_UNKNOWN: CatalogueEntry(_S.NOT_FOUND, "No such document is held."),
    ErrorCode.QUORUM_NOT_MET: CatalogueEntry(
        _S.FAILED_PRECONDITION, "A document lacks signatures that its rules require."
    ),
    ErrorCode.SIGNATURE_INVALID: CatalogueEntry(
        _S.PERMISSION_DENIED, "A signature does not verify, or is not by whom it claims."
    ),
    ErrorCode.LIFECYCLE_REFUSED: CatalogueEntry(
        _S.FAILED_PRECONDITION, "The document's state does not allow this step."
    ),
    ErrorCode.STATUS_ROLLBACK: CatalogueEntry(
        _S.FAILED_PRECONDITION, "A newer status snapshot is already held."
    ),
    ErrorCode.NOT_A_PARTY: CatalogueEntry(
        _S.PERMISSION_DENIED, "The caller is not a party to this document."
    ),
    ErrorCode.LINKAGE_UNKNOWN: CatalogueEntry(_S.NOT_FOUND, "No such linkage is in force."),
    ErrorCode.NOT_A_PARTICIPANT: CatalogueEntry(
        _S.PERMISSION_DENIED, "The caller does not take part in this linkage."
    ),
    ErrorCode.WRONG_SCHEMA: CatalogueEntry(
        _S.FAILED_PRECONDITION, "The encodings follow another linkage schema."
    ),
    ErrorCode.WRONG_EPOCH: CatalogueEntry(_S.FAILED_PRECONDITION, "The epoch is not the current one."),
    ErrorCode.WRONG_LENGTH: CatalogueEntry(
        _S.INVALID_ARGUMENT, "An encoding's length is not what the linkage schema says."
    ),
    ErrorCode.EPOCH_NOT_OPEN: CatalogueEntry(
        _S.FAILED_PRECONDITION, "Not every participant has confirmed the epoch's key."
    ),
    ErrorCode.KEY_MISMATCH: CatalogueEntry(
        _S.ABORTED, "The participants' keys differ: the epoch cannot open."
    ),
    ErrorCode.UPLOAD_UNKNOWN: CatalogueEntry(_S.NOT_FOUND, "No such upload was begun by this agency."),
    ErrorCode.UPLOAD_OUT_OF_ORDER: CatalogueEntry(_S.FAILED_PRECONDITION, "A batch came out of its order."),
    ErrorCode.UPLOAD_INCOMPLETE: CatalogueEntry(
        _S.FAILED_PRECONDITION, "The upload lacks batches or rows that were announced."
    ),
    ErrorCode.QUOTA_EXCEEDED: CatalogueEntry(
        _S.RESOURCE_EXHAUSTED, "More encodings than the linkage agreement allows this agency."
    ),
    ErrorCode.RUN_UNKNOWN: CatalogueEntry(_S.NOT_FOUND, "No such matching run is held."),
    ErrorCode.TOO_MANY_PAIRS: CatalogueEntry(
        _S.RESOURCE_EXHAUSTED, "The threshold yields more candidate pairs than the limit."
    ),
    ErrorCode.BATCH_INVALID: CatalogueEntry(_S.INVALID_ARGUMENT, "A batch's columns do not fit together."),
    ErrorCode.NOTHING_TO_MATCH: CatalogueEntry(
        _S.FAILED_PRECONDITION, "Fewer than two participants hold encodings."
    ),
    ErrorCode.PROBING_SUSPECTED: CatalogueEntry(
        _S.RESOURCE_EXHAUSTED, "The encodings look like probing; an officer must look at this."
    ),
    ErrorCode.EPOCH_WENT_BACK: CatalogueEntry(
        _S.FAILED_PRECONDITION, "The broker names an epoch that is over."
    ),
    ErrorCode.MESSAGE_REPLAYED: CatalogueEntry(
        _S.ALREADY_EXISTS, "A message id was used again for another message."
    ),
    ErrorCode.MAILBOX_FULL: CatalogueEntry(
        _S.RESOURCE_EXHAUSTED, "Too much is waiting for this recipient; try again later."
    ),
    ErrorCode.TOKEN_UNKNOWN: CatalogueEntry(
        _S.NOT_FOUND, "This agency holds no such link token, or it has expired."
    ),
    ErrorCode.MESSAGE_EXPIRED: CatalogueEntry(_S.INVALID_ARGUMENT, "A message's expiry is out of bounds."),
    ErrorCode.MESSAGE_TAMPERED: CatalogueEntry(
        _S.DATA_LOSS, "A sealed message does not open, or is not signed by its sender."
    ),
    ErrorCode.REQUEST_INVALID: CatalogueEntry(_S.INVALID_ARGUMENT, "A disclosure request is malformed."),
    ErrorCode.REQUEST_UNKNOWN: CatalogueEntry(_S.NOT_FOUND, "No such disclosure request is held."),
    ErrorCode.REQUEST_REPLAYED: CatalogueEntry(
        _S.ALREADY_EXISTS, "This disclosure request was already received."
    ),
    ErrorCode.OFFICER_UNKNOWN: CatalogueEntry(
        _S.PERMISSION_DENIED, "The federation registry does not list this officer in this role."
    ),
    ErrorCode.IDENTITY_MISMATCH: CatalogueEntry(
        _S.FAILED_PRECONDITION, "The two agencies' records of this person do not agree enough."
    ),
    ErrorCode.POLICY_NOT_ACTIVE: CatalogueEntry(
        _S.FAILED_PRECONDITION, "No active sharing policy allows this."
    ),
    ErrorCode.APPROVAL_REFUSED: CatalogueEntry(_S.PERMISSION_DENIED, "This approval does not count."),
    ErrorCode.CONFLICT_OF_INTEREST: CatalogueEntry(
        _S.PERMISSION_DENIED, "The officer may not act on this subject."
    ),
    ErrorCode.TOO_LARGE: CatalogueEntry(_S.RESOURCE_EXHAUSTED, "Something is larger than its limit."),
    ErrorCode.INVALID_ARGUMENT: CatalogueEntry(_S.INVALID_ARGUMENT, "A call's arguments are wrong."),
    ErrorCode.UNAVAILABLE: CatalogueEntry(_S.UNAVAILABLE, "The other side cannot be reached just now."),
    ErrorCode.INTERNAL: CatalogueEntry(
        _S.INTERNAL, "Something went wrong inside; the operator's log names it by its reference."
    ),
    ErrorCode.CANCELLED: CatalogueEntry(_S.CANCELLED, "The work was cancelled."),
    ErrorCode.DEADLINE: CatalogueEntry(_S.DEADLINE_EXCEEDED, "The answer did not come in time."),
    ErrorCode.RATE_LIMITED: CatalogueEntry(_S.RESOURCE_EXHAUSTED, "Too many calls; wait a little."),
}


class RefusedError(Exception):
    """An operation was refused. `detail` says what, where and what to do, without personal data."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class UnavailableError(RefusedError):
    """The other side cannot be reached; trying again may help."""

    def __init__(self, detail: str) -> None:
        super().__init__(ErrorCode.UNAVAILABLE, detail)


def status_of(code: ErrorCode) -> grpc.StatusCode:
    """The gRPC status under which `code` travels."""
    return CATALOGUE[code].status


_CODES = {str(code): code for code in ErrorCode}
_BY_STATUS = {
    grpc.StatusCode.CANCELLED: ErrorCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED: ErrorCode.DEADLINE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ErrorCode.TOO_LARGE,
    grpc.StatusCode.UNAUTHENTICATED: ErrorCode.NO_CERTIFICATE,
    grpc.StatusCode.PERMISSION_DENIED: ErrorCode.NOT_ALLOWED,
    grpc.StatusCode.INVALID_ARGUMENT: ErrorCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED: ErrorCode.NOT_ALLOWED,
}


def refused_from_rpc(error: grpc.aio.AioRpcError) -> RefusedError:
    """The refusal that the server raised, or the nearest one for an error that gRPC itself raised."""
    detail = error.details() or ""
    # The stubs type the items as a class of their own; at run time they are pairs.
    trailers = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    carried = next((str(value) for key, value in trailers if key == TRAILER), None)
    if carried in _CODES:
        code = _CODES[carried]
        return UnavailableError(detail) if code is ErrorCode.UNAVAILABLE else RefusedError(code, detail)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(f"cannot reach the other side: {detail}")
    code = _BY_STATUS.get(error.code(), ErrorCode.INTERNAL)
    return RefusedError(code, detail or CATALOGUE[code].meaning)

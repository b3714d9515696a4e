"""Signed documents on the wire: envelopes stay bytes, because every byte signed is the byte parsed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from protos.documents.v1 import documents_pb2 as pb
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS


class DocumentKind(StrEnum):
    """What a bundle is."""

    LINKAGE_AGREEMENT = "linkage-agreement"
    SHARING_POLICY = "sharing-policy"


@dataclass(frozen=True, slots=True)
class DocumentBundle:
    """A document's DSSE envelope, the officers' signing statements, and later lifecycle statements."""

    kind: DocumentKind
    document: bytes
    statements: tuple[bytes, ...]
    events: tuple[bytes, ...] = ()


_KINDS: dict[DocumentKind, pb.DocumentKind.ValueType] = {
    DocumentKind.LINKAGE_AGREEMENT: pb.DOCUMENT_KIND_LINKAGE_AGREEMENT,
    DocumentKind.SHARING_POLICY: pb.DOCUMENT_KIND_SHARING_POLICY,
}
_BY_NUMBER: dict[int, DocumentKind] = {number: kind for kind, number in _KINDS.items()}


def kind_to_wire(kind: DocumentKind | None) -> pb.DocumentKind.ValueType:
    """The wire number of a kind; unspecified for None (any kind)."""
    return pb.DOCUMENT_KIND_UNSPECIFIED if kind is None else _KINDS[kind]


def kind_from_wire(value: int) -> DocumentKind | None:
    """The kind of a wire number; None for unspecified.

    Raises:
        RefusedError: INVALID_ARGUMENT for a number that is not known.
    """
    if value == pb.DOCUMENT_KIND_UNSPECIFIED:
        return None
    if value not in _BY_NUMBER:
        raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"document kind {value} is not known")
    return _BY_NUMBER[value]


def bundle_to_wire(bundle: DocumentBundle) -> pb.SignedDocument:
    """The wire form of a bundle."""
    return pb.SignedDocument(
        kind=_KINDS[bundle.kind],
        document_envelope=bundle.document,
        statement_envelopes=bundle.statements,
        event_envelopes=bundle.events,
    )


def bundle_from_wire(message: pb.SignedDocument) -> DocumentBundle:
    """The bundle of a wire message.

    Raises:
        RefusedError: INVALID_ARGUMENT without a kind or document, TOO_LARGE over the limits.
    """
    kind = kind_from_wire(message.kind)
    if kind is None or not message.document_envelope:
        raise RefusedError(ErrorCode.INVALID_ARGUMENT, "a bundle needs a kind and a document")
    parts = (message.document_envelope, *message.statement_envelopes, *message.event_envelopes)
    if len(parts) > LIMITS.statements_per_document or any(len(p) > LIMITS.document_bytes for p in parts):
        raise RefusedError(
            ErrorCode.TOO_LARGE,
            f"a bundle has at most {LIMITS.statements_per_document} parts of {LIMITS.document_bytes} bytes",
        )
    return DocumentBundle(
        kind,
        message.document_envelope,
        tuple(message.statement_envelopes),
        tuple(message.event_envelopes),
    )

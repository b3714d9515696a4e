"""The sealed answer to a request: release or refusal in one form, in one of a few sizes.

Whoever watches the relay, and the recipient too, must not tell "nothing held" from "withheld" by the length
of an answer. So both are the same document, padded to the next of `SIZE_CLASSES`. The notice of a use of
break-glass, a withdrawal, and what precedes a push are here too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from policies.codec import write
from policies.disclosure import (
    DisclosureRefusal,
    DisclosureRelease,
    FieldOutcome,
    IdentityEvidence,
    Redacted,
)
from policies.ids import AgencyId, DocumentId, FieldValue, Hash256, Line, LinkageId, PersonId

KIB = 1024
#: Bytes of the answer's canonical JSON.
SIZE_CLASSES = (16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB)
_CHUNK = 20_000


class AnswerTooLargeError(ValueError):
    """The answer does not fit into the largest size class."""


@dataclass(frozen=True, slots=True, repr=False)
class PushProof(Redacted):
    """Which offer a pushed release follows, and whom the provider means by its link."""

    offer_hash: Hash256
    identity_evidence: tuple[IdentityEvidence, ...]


@dataclass(frozen=True, slots=True, repr=False)
class DisclosureAnswer(Redacted):
    """`disclosure-answer/v1`, signed by the provider's node: a release or a refusal, never both.

    `outcomes` tells the requester, for record types of which something is released, what became of each
    field. `request_hash` is absent where nobody asked: a pushed release has `push` instead. `padding` means
    nothing.
    """

    KIND: ClassVar[str] = "disclosure-answer/v1"

    outcomes: tuple[FieldOutcome, ...]
    padding: tuple[FieldValue, ...]
    request_hash: Hash256 | None = None
    release: DisclosureRelease | None = None
    refusal: DisclosureRefusal | None = None
    push: PushProof | None = None

    def __post_init__(self) -> None:
        if (self.release is None) == (self.refusal is None):
            raise ValueError("an answer is a release or a refusal")
        if (self.request_hash is None) != (self.push is not None):
            raise ValueError("an answer is to a request, or it is pushed")


@dataclass(frozen=True, slots=True)
class BreakGlassNotice:
    """`break-glass-notice/v1`, signed by the provider's node: an officer of the recipient used break-glass.

    Both agencies' privacy officers are told, and each must see it reviewed by `review_due`.
    """

    KIND: ClassVar[str] = "break-glass-notice/v1"

    id: DocumentId
    request: DocumentId
    request_hash: Hash256
    provider: AgencyId
    recipient: AgencyId
    officer: PersonId
    reason_code: Line
    used_at: datetime
    review_due: datetime


@dataclass(frozen=True, slots=True)
class RequestWithdrawal:
    """`request-withdrawal/v1`, signed by the requester's node: a request needs no answer any more."""

    KIND: ClassVar[str] = "request-withdrawal/v1"

    id: DocumentId
    request: DocumentId
    request_hash: Hash256
    requester: AgencyId
    withdrawn_at: datetime


@dataclass(frozen=True, slots=True)
class PushOffer:
    """`push-offer/v1`, signed by the provider's node and addressed by link token: something would be pushed
    over this link, once the recipient has shown whom it means. It says nothing of what that is.

    Its hash stands for a request's in the record of the decision, and binds the evidence of both sides.
    """

    KIND: ClassVar[str] = "push-offer/v1"

    id: DocumentId
    linkage: LinkageId
    policy_hash: Hash256
    provider: AgencyId
    recipient: AgencyId
    offered_at: datetime


@dataclass(frozen=True, slots=True, repr=False)
class PushEvidence(Redacted):
    """`push-evidence/v1`, signed by the recipient's node: whom it means by the link of an offer."""

    KIND: ClassVar[str] = "push-evidence/v1"

    offer_hash: Hash256
    recipient: AgencyId
    identity_evidence: tuple[IdentityEvidence, ...]
    given_at: datetime


def padded(answer: DisclosureAnswer) -> DisclosureAnswer:
    """The answer at exactly one of the size classes.

    Raises:
        AnswerTooLargeError: it is longer than the largest.
    """
    bare = replace(answer, padding=())
    length = len(write(bare))
    for size in SIZE_CLASSES:
        # Two bytes are the quotation marks of one empty string, the least that can be added.
        if length == size or length + 2 <= size:
            return replace(bare, padding=_padding(size - length))
    raise AnswerTooLargeError(f"an answer has at most {SIZE_CLASSES[-1]} bytes")


def _padding(wanted: int) -> tuple[FieldValue, ...]:
    """Strings that make the canonical JSON of their list longer by exactly `wanted` bytes (not 1)."""
    strings: list[FieldValue] = []
    while wanted:
        wrapping = 3 if strings else 2
        length = min(_CHUNK, wanted - wrapping)
        rest = wanted - wrapping - length
        if 0 < rest < 3:
            length -= 3
        strings.append(FieldValue("-" * length))
        wanted -= wrapping + length
    return tuple(strings)

"""What is kept of disclosures, encrypted at rest, and the keyed hashes by which it is found again."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace

from agency_node.disclosure.messages import DisclosureAnswer
from agency_node.keys import Wrapper
from agency_node.subjects import SubjectId
from crypto.canonical import (
    JsonValue,
    b64u,
    canonical_json,
    parse_canonical,
    require_integer,
    require_object,
    require_text,
    unb64u,
)
from crypto.derive import frame, hkdf
from crypto.envelope import Envelope
from policies.codec import parse, write
from protos.wire.linkage import Strength
from protos.wire.relay import LinkReference

_MAX_BYTES = 16 * 1024 * 1024
_CONTENTS = frozenset({"envelope", "subject", "handle", "linkage", "epoch", "strength"})


@dataclass(frozen=True, slots=True, repr=False)
class RequestContents:
    """A request as it was signed, which subject it is about here, and how it was addressed.

    `subject` is None where the link leads to nobody (a decoy, a subject withdrawn since).
    """

    envelope: Envelope
    subject: SubjectId | None
    link: LinkReference = field()

    def __repr__(self) -> str:
        return "RequestContents(...)"


@dataclass(frozen=True, slots=True)
class KeptRelease:
    """What was received, as it was signed, and the subject here that it is about."""

    answer: Envelope = field(repr=False)
    subject: SubjectId = field(repr=False)


class Vault:
    """Wraps and unwraps what the disclosure tables keep."""

    def __init__(self, wrapper: Wrapper) -> None:
        self._wrapper = wrapper
        self._mac_key = hkdf(wrapper.secret, frame("tallystick/disclosure-index/v1"), 32)

    def subject_mac(self, subject: SubjectId) -> str:
        """The keyed hash of a subject: 64 hex digits."""
        return self._mac("subject", subject.encode("utf-8"))

    def link_mac(self, token: bytes) -> str:
        """The keyed hash of a link token (made) or handle (received): 64 hex digits."""
        return self._mac("link", token)

    def case_mac(self, case_reference: str) -> str:
        """The keyed hash of a case reference: 64 hex digits."""
        return self._mac("case", case_reference.encode("utf-8"))

    def record_mac(self, record_id: str) -> str:
        """The keyed hash of a record's number, its agency's or that of a disclosed one: 64 hex digits."""
        return self._mac("record", record_id.encode("utf-8"))

    def item_id(self, *parts: str) -> str:
        """The id of something that is to be raised once: 64 hex digits that say nothing."""
        return self._mac("item", canonical_json(list(parts)))

    def sampled(self, request_id: str, percent: int) -> bool:
        """Whether a request is in the sample: decided by its id and a key that only this node has."""
        drawn = int(self._mac("sample", request_id.encode("utf-8"))[:16], 16)
        return drawn * 100 < percent << 64

    def wrap_conflict(self, officer: str, subject_mac: str, subject: str, reason: str) -> bytes:
        """Whom a conflict of interest is about, and why, encrypted."""
        value: dict[str, JsonValue] = {"subject": subject, "reason": reason}
        return self._wrapper.wrap(canonical_json(value), "conflict", officer, subject_mac)

    def open_conflict(self, officer: str, subject_mac: str, wrapped: bytes) -> tuple[str, str]:
        """The inverse of `wrap_conflict`: subject and reason."""
        plain = self._wrapper.unwrap(wrapped, "conflict", officer, subject_mac)
        value = require_object(parse_canonical(plain), frozenset({"subject", "reason"}), "a conflict")
        return require_text(value["subject"], "subject"), require_text(value["reason"], "reason")

    def wrap_request(self, direction: str, request_id: str, contents: RequestContents) -> bytes:
        """Contents of a request, encrypted and bound to its place."""
        link = contents.link
        value: dict[str, JsonValue] = {
            "envelope": b64u(contents.envelope.to_bytes()),
            "subject": contents.subject,
            "handle": b64u(link.handle),
            "linkage": link.linkage_id,
            "epoch": link.epoch,
            "strength": link.strength.value,
        }
        return self._wrapper.wrap(canonical_json(value), "request", direction, request_id)

    def open_request(self, direction: str, request_id: str, wrapped: bytes) -> RequestContents:
        """The inverse of `wrap_request`. Raises NodeError."""
        plain = self._wrapper.unwrap(wrapped, "request", direction, request_id)
        value = require_object(parse_canonical(plain, max_bytes=_MAX_BYTES), _CONTENTS, "a stored request")
        subject = value["subject"]
        return RequestContents(
            Envelope.from_bytes(unb64u(require_text(value["envelope"], "envelope"))),
            None if subject is None else SubjectId(require_text(subject, "subject")),
            LinkReference(
                unb64u(require_text(value["handle"], "handle")),
                require_text(value["linkage"], "linkage"),
                require_integer(value["epoch"], "epoch"),
                Strength(require_text(value["strength"], "strength")),
            ),
        )

    def wrap_decision(self, request_id: str, decision: Envelope) -> bytes:
        """The provider's signed decision record, encrypted."""
        return self._wrapper.wrap(decision.to_bytes(), "decision", request_id)

    def open_decision(self, request_id: str, wrapped: bytes) -> Envelope:
        """The inverse of `wrap_decision`."""
        return Envelope.from_bytes(self._wrapper.unwrap(wrapped, "decision", request_id))

    def wrap_outcome(self, request_id: str, answer: DisclosureAnswer) -> bytes:
        """How a request was answered, without what was released: that has a clock of its own."""
        return self._wrapper.wrap(write(replace(answer, padding=())), "outcome", request_id)

    def open_outcome(self, request_id: str, wrapped: bytes) -> DisclosureAnswer:
        """The inverse of `wrap_outcome`."""
        return parse(DisclosureAnswer, self._wrapper.unwrap(wrapped, "outcome", request_id))

    def wrap_release(self, release_hash: str, answer: Envelope, subject: SubjectId) -> bytes:
        """The provider's signed answer with what was released, and about whom here, encrypted."""
        value: dict[str, JsonValue] = {"answer": b64u(answer.to_bytes()), "subject": subject}
        return self._wrapper.wrap(canonical_json(value), "release", release_hash)

    def open_release(self, release_hash: str, wrapped: bytes) -> KeptRelease:
        """The inverse of `wrap_release`."""
        plain = self._wrapper.unwrap(wrapped, "release", release_hash)
        value = require_object(
            parse_canonical(plain, max_bytes=_MAX_BYTES), frozenset({"answer", "subject"}), "a kept release"
        )
        return KeptRelease(
            Envelope.from_bytes(unb64u(require_text(value["answer"], "answer"))),
            SubjectId(require_text(value["subject"], "subject")),
        )

    def wrap_approval(self, request_hash: str, approval: Envelope) -> bytes:
        """An approver's signed yes or no, encrypted."""
        return self._wrapper.wrap(approval.to_bytes(), "approval", request_hash)

    def open_approval(self, request_hash: str, wrapped: bytes) -> Envelope:
        """The inverse of `wrap_approval`."""
        return Envelope.from_bytes(self._wrapper.unwrap(wrapped, "approval", request_hash))

    def _mac(self, what: str, value: bytes) -> str:
        return hmac.digest(
            self._mac_key, frame("tallystick/disclosure-index/v1", what, value), "sha256"
        ).hex()

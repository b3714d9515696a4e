"""Agreeing on an epoch's linkage key, n of n: a state machine without I/O.

1. Each participant commits to 32 random bytes and sends the signed commitment to every other one.
2. Once it holds the commitment of *every* participant, and not before, it sends its contribution sealed to
   every other one, together with all commitments that it holds, as signed.
3. Once it holds every contribution, each agreeing with its commitment, it combines them to the key.
4. It confirms the key to the broker, which compares confirmations without learning the key. When all agree,
   the epoch is open.

Whoever misbehaves is named. A contribution that does not fit its commitment is signed by its author. Two
different commitments of one author, which other participants' echoes bring together, are both signed by it.
Whoever finds a fault sends that evidence to every other participant, which judges it for itself: otherwise
somebody who saw only the honest half would wait for ever. Whoever withholds is simply still waited for. A
failed agreement stays failed: its contributions are never used again, and a new epoch begins with new ones.

Messages may come in any order and more than once; values are immutable, so a refused one changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar, TypeVar

from agency_node.model import KeyState
from crypto.canonical import JsonValue, b64u, canonical_json, parse_canonical, unb64u
from crypto.derive import combine_contributions, commit_contribution, key_confirmation, transcript_hash
from crypto.envelope import Envelope, require_signature, sign_envelope
from crypto.errors import CryptoError
from crypto.keys import Signer, VerifyKey
from policies.codec import parse, payload_type, write
from policies.enrolment import Base64Url
from policies.errors import DocumentError, PolicyError
from policies.ids import AgencyId, FederationId, Hash256, HexBytes, LinkageId


class KeyingError(PolicyError):
    """A message does not belong to this agreement, or not yet; it is refused without blame."""


class Fault(StrEnum):
    """How a participant misbehaved."""

    WRONG_CONTRIBUTION = "wrong-contribution"
    EQUIVOCATION = "equivocation"
    WRONG_TRANSCRIPT = "wrong-transcript"
    KEY_MISMATCH = "key-mismatch"


@dataclass(frozen=True, slots=True)
class KeyCommitment:
    """`key-commitment/v1`: signed by the participant's node."""

    KIND: ClassVar[str] = "key-commitment/v1"

    federation: FederationId
    linkage: LinkageId
    epoch: int
    agreement_hash: Hash256
    agency: AgencyId
    commitment: Hash256


@dataclass(frozen=True, slots=True)
class KeyContribution:
    """`key-contribution/v1`: signed, and sealed to one other participant.

    `commitments` are the signed commitments of all participants, as the author holds them.
    """

    KIND: ClassVar[str] = "key-contribution/v1"

    federation: FederationId
    linkage: LinkageId
    epoch: int
    agreement_hash: Hash256
    agency: AgencyId
    transcript: Hash256
    contribution: HexBytes = field(repr=False)
    commitments: tuple[Base64Url, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyDispute:
    """`key-dispute/v1`: signed, and sealed to one other participant.

    `evidence`: the envelopes, signed by the participant that misbehaved, which show it: two commitments, or a
    contribution.
    """

    KIND: ClassVar[str] = "key-dispute/v1"

    federation: FederationId
    linkage: LinkageId
    epoch: int
    agreement_hash: Hash256
    agency: AgencyId
    evidence: tuple[Base64Url, ...] = field(repr=False)


KeyDocument = KeyCommitment | KeyContribution | KeyDispute
_Document = TypeVar("_Document", KeyCommitment, KeyContribution, KeyDispute)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a key agreement is about. Participants' keys come from the registry, never from a message."""

    federation: FederationId
    linkage: LinkageId
    epoch: int
    agreement_hash: Hash256
    members: tuple[AgencyId, ...]

    def owns(self, document: KeyDocument) -> bool:
        """Whether a message is about exactly this."""
        return (
            document.federation == self.federation
            and document.linkage == self.linkage
            and document.epoch == self.epoch
            and document.agreement_hash == self.agreement_hash
            and document.agency in self.members
        )


@dataclass(frozen=True, slots=True)
class KeyAgreement:
    """One participant's view of one epoch's key agreement."""

    terms: Terms
    me: AgencyId
    #: This participant's own 32 random bytes.
    contribution: bytes = field(repr=False)
    #: Signed commitments, by participant, as envelopes.
    commitments: Mapping[AgencyId, bytes] = field(repr=False)
    contributions: Mapping[AgencyId, bytes] = field(repr=False)
    revealed: bool = False
    opened: bool = False
    fault: Fault | None = None
    culprit: AgencyId | None = None
    #: What shows the fault, signed by the culprit, as envelopes.
    evidence: tuple[bytes, ...] = field(default=(), repr=False)

    # -- where it stands

    @property
    def state(self) -> KeyState:
        """How far the agreement is."""
        if self.fault is not None:
            return KeyState.FAILED
        if self.opened:
            return KeyState.OPEN
        if self.complete:
            return KeyState.CONFIRMING
        return KeyState.REVEALING if self.committed else KeyState.COMMITTING

    @property
    def committed(self) -> bool:
        """Whether every participant's commitment is here."""
        return set(self.commitments) == set(self.terms.members)

    @property
    def complete(self) -> bool:
        """Whether every participant's contribution is here."""
        return self.fault is None and set(self.contributions) == set(self.terms.members)

    @property
    def others(self) -> tuple[AgencyId, ...]:
        """Every other participant."""
        return tuple(member for member in self.terms.members if member != self.me)

    @property
    def waiting_for(self) -> tuple[AgencyId, ...]:
        """Who has not sent what comes next."""
        held = self.contributions if self.committed else self.commitments
        return tuple(member for member in self.terms.members if member not in held)

    @property
    def transcript(self) -> bytes:
        """The hash of everything agreed before contributions were opened; needs every commitment."""
        raw = {str(agency): bytes.fromhex(self._commitment(agency)) for agency in self.terms.members}
        return transcript_hash(self.terms.linkage, self.terms.epoch, self.terms.agreement_hash, raw)

    @property
    def key(self) -> bytes:
        """The linkage key; needs every contribution."""
        if not self.complete:
            raise KeyingError("the linkage key needs the contribution of every participant")
        return combine_contributions({str(a): c for a, c in self.contributions.items()}, self.transcript)

    @property
    def confirmation(self) -> bytes:
        """What the broker compares."""
        return key_confirmation(self.key, self.transcript)

    def _commitment(self, agency: AgencyId) -> Hash256:
        return parse(KeyCommitment, Envelope.from_bytes(self.commitments[agency]).payload).commitment

    # -- steps

    def take_commitment(self, envelope: Envelope, keys: Mapping[AgencyId, VerifyKey]) -> KeyAgreement:
        """With a participant's commitment, direct or echoed.

        Raises:
            KeyingError: about another agreement. CryptoError, DocumentError: forged or malformed.
        """
        document = _verified(KeyCommitment, envelope, keys)
        if not self.terms.owns(document):
            raise KeyingError("a commitment is about another key agreement")
        if self.state in (KeyState.FAILED, KeyState.OPEN):
            return self
        held = self.commitments.get(document.agency)
        if held is None:
            return replace(self, commitments={**self.commitments, document.agency: envelope.to_bytes()})
        if self._commitment(document.agency) != document.commitment:
            held_envelope = Envelope.from_bytes(held)
            return self.failed(Fault.EQUIVOCATION, document.agency, held_envelope, envelope)
        return self

    def take_contribution(self, envelope: Envelope, keys: Mapping[AgencyId, VerifyKey]) -> KeyAgreement:
        """With a participant's contribution, sent by itself or shown as evidence.

        Raises:
            KeyingError: about another agreement. CryptoError, DocumentError: it or an echo is forged or
                malformed.
        """
        document = _verified(KeyContribution, envelope, keys)
        if not self.terms.owns(document):
            raise KeyingError("a contribution is about another key agreement")
        if self.state in (KeyState.FAILED, KeyState.OPEN):
            return self
        author = document.agency
        echoed = [Envelope.from_bytes(unb64u(item)) for item in document.commitments]
        agreement = self
        for echo in echoed:
            agreement = agreement.take_commitment(echo, keys)
        if agreement.fault is not None:
            return agreement
        authors = [_verified(KeyCommitment, echo, keys).agency for echo in echoed]
        if sorted(authors) != sorted(self.terms.members):
            return agreement.failed(Fault.WRONG_TRANSCRIPT, author, envelope)
        if agreement.transcript.hex() != document.transcript:
            return agreement.failed(Fault.WRONG_TRANSCRIPT, author, envelope)
        contribution = bytes.fromhex(document.contribution)
        if not _fits(contribution, agreement._commitment(author), document):
            return agreement.failed(Fault.WRONG_CONTRIBUTION, author, envelope)
        if author == self.me:
            return agreement
        return replace(agreement, contributions={**agreement.contributions, author: contribution})

    def take_dispute(self, envelope: Envelope, keys: Mapping[AgencyId, VerifyKey]) -> KeyAgreement:
        """With the evidence by which another participant found a fault; its word alone changes nothing.

        Raises:
            KeyingError: about another agreement, or the evidence shows no fault. CryptoError, DocumentError:
                forged or malformed.
        """
        document = _verified(KeyDispute, envelope, keys)
        if not self.terms.owns(document):
            raise KeyingError("a dispute is about another key agreement")
        agreement = self
        for shown in (Envelope.from_bytes(unb64u(item)) for item in document.evidence):
            if shown.payload_type == payload_type(KeyCommitment):
                agreement = agreement.take_commitment(shown, keys)
            else:
                agreement = agreement.take_contribution(shown, keys)
        if agreement.fault is None:
            raise KeyingError(
                f"{document.agency} disputes the key agreement, but its evidence shows no fault"
            )
        return agreement

    def reveal(self, signer: Signer) -> tuple[KeyAgreement, Envelope]:
        """This participant's contribution to send to every other one, once all have committed.

        Raises:
            KeyingError: a commitment is missing; revealing now would let others choose theirs afterwards.
        """
        if not self.committed or self.fault is not None:
            raise KeyingError("contributions are sent only when every participant has committed")
        document = KeyContribution(
            federation=self.terms.federation,
            linkage=self.terms.linkage,
            epoch=self.terms.epoch,
            agreement_hash=self.terms.agreement_hash,
            agency=self.me,
            transcript=Hash256(self.transcript.hex()),
            contribution=HexBytes(self.contribution.hex()),
            commitments=tuple(Base64Url(b64u(self.commitments[agency])) for agency in self.terms.members),
        )
        envelope = sign_envelope(payload_type(KeyContribution), write(document), [signer])
        own = {**self.contributions, self.me: self.contribution}
        return replace(self, revealed=True, contributions=own), envelope

    def confirmed_open(self) -> KeyAgreement:
        """All participants confirmed this key."""
        if not self.complete:
            raise KeyingError("an epoch opens only with every contribution")
        return replace(self, opened=True)

    def failed(self, fault: Fault, culprit: AgencyId | None, *evidence: Envelope) -> KeyAgreement:
        """The agreement has come to nothing, who is to blame where that is known, and what shows it."""
        shown = tuple(envelope.to_bytes() for envelope in evidence)
        return replace(self, fault=fault, culprit=culprit, evidence=shown)

    def dispute(self, signer: Signer) -> Envelope:
        """What to send to every other participant once a fault has been found.

        Raises:
            KeyingError: there is nothing to show.
        """
        if not self.evidence:
            raise KeyingError("a dispute needs evidence")
        document = KeyDispute(
            federation=self.terms.federation,
            linkage=self.terms.linkage,
            epoch=self.terms.epoch,
            agreement_hash=self.terms.agreement_hash,
            agency=self.me,
            evidence=tuple(Base64Url(b64u(item)) for item in self.evidence),
        )
        return sign_envelope(payload_type(KeyDispute), write(document), [signer])

    # -- at rest

    def to_bytes(self) -> bytes:
        """Canonical JSON; secret: it is encrypted before it is stored."""
        terms = self.terms
        value: dict[str, JsonValue] = {
            "federation": str(terms.federation),
            "linkage": str(terms.linkage),
            "epoch": terms.epoch,
            "agreement_hash": str(terms.agreement_hash),
            "members": [str(member) for member in terms.members],
            "me": str(self.me),
            "contribution": self.contribution.hex(),
            "commitments": {str(agency): b64u(value) for agency, value in self.commitments.items()},
            "contributions": {str(agency): value.hex() for agency, value in self.contributions.items()},
            "revealed": self.revealed,
            "opened": self.opened,
            "fault": self.fault.value if self.fault else "",
            "culprit": str(self.culprit or ""),
            "evidence": [b64u(item) for item in self.evidence],
        }
        return canonical_json(value)

    @classmethod
    def from_bytes(cls, data: bytes) -> KeyAgreement:
        """The inverse of `to_bytes`."""
        value = parse_canonical(data)
        assert isinstance(value, dict)  # encrypted and authenticated by this node itself
        members = value["members"]
        commitments, contributions = value["commitments"], value["contributions"]
        evidence = value["evidence"]
        epoch = value["epoch"]
        assert isinstance(members, list)
        assert isinstance(commitments, dict)
        assert isinstance(contributions, dict)
        assert isinstance(evidence, list)
        assert isinstance(epoch, int)
        terms = Terms(
            FederationId(str(value["federation"])),
            LinkageId(str(value["linkage"])),
            epoch,
            Hash256(str(value["agreement_hash"])),
            tuple(AgencyId(str(member)) for member in members),
        )
        return cls(
            terms=terms,
            me=AgencyId(str(value["me"])),
            contribution=bytes.fromhex(str(value["contribution"])),
            commitments={AgencyId(agency): unb64u(str(text)) for agency, text in commitments.items()},
            contributions={AgencyId(a): bytes.fromhex(str(text)) for a, text in contributions.items()},
            revealed=value["revealed"] is True,
            opened=value["opened"] is True,
            fault=Fault(str(value["fault"])) if value["fault"] else None,
            culprit=AgencyId(str(value["culprit"])) if value["culprit"] else None,
            evidence=tuple(unb64u(str(item)) for item in evidence),
        )


def begin(terms: Terms, me: AgencyId, contribution: bytes, signer: Signer) -> tuple[KeyAgreement, Envelope]:
    """A new agreement with this participant's own commitment, which is to be sent to every other one.

    `contribution`: 32 fresh random bytes.
    """
    commitment = commit_contribution(contribution, me, terms.linkage, terms.epoch)
    document = KeyCommitment(
        federation=terms.federation,
        linkage=terms.linkage,
        epoch=terms.epoch,
        agreement_hash=terms.agreement_hash,
        agency=me,
        commitment=Hash256(commitment.hex()),
    )
    envelope = sign_envelope(payload_type(KeyCommitment), write(document), [signer])
    return KeyAgreement(terms, me, contribution, {me: envelope.to_bytes()}, {}), envelope


def _verified(kind: type[_Document], envelope: Envelope, keys: Mapping[AgencyId, VerifyKey]) -> _Document:
    """The document in an envelope, as signed by its author, who takes part."""
    if envelope.payload_type != payload_type(kind):
        raise DocumentError(f"expected {payload_type(kind)}, found {envelope.payload_type}")
    document = parse(kind, envelope.payload)
    key = keys.get(document.agency)
    if key is None:
        raise KeyingError("a key message is by an agency that does not take part")
    require_signature(envelope, key, payload_type(kind))
    return document


def _fits(contribution: bytes, commitment: Hash256, document: KeyContribution) -> bool:
    try:
        made = commit_contribution(contribution, document.agency, document.linkage, document.epoch)
    except CryptoError:
        return False
    return made.hex() == commitment

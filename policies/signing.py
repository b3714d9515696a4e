"""Signed documents: a document with the statements of officers about it, and whether they make a quorum.

Two kinds of trouble are told apart. What can only be tampering or a bug raises: a wrong signature, one key
signing twice, a statement about another document or another page. What is merely not enough is a reason in
the `Quorum`: a key that the registry does not list, an officer no longer in post, a role not held, signatures
that do not stand together (`policies.standing`), nobody yet from an organisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from crypto.canonical import (
    JsonValue,
    b64u,
    canonical_json,
    parse_canonical,
    require_object,
    require_text,
    unb64u,
)
from crypto.envelope import Envelope, sign_envelope, verified_keys
from crypto.errors import CryptoError
from crypto.keys import Signer, VerifyKey
from policies.codec import MAX_DOCUMENT_BYTES, open_document, payload_type, write
from policies.errors import (
    DocumentError,
    DuplicateKeyError,
    QuorumNotMetError,
    WrongDocumentError,
    WrongPageError,
)
from policies.ids import Hash256
from policies.quorum import QuorumRule, Requirement, Signatory, role_title, unfilled
from policies.registry import Officer, Registry
from policies.standing import SIGNING_TIME, Approval, standing_together
from policies.statements import SigningStatement
from policies.vocabulary import Decision

CLOCK_SKEW = timedelta(minutes=5)
MAX_STATEMENTS = 64
_TYPE = "signed-document/v1"


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """`signed-document/v1`: the document's envelope and the statements'. Nothing in it is trusted by being
    there.

    The document's own envelope carries no signature that counts: officers sign statements about its digest.
    """

    document: Envelope
    statements: tuple[Envelope, ...] = ()

    @property
    def digest(self) -> Hash256:
        """The document hash that statements name."""
        return Hash256(self.document.digest)

    def with_statement(self, statement: Envelope) -> "SignedDocument":
        """The bundle with one more statement."""
        return SignedDocument(self.document, (*self.statements, statement))

    def without_key(self, key_id: str) -> "SignedDocument":
        """The bundle without what this key has signed, so that its officer can sign anew."""
        kept = (item for item in self.statements if key_id not in {it.key_id for it in item.signatures})
        return SignedDocument(self.document, tuple(kept))

    def to_bytes(self) -> bytes:
        """Canonical JSON, the envelopes as base64url of their own bytes."""
        statements: list[JsonValue] = [b64u(item.to_bytes()) for item in self.statements]
        body: dict[str, JsonValue] = {"document": b64u(self.document.to_bytes()), "statements": statements}
        return canonical_json({"type": _TYPE, **body})

    @classmethod
    def from_bytes(cls, data: bytes) -> "SignedDocument":
        """The inverse of `to_bytes`; raises DocumentError."""
        try:
            value = parse_canonical(data, max_bytes=8 * MAX_DOCUMENT_BYTES)
            members = require_object(value, frozenset({"type", "document", "statements"}), "the bundle")
            statements = members["statements"]
            if members["type"] != _TYPE or not isinstance(statements, list):
                raise DocumentError(f"not a {_TYPE} bundle")
            if len(statements) > MAX_STATEMENTS:
                raise DocumentError(f"a bundle has at most {MAX_STATEMENTS} statements")
            document, *rest = (
                Envelope.from_bytes(unb64u(require_text(item, "an envelope")))
                for item in (members["document"], *statements)
            )
        except CryptoError as error:
            raise DocumentError(f"not a {_TYPE} bundle: {error}") from error
        return cls(document, tuple(rest))


@dataclass(frozen=True, slots=True)
class Quorum:
    """Whether the required officers have approved.

    `missing` names unfilled requirements, `refused` says why a statement did not count, `rejected_by` lists
    officers who said no; one of them is enough for `met` to be false. `vacant` are the requirements for which
    nobody signed who is in post at this moment.
    """

    met: bool
    missing: tuple[str, ...]
    counted: tuple[Signatory, ...]
    refused: tuple[str, ...]
    rejected_by: tuple[Signatory, ...]
    vacant: tuple[Requirement, ...] = ()

    def require(self) -> None:
        """Raise QuorumNotMetError with every reason, unless met."""
        if self.met:
            return
        reasons = [f"still needed: {item}" for item in self.missing]
        reasons += [f"rejected by {item.person} ({item.organisation})" for item in self.rejected_by]
        raise QuorumNotMetError("; ".join((*reasons, *self.refused)))


def sign_statement(statement: SigningStatement, signer: Signer) -> Envelope:
    """The statement in an envelope signed by the officer."""
    return sign_envelope(payload_type(SigningStatement), write(statement), [signer])


def verify_quorum(
    bundle: SignedDocument,
    page_hash: str,
    rule: QuorumRule,
    registry: Registry,
    now: datetime,
    *,
    relies_on: date | None = None,
    published_now: bool = False,
) -> Quorum:
    """Count the statements in `bundle` against `rule`.

    `page_hash` is of the page as rendered here and now; roles and organisations come from `registry`. No
    approval is older than `relies_on`, the youngest thing that the document names. The quorum must have been
    formed at some moment; for whoever brings a document into life (`published_now`) it must stand at `now`.
    Raises SignatureError, DuplicateKeyError, WrongDocumentError, WrongPageError, DocumentError.
    """
    approvals: list[Approval] = []
    rejected: list[Signatory] = []
    refused: list[str] = []
    seen: set[VerifyKey] = set()
    for envelope in bundle.statements:
        statement = _statement_about(bundle, page_hash, envelope)
        officer = signing_officer(envelope, registry)
        if officer is None:
            refused.append("a statement is signed by a key that the registry does not list")
            continue
        if officer.verify_key in seen:
            raise DuplicateKeyError(f"the key of {officer.person} signed twice")
        seen.add(officer.verify_key)
        reason = objection(officer, statement, rule, now, relies_on)
        if reason is not None:
            refused.append(reason)
            continue
        signatory = Signatory(officer.person, officer.organisation, statement.role)
        if statement.decision is Decision.REJECT:
            rejected.append(signatory)
        else:
            approvals.append(Approval(officer, signatory, min(statement.signed_at, now)))
    moments = {now} if published_now else {item.signed_at for item in approvals}
    standing = standing_together(approvals, rule, moments)
    counted = tuple(item.signatory for item in standing)
    refused += [_alone(item) for item in approvals if item not in standing]
    refused += _second_signatures(counted)
    missing = tuple(str(item) for item in unfilled(rule, counted))
    in_post = [item.signatory for item in approvals if item.officer.valid_at(now)]
    met = not missing and not rejected
    return Quorum(met, missing, counted, tuple(refused), tuple(rejected), unfilled(rule, in_post))


def signing_officer(envelope: Envelope, registry: Registry) -> Officer | None:
    """The officer whose key signed, or None if the registry lists none; two signatures are refused."""
    if len(envelope.signatures) != 1:
        raise DocumentError("a statement carries exactly one signature, its officer's")
    keys = verified_keys(envelope, registry.officer_keys)
    return registry.officer_with_key(next(iter(keys))) if keys else None


def objection(
    officer: Officer, statement: SigningStatement, rule: QuorumRule, now: datetime, relies_on: date | None
) -> str | None:
    """Why the officer's statement does not count even by itself, or None."""
    who = f"the statement of {officer.person} does not count: "
    if statement.organisation != officer.organisation:
        return who + f"the registry has the officer in {officer.organisation}, not {statement.organisation}"
    if statement.role not in officer.roles:
        return who + f"the registry does not give the officer the role of {role_title(statement.role)}"
    signatory = Signatory(officer.person, officer.organisation, statement.role)
    if not any(signatory.fills(requirement) for requirement in rule.requirements):
        return who + f"{statement.organisation}'s {role_title(statement.role)} does not sign this document"
    if not officer.valid_at(statement.signed_at):
        return who + "it was signed after the officer's time in post had ended"
    if statement.signed_at > now + CLOCK_SKEW:
        return who + "it is dated in the future"
    approves = statement.decision is Decision.APPROVE
    if approves and relies_on is not None and statement.signed_at.date() < relies_on:
        return who + f"it is dated before {relies_on}, when what the document relies on was there"
    return None


def _statement_about(bundle: SignedDocument, page_hash: str, envelope: Envelope) -> SigningStatement:
    statement = open_document(SigningStatement, envelope)
    if statement.document_hash != bundle.digest:
        raise WrongDocumentError("a statement is about another document than the one it came with")
    if statement.page_hash != page_hash:
        raise WrongPageError("a statement is about another rendered page than this document's")
    return statement


def _alone(approval: Approval) -> str:
    return (
        f"the statement of {approval.signatory.person} does not stand with the others: all sign within "
        f"{SIGNING_TIME.days} days, and are still in post when the last of them signs"
    )


def _second_signatures(counted: Sequence[Signatory]) -> list[str]:
    persons = [item.person for item in counted]
    twice = sorted({person for person in persons if persons.count(person) > 1})
    return [f"{person} signed more than once and counts once" for person in twice]

"""What the services of disclosure share, and how each signs, answers and counts."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agency_node.audit import AuditLog
from agency_node.disclosure.messages import DisclosureAnswer, padded
from agency_node.disclosure.records import RecordReader
from agency_node.disclosure.vault import Vault
from agency_node.documents import ActivePolicy, PolicyBook
from agency_node.encoding.keys import EncodingKeys
from agency_node.key_service import KeyRing
from agency_node.links import LinkBook
from agency_node.mailbox import Mailbox, RegistryAt
from agency_node.ports import Clock, NodeIdentity
from agency_node.store.store import NodeStore, NodeTransaction
from crypto.envelope import Envelope, sign_envelope
from crypto.errors import SignatureError
from policies.agreement import SubjectType
from policies.codec import Document, open_document, payload_type, write
from policies.disclosure import DisclosureRequest
from policies.errors import DocumentError, RequestError
from policies.evaluate import PolicyEvaluator
from policies.ids import AgencyId, DocumentId, LinkageId
from policies.registry import Registry
from policies.requests import VerifiedRequest, verify_request
from policies.signing import CLOCK_SKEW
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.relay import ToAgency

_EVALUATORS_KEPT = 32


@dataclass(frozen=True, slots=True)
class DisclosureSettings:
    """How the services of disclosure go about it."""

    #: Answers leave only at whole multiples of this after the question came, so that the time taken says
    #: nothing of what was found.
    answer_seconds: float = 2.0
    #: How fresh the step-up sign-in of a break-glass claim must be.
    sign_in_minutes: int = 15
    #: How long after that sign-in the claim may arrive at the provider. Later it is no emergency any more,
    #: or another one.
    claim_minutes: int = 60
    #: How often a log that grew is signed and shown to witnesses.
    checkpoint_minutes: int = 15
    #: How often a link is looked at again for something that may be pushed.
    push_minutes: int = 60
    pushes_at_once: int = 50
    #: For how long a release may wait to be sent after it was decided; then it is decided anew.
    stands_minutes: float = 5.0

    @property
    def stands(self) -> timedelta:
        """As `stands_minutes`, but never less than it takes until an answer may leave."""
        return max(timedelta(minutes=self.stands_minutes), timedelta(seconds=5 * self.answer_seconds))


def new_document_id() -> DocumentId:
    """128 random bits."""
    return DocumentId(secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class DisclosureContext:
    """The node's parts, as disclosure uses them."""

    identity: NodeIdentity
    store: NodeStore
    registry_at: RegistryAt
    book: PolicyBook
    mailbox: Mailbox
    ring: KeyRing
    links: LinkBook
    log: AuditLog
    vault: Vault
    reader: RecordReader
    clock: Clock
    settings: DisclosureSettings = field(default_factory=DisclosureSettings)
    new_id: Callable[[], DocumentId] = new_document_id
    evaluators: Evaluators = field(default_factory=lambda: Evaluators())

    @property
    def me(self) -> AgencyId:
        """This agency."""
        return self.identity.agency

    def now(self) -> datetime:
        """The present moment in whole seconds, as documents have it."""
        return self.clock().replace(microsecond=0)

    def signed(self, document: Document) -> Envelope:
        """The document, signed by this node."""
        return sign_envelope(payload_type(type(document)), write(document), [self.identity.signer])

    async def send_answer(
        self, tx: NodeTransaction, peer: AgencyId, answer: DisclosureAnswer, asked: datetime
    ) -> Envelope:
        """Queues an answer in its size class and for its timing class; returns the signed envelope.

        Raises:
            AnswerTooLargeError: it fits into no size class.
        """
        envelope = self.signed(padded(answer))
        message_id = await self.mailbox.post(tx, ToAgency(peer), peer, "disclosure-answer", envelope)
        if self.settings.answer_seconds:
            leaves = departure(asked, self.clock(), self.settings.answer_seconds)
            await tx.outbox.postpone(message_id, leaves)
        return envelope

    async def identity_keys(
        self, tx: NodeTransaction, linkage: LinkageId, epoch: int, registry: Registry, now: datetime
    ) -> tuple[SubjectType, tuple[bytes, ...]]:
        """What is linked, and the identity keys held of an epoch and its neighbours, that epoch's first.

        An epoch may have turned between two nodes' looking. Raises RefusedError: LINKAGE_UNKNOWN,
        EPOCH_NOT_OPEN where none is held.
        """
        agreement = (await self.book.agreement(tx, linkage, registry, now)).agreement
        section = agreement.encoding_json()
        keys: list[bytes] = []
        for candidate in (epoch, epoch + 1, epoch - 1):
            try:
                key = await self.ring.key(tx, linkage, candidate)
            except RefusedError:
                continue
            keys.append(EncodingKeys.derive(key, str(linkage), candidate, section).identity)
        if not keys:
            raise RefusedError(ErrorCode.EPOCH_NOT_OPEN, f"no key of linkage {linkage} is held here")
        return agreement.subject_type, tuple(keys)


class Evaluators:
    """Compiled policies by document hash: compiling costs more than deciding."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, PolicyEvaluator] = OrderedDict()

    def of(self, active: ActivePolicy) -> PolicyEvaluator:
        """The evaluator of a policy version. Raises CompilationError."""
        held = self._held.pop(active.document_hash, None) or PolicyEvaluator(active.policy)
        self._held[active.document_hash] = held
        if len(self._held) > _EVALUATORS_KEPT:
            self._held.popitem(last=False)
        return held


def departure(asked: datetime, now: datetime, seconds: float) -> datetime:
    """The next whole multiple of `seconds` after `asked` that is not before `now`."""
    steps = max(0.0, (now - asked).total_seconds()) // seconds + 1
    return asked + timedelta(seconds=steps * seconds)


def verified_request(envelope: Envelope, registry: Registry, now: datetime) -> VerifiedRequest:
    """A request signed by its officer and its node, in a role that the registry gives the officer.

    One whose time is up is verified as of its last second: that it is late is not for here to say.

    Raises:
        RefusedError: REQUEST_INVALID, SIGNATURE_INVALID, OFFICER_UNKNOWN.
    """
    try:
        request = open_document(DisclosureRequest, envelope)
        return verify_request(envelope, registry, min(now, request.expires - timedelta(seconds=1)))
    except DocumentError as error:
        raise RefusedError(ErrorCode.REQUEST_INVALID, f"not a disclosure request: {error}") from None
    except SignatureError as error:
        raise RefusedError(ErrorCode.SIGNATURE_INVALID, str(error)) from None
    except RequestError as error:
        raise RefusedError(_code_of(envelope, request, registry, now), str(error)) from None


def _code_of(envelope: Envelope, request: DisclosureRequest, registry: Registry, now: datetime) -> ErrorCode:
    if request.created > now + CLOCK_SKEW:
        return ErrorCode.REQUEST_INVALID
    signed_by = {item.key_id for item in envelope.signatures}
    officers = [item for item in registry.officers if item.verify_key.key_id in signed_by]
    agency = registry.agency(request.requester)
    if agency is None or agency.node_verify_key.key_id not in signed_by:
        return ErrorCode.SIGNATURE_INVALID
    if len(officers) != 1 or officers[0].person != request.officer:
        return ErrorCode.SIGNATURE_INVALID
    return ErrorCode.OFFICER_UNKNOWN

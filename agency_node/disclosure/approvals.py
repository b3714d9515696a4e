"""Approvals of requests by officers of either side, and reviews of break-glass.

An approver of the provider hands in at the provider's node, which decides anew at once. One of the recipient
hands in at the recipient's node; it adds its own signature to the envelope for the way, which the provider
takes off again, so that what counts is what the officer signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from agency_node.disclosure.context import DisclosureContext, verified_request
from agency_node.disclosure.held import held_policy, require_request
from agency_node.disclosure.holder import Holder
from agency_node.disclosure.model import Direction, EmergencyUse, RequestState, StoredRequest
from agency_node.disclosure.retention import Retention
from agency_node.disclosure.supervision import UNJUSTIFIED, Occasion, Supervision
from agency_node.disclosure.vault import RequestContents
from agency_node.mailbox import OpenedMessage
from agency_node.rpc.ports import PreparedApproval
from agency_node.store.store import NodeTransaction
from crypto.audit import AuditAction, reference
from crypto.canonical import JsonInput
from crypto.envelope import Envelope, add_signature
from crypto.errors import CryptoError
from crypto.tokens import LinkToken
from policies.codec import open_document, payload_type, write
from policies.disclosure import Approval, DisclosureRequest
from policies.errors import PolicyError
from policies.ids import Hash256, PersonId, Prose
from policies.registry import Officer, Registry
from policies.requests import tally_approvals
from policies.signing import CLOCK_SKEW, signing_officer
from policies.vocabulary import Decision, OfficerRole
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.relay import ToLink


class Approvals:
    """Takes what officers sign about requests."""

    def __init__(
        self,
        context: DisclosureContext,
        holder: Holder,
        retention: Retention,
        supervision: Supervision,
    ) -> None:
        self._context = context
        self._holder = holder
        self._retention = retention
        self._supervision = supervision

    async def prepare(
        self, request_id: str, decision: str, reason: str, officer: str, role: str
    ) -> PreparedApproval:
        """An approval or rejection for its officer to sign, with the request to show them before.

        Raises:
            RefusedError: REQUEST_UNKNOWN, APPROVAL_REFUSED, OFFICER_UNKNOWN.
        """
        ctx = self._context
        now = ctx.now()
        registry = ctx.registry_at(now)
        try:
            person, as_role, said = PersonId(officer), OfficerRole(role), Decision(decision)
            prose = Prose(reason)
        except ValueError as error:
            raise RefusedError(ErrorCode.APPROVAL_REFUSED, f"cannot be understood: {error}") from None
        if not any(item.person == person and as_role in item.roles for item in registry.officers_of(ctx.me)):
            raise RefusedError(
                ErrorCode.OFFICER_UNKNOWN,
                f"the registry does not list {person} here as {as_role.value.replace('_', ' ')}",
            )
        async with ctx.store.transaction() as tx:
            stored = await require_request(tx, request_id)
            use = await tx.emergencies.get(stored.direction, stored.request_id)
        if use is None or use.reviewed is not None:
            _require_waiting(stored)
        _, request = self._opened(stored)
        approval = Approval(
            request_hash=Hash256(stored.request_hash),
            request=request.id,
            requester=request.requester,
            tier=request.tier,
            organisation=ctx.me,
            role=as_role,
            decision=said,
            reason=prose,
            decided_at=now,
        )
        return PreparedApproval(write(approval), payload_type(Approval), write(request))

    async def submit(self, data: bytes) -> str:
        """Counts a signed approval or review; returns the request's state.

        Raises:
            RefusedError: REQUEST_UNKNOWN, APPROVAL_REFUSED with why it does not count.
        """
        ctx = self._context
        now = ctx.now()
        registry = ctx.registry_at(now)
        envelope, approval = _read(data)
        async with ctx.store.transaction() as tx:
            stored = await self._by_hash(tx, approval.request_hash)
            use = await tx.emergencies.get(stored.direction, stored.request_id)
            if use is not None and use.reviewed is None:
                state = await self._review(tx, use, stored, envelope, approval, registry, now)
            else:
                await self._count(tx, stored, envelope, registry, now)
                if stored.direction is Direction.RECEIVED:
                    state = await self._holder.decide_again(tx, stored)
                else:
                    await self._send_on(tx, stored, envelope)
                    state = stored.state
        ctx.mailbox.nudge()
        return state.value

    async def take(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Takes an approval that an officer of the recipient gave.

        Raises:
            RefusedError: REQUEST_UNKNOWN, APPROVAL_REFUSED.
        """
        ctx = self._context
        now = message.received.replace(microsecond=0)
        registry = ctx.registry_at(now)
        envelope, approval = _read(_without_node(message, registry).to_bytes())
        stored = await tx.requests.by_hash(Direction.RECEIVED, approval.request_hash)
        if stored is None or stored.peer != message.sender:
            raise RefusedError(
                ErrorCode.REQUEST_UNKNOWN, "an approval came of a request that its sender never made"
            )
        await self._count(tx, stored, envelope, registry, now)
        await self._holder.decide_again(tx, stored)

    async def _count(
        self,
        tx: NodeTransaction,
        stored: StoredRequest,
        envelope: Envelope,
        registry: Registry,
        now: datetime,
    ) -> None:
        """Keeps an approval that counts, with its audit entry; refuses any other.

        An officer who approved may still reject, whatever has been declared about them since.
        """
        ctx = self._context
        _require_waiting(stored)
        contents, _ = self._opened(stored)
        verified = verified_request(contents.envelope, registry, now)
        if now >= verified.request.expires:
            raise RefusedError(ErrorCode.APPROVAL_REFUSED, "the request's time is up")
        provider = ctx.me if stored.direction is Direction.RECEIVED else stored.peer
        held = [
            ctx.vault.open_approval(stored.request_hash, item)
            for item in await tx.approvals.of(stored.request_hash)
        ]
        try:
            before = tally_approvals(verified, provider, held, registry, now)
            after = tally_approvals(verified, provider, [*held, envelope], registry, now)
        except (PolicyError, CryptoError) as error:
            raise RefusedError(ErrorCode.APPROVAL_REFUSED, str(error)) from None
        if len(after.refused) > len(before.refused):
            raise RefusedError(ErrorCode.APPROVAL_REFUSED, after.refused[-1])
        officer = _officer(envelope, registry)
        if await tx.emergencies.suspends(officer.person, now):
            raise RefusedError(
                ErrorCode.APPROVAL_REFUSED,
                "the officer's own use of break-glass is not reviewed in time, or was not justified",
            )
        approval = open_document(Approval, envelope)
        takes_back = approval.decision is Decision.REJECT and officer.person in before.approvers
        subject = None if takes_back else contents.subject
        if subject is not None and await self._supervision.conflicted(tx, officer.person, subject):
            raise RefusedError(
                ErrorCode.CONFLICT_OF_INTEREST, "an officer with a conflict of interest may not approve"
            )
        await tx.approvals.add(stored.request_hash, ctx.vault.wrap_approval(stored.request_hash, envelope))
        await tx.requests.set_approvals(
            stored.direction, stored.request_id, after.approvals.count, stored.approvals_needed
        )
        if takes_back:
            await self._note(
                tx, stored, contents, officer, approval, AuditAction.WITHDRAWN, {"what": "approval"}
            )
        await self._note(tx, stored, contents, officer, approval, AuditAction.APPROVAL_GIVEN)

    async def _send_on(self, tx: NodeTransaction, stored: StoredRequest, envelope: Envelope) -> None:
        ctx = self._context
        _, request = self._opened(stored)
        token = LinkToken.parse(request.link_token)
        carried = add_signature(envelope, ctx.identity.signer)
        await ctx.mailbox.post(
            tx, ToLink(token.raw), stored.peer, "disclosure-request", carried, stored.expires
        )

    async def _review(
        self,
        tx: NodeTransaction,
        use: EmergencyUse,
        stored: StoredRequest,
        envelope: Envelope,
        approval: Approval,
        registry: Registry,
        now: datetime,
    ) -> RequestState:
        """A review of break-glass by an officer whom the policy names for it, and never by its user.

        What was got without justification is taken back or destroyed at once, and the officer stays suspended
        until an overseer has signed the alarm off.
        """
        officer = _officer(envelope, registry)
        contents, request = self._opened(stored)
        policy = await held_policy(tx, use.policy_hash)
        rules = policy.emergency if policy else None
        fits = (
            rules is not None
            and approval.is_about(request, stored.request_hash)
            and approval.role in rules.reviewer_roles
            and approval.role in officer.roles
            and officer.organisation == approval.organisation == self._context.me
            and officer.person != use.officer
            and officer.valid_at(now)
            and use.used - CLOCK_SKEW <= approval.decided_at <= now + CLOCK_SKEW
        )
        if not fits:
            raise RefusedError(
                ErrorCode.APPROVAL_REFUSED, "this officer may not review this use of break-glass"
            )
        justified = approval.decision is Decision.APPROVE
        await tx.emergencies.review(use.direction, use.request_id, now, justified=justified)
        await self._note(tx, stored, contents, officer, approval, AuditAction.BREAK_GLASS_REVIEWED)
        if justified:
            return stored.state
        occasion = Occasion(use.request_id, use.officer, use.peer, use.policy_hash, now)
        await self._supervision.alarm(tx, UNJUSTIFIED, occasion, use.request_id)
        await self._retention.undo(tx, stored, now)
        current = await tx.requests.get(stored.direction, stored.request_id)
        return stored.state if current is None else current.state

    async def _note(
        self,
        tx: NodeTransaction,
        stored: StoredRequest,
        contents: RequestContents,
        officer: Officer,
        approval: Approval,
        action: AuditAction,
        more: Mapping[str, JsonInput] | None = None,
    ) -> None:
        body: dict[str, JsonInput] = {
            "request": str(stored.request_id),
            "organisation": str(officer.organisation),
            "role": approval.role.value,
            "decision": approval.decision.value,
            "reason": str(approval.reason),
            **(more or {}),
        }
        await self._context.log.append(
            tx,
            action,
            actor=str(officer.person),
            subject=contents.subject,
            policy=stored.policy_hash,
            ref=reference(stored.request_id),
            body=body,
        )

    def _opened(self, stored: StoredRequest) -> tuple[RequestContents, DisclosureRequest]:
        """What a request says. Raises RefusedError: REQUEST_UNKNOWN where that was erased."""
        if stored.wrapped is None:
            raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "what this request said was erased")
        contents = self._context.vault.open_request(stored.direction, stored.request_id, stored.wrapped)
        return contents, open_document(DisclosureRequest, contents.envelope)

    async def _by_hash(self, tx: NodeTransaction, request_hash: str) -> StoredRequest:
        for direction in (Direction.RECEIVED, Direction.MADE):
            stored = await tx.requests.by_hash(direction, request_hash)
            if stored is not None:
                return stored
        raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "the approval is of no request that is held here")


def _require_waiting(stored: StoredRequest) -> None:
    """Raises RefusedError: APPROVAL_REFUSED for a request that is settled, with what can be done instead."""
    if stored.state in (RequestState.WAITING, RequestState.SENT):
        return
    hint = ""
    if stored.state is RequestState.RELEASED:
        ask = "" if stored.direction is Direction.RECEIVED else f"ask {stored.peer} to "
        hint = f": {ask}take it back with `tallystick approve recall {stored.request_id}`"
    raise RefusedError(ErrorCode.APPROVAL_REFUSED, f"the request is {stored.state.value} already{hint}")


def _read(data: bytes) -> tuple[Envelope, Approval]:
    try:
        envelope = Envelope.from_bytes(data)
        return envelope, open_document(Approval, envelope)
    except (CryptoError, PolicyError) as error:
        raise RefusedError(ErrorCode.APPROVAL_REFUSED, f"not a signed approval: {error}") from None


def _officer(envelope: Envelope, registry: Registry) -> Officer:
    try:
        officer = signing_officer(envelope, registry)
    except (CryptoError, PolicyError) as error:
        raise RefusedError(ErrorCode.APPROVAL_REFUSED, str(error)) from None
    if officer is None:
        raise RefusedError(
            ErrorCode.APPROVAL_REFUSED, "it is signed by a key that the registry does not list"
        )
    return officer


def _without_node(message: OpenedMessage, registry: Registry) -> Envelope:
    agency = registry.agency(message.sender)
    key_id = agency.node_verify_key.key_id if agency else ""
    kept = tuple(item for item in message.envelope.signatures if item.key_id != key_id)
    return replace(message.envelope, signatures=kept)

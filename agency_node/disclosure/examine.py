"""What must hold before a field of a request is looked at, at this moment, and what is held of its subject.

Up to the last step nothing depends on what is held, so a refusal may say why. Whatever is found out from
there on is for this agency's own record: the requester sees what it would see if nothing were held.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from agency_node.disclosure.cases import Case, Closed, Ready, Refused
from agency_node.disclosure.context import DisclosureContext, verified_request
from agency_node.disclosure.emergencies import UNREVIEWED_AT_MOST
from agency_node.disclosure.evidence import confirms
from agency_node.disclosure.held import held_policy
from agency_node.disclosure.model import Direction
from agency_node.disclosure.provenance import with_provenance
from agency_node.disclosure.records import Holding
from agency_node.disclosure.supervision import CONFLICT, IDENTITY, PROBING, Supervision
from agency_node.store.store import NodeTransaction
from crypto.errors import CryptoError
from policies.disclosure import RefusalCode
from policies.errors import PolicyError
from policies.ids import LinkageId
from policies.requests import tally_approvals
from policies.sharing import SharingPolicy
from policies.signing import CLOCK_SKEW
from policies.vocabulary import Strength
from protos.wire.errors import RefusedError

_log = structlog.get_logger("disclosure")


class Examiner:
    """Examines requests for the holder."""

    def __init__(self, context: DisclosureContext, supervision: Supervision) -> None:
        self._context = context
        self._supervision = supervision

    async def examined(self, tx: NodeTransaction, case: Case, limited: bool) -> Ready | Refused:
        """Everything that must hold before a field is looked at, in this order."""
        request, now = case.request, case.now
        policy = await held_policy(tx, request.policy_hash)
        if now >= request.expires and case.until is None:
            return Refused(RefusalCode.REQUEST_EXPIRED, "its time is up", policy)
        try:
            verified = verified_request(case.contents.envelope, case.registry, now)
        except RefusedError as error:
            return Refused(RefusalCode.NOT_PERMITTED, str(error), policy)
        try:
            active = await self._context.book.active_policy(tx, request.policy_hash, case.registry, now)
        except (RefusedError, PolicyError, CryptoError) as error:
            return Refused(RefusalCode.POLICY_NOT_IN_FORCE, str(error), policy)
        policy = active.policy
        if await self._supervision.barred(tx, request.officer):
            why = "the officer may not ask about anybody"
            return Refused(RefusalCode.CONFLICT_OF_INTEREST, why, policy, alarm=CONFLICT)
        objection = await self._objection(tx, case, policy)
        if objection is not None:
            return Refused(RefusalCode.NOT_PERMITTED, objection, policy)
        if limited:
            return Refused(RefusalCode.LIMIT_REACHED, "the day's budget of requests is used up", policy)
        tally = tally_approvals(verified, self._context.me, case.approvals, case.registry, now)
        if tally.rejected_by:
            return Refused(RefusalCode.NOT_PERMITTED, "an approver said no", policy)
        party = policy.party(self._context.me)
        if party is None or party.name_withheld:
            return Refused(RefusalCode.NOT_AVAILABLE, "this agency's name is withheld", policy)
        emergency = request.break_glass is not None
        strength = await self._strength(tx, case)
        return Ready(active, verified, tally, emergency, strength, await self._known(tx, case))

    async def _strength(self, tx: NodeTransaction, case: Case) -> Strength:
        """The band of the link: what the broker says now, but no more than it told this agency."""
        link = case.contents.link
        known = await tx.links.of_handle(LinkageId(link.linkage_id), link.handle)
        told = [item.strength for item in known if item.counterpart == case.request.requester]
        said = [Strength(item.value) for item in (link.strength, *told)]
        return min(said, key=lambda item: item.rank)

    async def _objection(self, tx: NodeTransaction, case: Case, policy: SharingPolicy) -> str | None:
        """Why the request is not one under this policy; nothing here depends on what is held."""
        request = case.request
        if policy.id != request.policy or request.linkage not in policy.linkages:
            return "the policy is not about this linkage"
        if request.requester not in policy.recipients or request.purpose not in policy.purposes:
            return "the policy does not know this recipient or purpose"
        if policy.safeguards.case_reference_required and not any(map(str.isalnum, request.case_reference)):
            return "the policy requires a case reference"
        if await tx.emergencies.suspends(request.officer, case.now):
            return "the officer's use of break-glass is not reviewed in time, or was not justified"
        if request.break_glass is None:
            return None
        if not self._emergency_fits(case, policy):
            return "the claim of an emergency is not one that the policy knows"
        if await tx.emergencies.waiting_of(request.officer, but=request.id) >= UNREVIEWED_AT_MOST:
            return "too many uses of break-glass by the officer wait for their review"
        use = await tx.emergencies.get(Direction.RECEIVED, request.id)
        return "its break-glass was not justified" if use is not None and use.unjustified else None

    def _emergency_fits(self, case: Case, policy: SharingPolicy) -> bool:
        claim, rules = case.request.break_glass, policy.emergency
        if claim is None or rules is None:
            return False
        settings, signed_in = self._context.settings, claim.authenticated_at
        fresh = timedelta(minutes=settings.sign_in_minutes)
        on_its_way = case.stored.created - signed_in
        return (
            case.request.role in rules.officer_roles
            and claim.reason_code in rules.reason_codes
            and case.request.tier <= rules.max_tier
            and case.request.created - fresh <= signed_in <= case.request.created
            and -CLOCK_SKEW <= on_its_way <= timedelta(minutes=settings.claim_minutes)
        )

    async def _known(self, tx: NodeTransaction, case: Case) -> Holding | Closed:
        """What is held about the subject, if both agencies mean the same one and this officer may ask.

        Whatever goes wrong from here on goes wrong only where something is held, and must not show.
        """
        try:
            return await self._held(tx, case)
        except Exception as error:  # noqa: BLE001 - an error denies, whatever it is, and is on record
            _log.error("not looked at", request=str(case.request.id), error=type(error).__name__)
            return Closed(RefusalCode.NOT_AVAILABLE, f"error: {type(error).__name__}", failed=True)

    async def _held(self, tx: NodeTransaction, case: Case) -> Holding | Closed:
        ctx, link, request = self._context, case.contents.link, case.request
        subject = case.contents.subject
        if subject is None:
            decoy = await tx.handles.is_decoy(LinkageId(link.linkage_id), link.handle)
            return Closed(RefusalCode.NOT_AVAILABLE, "nothing is held", PROBING if decoy else None)
        kind, keys = await ctx.identity_keys(
            tx, LinkageId(link.linkage_id), link.epoch, case.registry, case.now
        )
        holding = await ctx.reader.holding(subject, kind)
        if holding is None:
            return Closed(RefusalCode.NOT_AVAILABLE, "nothing is held")
        if not confirms(request.identity_evidence, holding.subject, kind, keys, request.id):
            why = "the identity evidence does not agree with the linked subject"
            return Closed(RefusalCode.IDENTITY_NOT_CONFIRMED, why, IDENTITY)
        if await self._supervision.conflicted(tx, request.officer, subject):
            why = "the officer has a conflict of interest about this subject"
            return Closed(RefusalCode.CONFLICT_OF_INTEREST, why, CONFLICT)
        return await with_provenance(tx, ctx.vault, holding)

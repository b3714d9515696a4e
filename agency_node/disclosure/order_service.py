"""Prepares officers' orders, and carries out what they sign.

An order's entry in the audit log and its effect are one transaction, and so is the note that it was carried
out: each order acts once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.orders import (
    REMEMBERED,
    SEEING,
    Act,
    OfficerOrder,
    require_post,
    require_role,
    verified_order,
)
from agency_node.rpc.ports import OrderDraft, PreparedDocument
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction, reference
from crypto.canonical import JsonInput
from policies.codec import payload_type, write
from policies.ids import Line, PersonId, Prose
from policies.registry import Registry
from policies.vocabulary import OfficerRole
from protos.wire.errors import ErrorCode, RefusedError


@dataclass(frozen=True, slots=True)
class Effect:
    """What came of an order: a sentence, and the subject, if any, under whose key it is put on record."""

    outcome: str
    subject: SubjectId | None = None
    policy: str | None = None


Perform = Callable[[NodeTransaction, OfficerOrder, datetime], Awaitable[Effect]]
#: What must hold of an order before its transaction opens, such as what only the agency's source knows:
#: reading that may take long, and whatever else the node writes waits for an open transaction.
Require = Callable[[OfficerOrder, Registry], Awaitable[None]]


class Orders:
    """Prepares, verifies and carries out orders."""

    def __init__(
        self,
        context: DisclosureContext,
        perform: Mapping[Act, Perform],
        require: Mapping[Act, Require],
    ) -> None:
        self._context = context
        self._perform = perform
        self._require = require

    async def prepare(self, draft: OrderDraft) -> PreparedDocument:
        """An order for its officer to sign.

        Raises:
            RefusedError: INVALID_ARGUMENT, OFFICER_UNKNOWN, NOT_ALLOWED for a role that may not order it, and
                what must hold before the act refuses.
        """
        ctx = self._context
        now = ctx.now()
        registry = ctx.registry_at(now)
        try:
            order = OfficerOrder(
                ctx.new_id(),
                ctx.me,
                PersonId(draft.officer),
                OfficerRole(draft.role),
                Act(draft.act),
                Line(draft.target),
                Prose(draft.reason),
                now,
                Line(draft.about) if draft.about else None,
            )
        except ValueError as error:
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT, f"the order cannot be understood: {error}"
            ) from None
        if order.act not in SEEING:  # whoever may not look finds out on record
            require_post(order, registry, now)
            require_role(order)
        await self._require_before(order, registry)
        return PreparedDocument(write(order), payload_type(OfficerOrder))

    async def submit(self, data: bytes) -> str:
        """Carries out a signed order; returns what was done, as a sentence.

        Raises:
            RefusedError: INVALID_ARGUMENT, SIGNATURE_INVALID, OFFICER_UNKNOWN, NOT_ALLOWED, REQUEST_REPLAYED
                for an order that was carried out before, and whatever the act itself refuses.
        """
        ctx = self._context
        now = ctx.now()
        registry = ctx.registry_at(now)
        envelope, order = verified_order(data, registry, ctx.me, now)
        if order.act in SEEING:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "an order to see goes with what it asks for")
        require_post(order, registry, now)
        require_role(order)
        await self._require_before(order, registry)
        async with ctx.store.transaction() as tx:
            await tx.orders.prune(now)
            if not await tx.orders.note(envelope.digest, order.ordered_at + REMEMBERED):
                raise RefusedError(ErrorCode.REQUEST_REPLAYED, "this order was carried out already")
            effect = await self._perform[order.act](tx, order, now)
            await ctx.log.append(
                tx,
                AuditAction.ORDER_GIVEN,
                actor=str(order.officer),
                subject=effect.subject,
                policy=effect.policy,
                ref=reference(order.id),
                body=_entry_body(order, effect),
            )
        ctx.mailbox.nudge()
        return effect.outcome

    async def _require_before(self, order: OfficerOrder, registry: Registry) -> None:
        require = self._require.get(order.act)
        if require is not None:
            await require(order, registry)


def _entry_body(order: OfficerOrder, effect: Effect) -> dict[str, JsonInput]:
    """What the log says of an order.

    The reason is free text and may name anybody: it is kept only under a subject's key, to be destroyed with
    it. An erasure's entry must outlive the erased and names nobody.
    """
    body: dict[str, JsonInput] = {
        "order": str(order.id),
        "act": order.act.value,
        "role": order.role.value,
        "outcome": effect.outcome,
    }
    if order.act is not Act.ERASE_SUBJECT:
        body["target"] = str(order.target)
    if effect.subject is not None:
        body["reason"] = str(order.reason)
    return body

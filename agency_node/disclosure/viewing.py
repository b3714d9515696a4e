"""Who looks at what is kept of a subject: each look is an officer's signed order, and on record before.

Law enforcement must log consultation with the identity of whoever consulted (section 62 of the Data
Protection Act 2018); every agency does here. An attempt that is refused is on record too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.held import held_request
from agency_node.disclosure.model import ReleaseSide
from agency_node.disclosure.orders import (
    REMEMBERED,
    SEEING,
    Act,
    OfficerOrder,
    claimed_order,
    require_post,
    require_role,
    verified_order,
)
from agency_node.disclosure.supervision import CONFLICT, Occasion, Supervision
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction, reference
from crypto.canonical import JsonInput
from protos.wire.errors import ErrorCode, RefusedError

#: What can be exported: the agency's own log, or the broker's as this agency is shown it.
EXPORTS = ("own", "broker")
_EVERYBODY = ""
_CONFLICT: Mapping[str, JsonInput] = {"outcome": "refused", "code": "conflict_of_interest"}


@dataclass(frozen=True, slots=True)
class _Seen:
    """Whom a look is about: `subject` is None where nobody is, or the node cannot say any more who is."""

    subject: SubjectId | None = None
    mac: str = _EVERYBODY


class Viewing:
    """Admits officers who want to look, one look for each order."""

    def __init__(self, context: DisclosureContext, supervision: Supervision) -> None:
        self._context = context
        self._supervision = supervision

    async def admit(self, data: bytes, act: Act) -> OfficerOrder:
        """The order to look, once it is on record that its officer may and does.

        Raises:
            RefusedError: INVALID_ARGUMENT, SIGNATURE_INVALID, ACTING_FOR_ANOTHER, OFFICER_UNKNOWN,
                NOT_ALLOWED for a role that may not look, REQUEST_REPLAYED for an order that was used before,
                CONFLICT_OF_INTEREST.
        """
        ctx = self._context
        now = ctx.now()
        registry = ctx.registry_at(now)
        order = None
        try:
            envelope, order = verified_order(data, registry, ctx.me, now)
            if order.act is not act:
                raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"the order is not one to {_words(act)}")
            require_post(order, registry, now)
            require_role(order)
        except RefusedError as refusal:
            await self._refused(order, data, refusal)
            raise
        async with ctx.store.transaction() as tx:
            await tx.orders.prune(now)
            if not await tx.orders.note(envelope.digest, order.ordered_at + REMEMBERED):
                raise RefusedError(ErrorCode.REQUEST_REPLAYED, "this order was used already: give it anew")
            seen = await self._seen(tx, order)
            conflict = await self._conflict(tx, order, seen)
            await self._note(tx, order, seen, _CONFLICT if conflict else {"outcome": "shown"})
            if conflict:
                occasion = Occasion("", order.officer, ctx.me, "", now)
                await self._supervision.alarm(tx, CONFLICT, occasion, f"{order.officer} {seen.mac}")
        if conflict:
            raise RefusedError(
                ErrorCode.CONFLICT_OF_INTEREST,
                "you may not see what is kept about this subject; another officer must",
            )
        return order

    async def _seen(self, tx: NodeTransaction, order: OfficerOrder) -> _Seen:
        vault = self._context.vault
        match order.act:
            case Act.SEE_PICTURE | Act.SEE_REPORT:
                subject = SubjectId(order.target)
                return _Seen(subject, vault.subject_mac(subject))
            case Act.SEE_REQUEST:
                stored = await held_request(tx, order.target)
                if stored is None:
                    pushed = await tx.releases.get(ReleaseSide.GIVEN, order.target)
                    return _Seen(mac=pushed.subject_mac) if pushed is not None else _Seen()
                contents = None
                if stored.wrapped is not None:
                    contents = vault.open_request(stored.direction, stored.request_id, stored.wrapped)
                return _Seen(contents.subject if contents else None, stored.subject_mac or _EVERYBODY)
            case _:
                return _Seen()

    async def _conflict(self, tx: NodeTransaction, order: OfficerOrder, seen: _Seen) -> bool:
        """Whether the officer may not see this subject; an export, which tells of nobody, is open to them."""
        if order.act is Act.EXPORT_AUDIT:
            return False
        return bool(await tx.conflicts.held(order.officer, (_EVERYBODY, seen.mac)))

    async def _note(
        self, tx: NodeTransaction, order: OfficerOrder, seen: _Seen, more: Mapping[str, JsonInput]
    ) -> None:
        """The reason may name anybody, so it is kept only under a subject's key, to be destroyed with it."""
        body: dict[str, JsonInput] = {
            "order": str(order.id),
            "act": order.act.value,
            "role": order.role.value,
            **more,
        }
        if order.act in (Act.SEE_REQUEST, Act.EXPORT_AUDIT):
            body["target"] = str(order.target)
        if seen.subject is not None:
            body["reason"] = str(order.reason)
        await self._context.log.append(
            tx,
            AuditAction.CONSULTED,
            actor=str(order.officer),
            subject=seen.subject,
            ref=reference(order.id),
            body=body,
        )

    async def _refused(self, order: OfficerOrder | None, data: bytes, refusal: RefusedError) -> None:
        """Puts an attempt on record. Where the key is not the officer's, all else is only what it claims."""
        ctx = self._context
        claimed = order or claimed_order(data)
        if claimed is None:
            return
        more: dict[str, JsonInput] = {"outcome": "refused", "code": refusal.code.value}
        async with ctx.store.transaction() as tx:
            if order is not None:
                seen = await self._seen(tx, order) if order.act in SEEING else _Seen()
                await self._note(tx, order, seen, more)
            else:
                body = {"act": claimed.act.value, "claimed": str(claimed.officer), **more}
                await ctx.log.append(tx, AuditAction.CONSULTED, actor=str(ctx.me), body=body)


def _words(act: Act) -> str:
    return act.value.replace("-", " ")

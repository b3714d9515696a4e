"""What looks like misuse is kept back until a person has looked at it and let it go.

Three things can be held: an upload whose subjects crowd together, an agency's look-ups after one target was
asked for in many variants, and links between two agencies whose number leapt. Each hold is in the audit log,
as is who released it and why. It is released by the broker's operator on the word of an officer of the
federation (`tallystick broker holds`), by a file in the data directory: no call from the network can do it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from broker.audit import AuditLog, Clock
from broker.store.model import Hold, HoldKind, MatchRate
from broker.store.ports import BrokerStore, Transaction
from crypto.audit import AuditAction
from crypto.canonical import JsonInput
from protos.wire.safelog import places_of

_log = structlog.get_logger("holds")
_ACTIONS = {
    HoldKind.UPLOAD: AuditAction.PROBING_SUSPECTED,
    HoldKind.LOOK_UPS: AuditAction.PROBING_SUSPECTED,
    HoldKind.LINKS: AuditAction.MATCH_RATE_ALARM,
}

Released = Callable[[Hold], Awaitable[None]]


class HoldError(Exception):
    """A hold cannot be released; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """That an officer lets a hold go."""

    hold_id: str
    officer: str
    reason: str


class HoldService:
    """Keeps things back and lets them go."""

    def __init__(self, store: BrokerStore, audit: AuditLog, clock: Clock, inbox: Path) -> None:
        """`inbox` is the directory into which the operator's command puts releases."""
        self._store = store
        self._audit = audit
        self._clock = clock
        self._inbox = inbox
        self._listeners: list[Released] = []
        #: Alarms since the broker began, by kind.
        self.raised: Counter[str] = Counter()

    def on_release(self, listener: Released) -> None:
        """`listener` is called after a release became durable."""
        self._listeners.append(listener)

    async def find(
        self, tx: Transaction, kind: HoldKind, linkage: str, agency: str, subject: str
    ) -> tuple[Hold, ...]:
        """The holds of exactly this, open and released, oldest first."""
        wanted = (kind, agency, subject)
        return tuple(
            hold
            for hold in await tx.holds.listed(linkage)
            if (hold.kind, hold.agency, hold.subject) == wanted
        )

    async def hold(
        self,
        tx: Transaction,
        kind: HoldKind,
        linkage: str,
        agency: str,
        subject: str,
        reason: str,
        figures: Mapping[str, int],
    ) -> Hold:
        """Keeps something back, and says so in the audit log; what is held already stays one hold.

        The transaction must become durable: a caller that refuses does so after it.
        """
        earlier = [item for item in await self.find(tx, kind, linkage, agency, subject) if item.open]
        if earlier:
            held = replace(earlier[-1], reason=reason, figures=figures)
            await tx.holds.put(held)
            return held
        held = Hold(
            secrets.token_hex(8), kind, linkage, agency, subject, self._clock(), reason, dict(figures)
        )
        await tx.holds.put(held)
        body: dict[str, JsonInput] = {
            "hold": held.hold_id,
            "kind": kind.value,
            "linkage": linkage,
            "agency": agency,
            "reason": reason,
            "figures": dict(figures),
        }
        await self._audit.append(tx, _ACTIONS[kind], body, actor=agency)
        self.raised[kind.value] += 1
        _log.error("held", hold=held.hold_id, kind=kind.value, linkage=linkage, agency=agency, reason=reason)
        return held

    async def release(self, release: Release) -> Hold:
        """Lets a hold go.

        Raises:
            HoldError: there is no such hold, or it is released already.
        """
        async with self._store.write() as tx:
            held = await tx.holds.get(release.hold_id)
            if held is None:
                raise HoldError(f"there is no hold {release.hold_id}; list them")
            if not held.open:
                raise HoldError(f"hold {release.hold_id} is released already")
            let_go = replace(held, released=self._clock())
            await tx.holds.put(let_go)
            if held.kind is HoldKind.LINKS:
                await tx.holds.put_rates([accepted_rate(held)])
            body: dict[str, JsonInput] = {
                "hold": held.hold_id,
                "kind": held.kind.value,
                "linkage": held.linkage,
                "agency": held.agency,
                "officer": release.officer,
                "reason": release.reason,
            }
            await self._audit.append(tx, AuditAction.HOLD_RELEASED, body)
        _log.warning("hold released", hold=held.hold_id, kind=held.kind.value, agency=held.agency)
        for listener in self._listeners:
            await listener(let_go)
        return let_go

    async def take_releases(self) -> int:
        """Does what the operator's command left in the inbox; returns how many holds went."""
        count = 0
        for path in await asyncio.to_thread(lambda: sorted(self._inbox.glob("*.json"))):
            try:
                await self.release(read_release(await asyncio.to_thread(path.read_text)))
                count += 1
            except HoldError as error:
                _log.warning("release refused", reason=str(error))
            except OSError as error:
                _log.error("release not read", error=type(error).__name__, places=places_of(error))
                continue
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return count


def accepted_rate(held: Hold) -> MatchRate:
    """The figures that a hold of links showed, as what is usual from now on."""
    figures = held.figures
    return MatchRate(
        held.linkage,
        held.agency,
        held.subject,
        figures["links"],
        figures["first_subjects"],
        figures["second_subjects"],
    )


def write_release(inbox: Path, release: Release) -> Path:
    """Leaves a release for the broker; returns the file, which is gone once the broker has taken it."""
    inbox.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = inbox / f"{release.hold_id}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(
        json.dumps({"hold": release.hold_id, "officer": release.officer, "reason": release.reason})
    )
    partial.replace(path)
    return path


def read_release(text: str) -> Release:
    """The inverse of `write_release`."""
    try:
        tree = json.loads(text)
        return Release(str(tree["hold"]), str(tree["officer"]), str(tree["reason"]))
    except (ValueError, KeyError, TypeError):
        raise HoldError(
            "a file in the inbox of releases is not one of the command's; it is removed"
        ) from None

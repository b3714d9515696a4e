"""Watches for probing: one target in many variants, by upload or look-up, and data sent anew for ever.

What each agency sent is compared only with what it sent itself: with what it holds, and for a day with what
it replaced, withdrew or asked for, so that one target tried under one handle again and again is noticed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from broker.audit import Clock
from broker.config import WatchConfig
from broker.holds import HoldService
from broker.linkages import Linkage
from broker.nearness import Nearness, nearness
from broker.remembered import LookUps, ReplacedRows, as_versions, variants_among
from broker.rows import Records, among, contents, handles_of, withdrawn_handles
from broker.store.model import Hold, HoldKind, Segment, UploadRecord
from broker.store.ports import BrokerStore, Transaction
from policies.agreement import MatchingMode, SubjectType
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import UploadMode

#: Fewer subjects than this with near ones are never too many by their share.
_FEWEST_NEAR = 50


@dataclass(frozen=True, slots=True)
class Examination:
    """What an upload looked like before its commit, and of which state of the store that is said.

    `gone` are the rows that the agency will no longer hold, by `as_versions`.
    """

    state: tuple[int, int]
    digest: str
    found: Nearness | None
    gone: Records | None = field(repr=False)


class ProbingWatch:
    """Examines uploads and look-ups."""

    def __init__(
        self,
        store: BrokerStore,
        holds: HoldService,
        config: WatchConfig,
        clock: Clock,
        rng_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._holds = holds
        self._config = config
        self._clock = clock
        self._rng_bytes = rng_bytes
        self._key = int.from_bytes(rng_bytes(8), "big")
        self._asked: dict[tuple[str, str], LookUps] = {}
        self._replaced: dict[tuple[str, str], ReplacedRows] = {}
        holds.on_release(self._released)

    # -- uploads

    async def examine(self, linkage: Linkage, upload: UploadRecord) -> Examination:
        """Looks at an upload as it would be committed now, off the event loop, keeping nobody out."""
        async with self._store.read() as tx:
            state = await self._state(tx, upload)
            staged = await tx.encodings.staged(upload.upload_id)
            live = await tx.encodings.live(linkage.id, upload.epoch, upload.agency)
        former = self._former(linkage, upload).records()
        return await asyncio.to_thread(self._examine, linkage, upload, state, staged, live, former)

    def remember(self, linkage: Linkage, upload: UploadRecord, seen: Examination) -> None:
        """The upload is being committed: what it did away with is remembered for a day."""
        if seen.gone is not None:
            self._former(linkage, upload).add(self._clock().timestamp(), seen.gone)

    def _former(self, linkage: Linkage, upload: UploadRecord) -> ReplacedRows:
        key = (linkage.id, upload.agency)
        known = self._replaced.get(key)
        if known is None or known.epoch != upload.epoch:
            known = self._replaced[key] = ReplacedRows(upload.epoch, self._config.replaced_rows)
        known.forget_old(self._clock().timestamp())
        return known

    async def require_unsuspected(
        self, tx: Transaction, linkage: Linkage, upload: UploadRecord, seen: Examination
    ) -> Hold | None:
        """A hold on the upload, if it is suspect and nobody has released it. The caller refuses with it."""
        reason = self._reason(linkage, seen.found)
        if reason is None or seen.found is None:
            return None
        earlier = await self._holds.find(tx, HoldKind.UPLOAD, linkage.id, upload.agency, seen.digest)
        if any(not item.open for item in earlier):
            return None
        figures = seen.found.figures | {"epoch": upload.epoch, "rows": upload.rows}
        return await self._holds.hold(
            tx, HoldKind.UPLOAD, linkage.id, upload.agency, seen.digest, reason, figures
        )

    async def unchanged(self, tx: Transaction, upload: UploadRecord, seen: Examination) -> bool:
        """Whether what was examined is what would be committed."""
        return await self._state(tx, upload) == seen.state

    async def _state(self, tx: Transaction, upload: UploadRecord) -> tuple[int, int]:
        current = await tx.encodings.upload(upload.upload_id)
        versions = await tx.encodings.versions(upload.linkage, upload.epoch)
        return (current.next_sequence if current else -1, versions.get(upload.agency, 0))

    def _examine(
        self,
        linkage: Linkage,
        upload: UploadRecord,
        state: tuple[int, int],
        staged: tuple[Segment, ...],
        live: tuple[Segment, ...],
        former: tuple[Records, ...],
    ) -> Examination:
        layout, agency = linkage.layout, upload.agency
        incoming = layout.records(staged)
        digest = _digest(incoming, staged)
        if linkage.agreement.subject_type is not SubjectType.PERSON:
            # Neighbouring addresses are alike by nature; a place is asked for by its number, not by variants.
            return Examination(state, digest, None, None)
        held = layout.records(live)
        leaving = np.ones(len(held), np.bool_)
        if upload.mode is UploadMode.DELTA:
            leaving = among(held, handles_of(incoming) | withdrawn_handles(staged))
        brought, before = contents(incoming, self._key), contents(held, self._key)
        gone = as_versions(held[leaving & ~np.isin(before, brought)], self._rng_bytes)
        if not len(incoming):
            return Examination(state, digest, None, gone)
        found = nearness(
            layout.party_rows(agency, incoming),
            layout.party_rows(agency, np.concatenate([incoming, held[~leaving]])),
            closeness(linkage),
            self._config.near_subjects,
            np.random.default_rng(int.from_bytes(self._rng_bytes(16), "big")),
            former=layout.party_rows(agency, np.concatenate([*former, gone])),
            changed=~np.isin(brought, before),
        )
        return Examination(state, digest, found, gone)

    def _reason(self, linkage: Linkage, found: Nearness | None) -> str | None:
        if found is None:
            return None
        if found.crowded:
            return (
                f"{found.crowded} of {found.checked} subjects looked at have {self._config.near_subjects} or "
                f"more near variants within the same agency, now or within a day (the most: {found.most})"
            )
        one_to_one = linkage.agreement.matching.mode is MatchingMode.ONE_TO_ONE
        most = max(_FEWEST_NEAR, found.checked * self._config.near_percent // 100)
        if one_to_one and found.near > most:
            return (
                f"{found.near} of {found.checked} subjects looked at have a near variant within the same "
                f"agency; at most {self._config.near_percent} per cent is usual where nobody is held twice"
            )
        return None

    # -- look-ups

    async def require_look_up(self, linkage: Linkage, epoch: int, agency: str, records: Records) -> None:
        """Remembers a look-up for a day, and refuses it where it is one of many variants of one target.

        Raises:
            RefusedError: PROBING_SUSPECTED, until the hold is released; RATE_LIMITED after a day's number.
        """
        async with self._store.read() as tx:
            earlier = await self._holds.find(tx, HoldKind.LOOK_UPS, linkage.id, agency, "")
        if any(item.open for item in earlier):
            raise suspected(next(item for item in earlier if item.open))
        if linkage.agreement.subject_type is not SubjectType.PERSON:
            return
        asked = self._asked.get((linkage.id, agency))
        if asked is None or asked.epoch != epoch:
            asked = LookUps(epoch, self._config.look_ups_per_day)
            self._asked[linkage.id, agency] = asked
        rows, least = linkage.layout.party_rows(agency, records), closeness(linkage)
        clks = {name: rows.clks[name][rows.present[name]] for name in least}
        others = asked.take(self._clock().timestamp(), clks)
        variants = await asyncio.to_thread(variants_among, clks, others, least)
        if variants + 1 >= self._config.look_up_variants:
            async with self._store.write() as tx:
                held = await self._holds.hold(
                    tx,
                    HoldKind.LOOK_UPS,
                    linkage.id,
                    agency,
                    "",
                    f"one target was looked up in {variants + 1} variants within a day",
                    {"variants": variants + 1, "epoch": epoch},
                )
            raise suspected(held)

    def forget_old(self) -> None:
        """Drops what is remembered of more than a day ago."""
        now = self._clock().timestamp()
        for asked in self._asked.values():
            asked.forget_old(now)
        for replaced in self._replaced.values():
            replaced.forget_old(now)

    def forget(self, linkage_id: str) -> None:
        """Drops what is remembered of a linkage: its key has changed, or it has ended."""
        self._asked = {key: item for key, item in self._asked.items() if key[0] != linkage_id}
        self._replaced = {key: item for key, item in self._replaced.items() if key[0] != linkage_id}

    async def _released(self, hold: Hold) -> None:
        key = (hold.linkage, hold.agency)
        if hold.kind is HoldKind.LOOK_UPS:
            self._asked.pop(key, None)
        elif hold.kind is HoldKind.UPLOAD:
            self._replaced.pop(key, None)


def closeness(linkage: Linkage) -> dict[str, float]:
    """From which Dice coefficient on encodings count as variants, by projection: the probable band.

    Households stay below it, and one or two slips of the pen above.
    """
    bands = linkage.agreement.matching.projections
    return {str(name): float(Decimal(bands[name].probable)) for name in bands}


def suspected(hold: Hold) -> RefusedError:
    """What whoever is held back is told."""
    return RefusedError(
        ErrorCode.PROBING_SUSPECTED,
        f"held as {hold.hold_id}: {hold.reason}. An officer of the federation must release it at the broker",
    )


def _digest(records: Records, staged: tuple[Segment, ...]) -> str:
    """Names the content of an upload, whatever the order and the batches in which it came."""
    rows = np.sort(np.ascontiguousarray(records).view(f"V{records.shape[1]}").ravel())
    withdrawn = sorted(withdrawn_handles(staged))
    return hashlib.sha256(rows.tobytes() + b"|" + b"".join(withdrawn)).hexdigest()

"""One encoded subject against everything held, under the policy checks of any link. None of it is stored.

Memory keeps the encodings of a day's look-ups (`broker.probing`), to notice one target in many variants.
"""

from __future__ import annotations

import asyncio
from collections import deque

from broker.audit import Clock
from broker.catalogue import Catalogue
from broker.epochs import EpochService
from broker.links import LinkService
from broker.matcher import Matcher
from broker.probing import ProbingWatch
from broker.rows import handles_of, repeated_rows
from broker.store.model import Segment, Subject
from broker.store.ports import BrokerStore
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import EncodingBatch, Link, check_batch


class LookUpService:
    """Answers look-ups, so many a minute for each agency: a look-up is a question about a person."""

    def __init__(
        self,
        store: BrokerStore,
        catalogue: Catalogue,
        epochs: EpochService,
        links: LinkService,
        matcher: Matcher,
        probing: ProbingWatch,
        per_minute: int,
        per_day: int,
        clock: Clock,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._epochs = epochs
        self._links = links
        self._matcher = matcher
        self._probing = probing
        self._per_minute = per_minute
        self._per_day = per_day
        self._clock = clock
        self._recent: dict[str, deque[float]] = {}
        self._preparing = asyncio.Lock()

    async def look_up(
        self, agency: str, linkage_id: str, epoch: int, schema_hash: str, rows: EncodingBatch
    ) -> tuple[Link, ...]:
        """The links of one subject that the agency may know of; their tokens live an hour.

        Raises:
            RefusedError: RATE_LIMITED, PROBING_SUSPECTED, and what an upload of the rows would be refused
                with.
        """
        linkage = self._catalogue.linkage_for(linkage_id, agency)
        self._require_rate(agency)
        if schema_hash != linkage.agreement.schema_hash:
            raise RefusedError(ErrorCode.WRONG_SCHEMA, "the rows follow another linkage schema; encode anew")
        check_batch(rows, linkage.layout.shape)
        records = linkage.layout.records([Segment(0, agency, rows.rows, linkage.layout.pack(rows))])
        subjects = handles_of(records)
        if len(subjects) != 1 or rows.withdrawn or repeated_rows(records):
            raise RefusedError(ErrorCode.BATCH_INVALID, "a look-up is about the rows of exactly one subject")
        async with self._store.write() as tx:
            await self._epochs.require_open(tx, linkage, epoch)
        await self._probing.require_look_up(linkage, epoch, agency, records)
        async with self._preparing:
            if not self._matcher.ready(linkage, epoch):
                async with self._store.read() as tx:
                    held = {
                        name: linkage.layout.records(await tx.encodings.live(linkage.id, epoch, name))
                        for name in linkage.agencies
                    }
                await asyncio.to_thread(self._matcher.prepare, linkage, epoch, held)
        hits = await asyncio.to_thread(self._matcher.look_up, linkage, agency, records)
        asker = Subject(agency, next(iter(subjects)))
        others = [(subject, strength) for subject, strength in hits if subject.agency != agency]
        return await self._links.passing_links(linkage, epoch, asker, others)

    def _require_rate(self, agency: str) -> None:
        now = self._clock().timestamp()
        recent = self._recent.setdefault(agency, deque())
        while recent and recent[0] <= now - 24 * 3600:
            recent.popleft()
        for seconds, most, name in ((60, self._per_minute, "a minute"), (24 * 3600, self._per_day, "a day")):
            # The oldest of the last `most` look-ups must be out of the span before another one may come.
            if not most or (len(recent) >= most and recent[-most] > now - seconds):
                raise RefusedError(
                    ErrorCode.RATE_LIMITED, f"at most {most} look-ups {name}; upload in bulk instead"
                )
        recent.append(now)

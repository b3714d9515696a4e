"""How much one agency may send to one linkage: at once, and within a day.

An upload amounts to its rows and to the handles that it withdraws, and to one if it has neither; one that is
not committed amounts to the rows that it announced. So uploads that are begun together do not pass a bound
that each of them keeps. Uploads that are begun and left, of which nothing was ever matched, go rather than
keep a new one out: a node that lost its spool begins anew, and one that was killed resumes the newest.
"""

from __future__ import annotations

from datetime import timedelta

from broker.audit import Clock
from broker.linkages import Linkage
from broker.store.model import UploadRecord
from broker.store.ports import Transaction
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS

_DAY = timedelta(days=1)


class Turnover:
    """Bounds what is sent by the population that the agency declared, or what it holds if that is more."""

    def __init__(self, daily_turnover: int, clock: Clock) -> None:
        self._daily_turnover = daily_turnover
        self._clock = clock

    async def make_room(self, tx: Transaction, linkage: Linkage, upload: UploadRecord) -> None:
        """Ends open uploads that stand in the way of a new one, the one longest untouched first.

        Raises:
            RefusedError: QUOTA_EXCEEDED, by what was committed within the day.
        """
        open_ones = list(await tx.encodings.open_uploads(linkage.id, upload.agency))
        for item in [item for item in open_ones if item.epoch != upload.epoch]:
            open_ones.remove(item)
            await tx.encodings.delete_upload(item.upload_id)
        while open_ones and (
            len(open_ones) >= LIMITS.open_uploads or await self._excess(tx, linkage, upload, open_too=True)
        ):
            await tx.encodings.delete_upload(open_ones.pop(0).upload_id)
        await self.require(tx, linkage, upload)

    async def require(self, tx: Transaction, linkage: Linkage, upload: UploadRecord) -> None:
        """Refuses data sent anew over and over: `daily_turnover` times what the agency may hold, in a day.

        Raises:
            RefusedError: QUOTA_EXCEEDED.
        """
        excess = await self._excess(tx, linkage, upload, open_too=False)
        if excess:
            raise RefusedError(
                ErrorCode.QUOTA_EXCEEDED,
                f"{upload.agency} would have sent {excess} rows and withdrawals too many within a day. Send "
                "what changed only, or tomorrow",
            )

    async def require_bounded(self, tx: Transaction, linkage: Linkage, upload: UploadRecord) -> None:
        """Refuses an upload that withdraws more subjects than the agency can have, or has batches for more.

        Handles that are not held have no effect, and count: a withdrawal that is repeated, or that reaches
        what is left of an earlier epoch, must not fail.

        Raises:
            RefusedError: QUOTA_EXCEEDED, TOO_LARGE.
        """
        most = await self._capacity(tx, linkage, upload)
        # A node's batch may say nothing: the subjects that it is about were never held here.
        if upload.next_sequence > upload.row_count + most + 1:
            raise RefusedError(
                ErrorCode.TOO_LARGE,
                f"{upload.next_sequence} batches for {upload.row_count} rows and {most} subjects",
            )
        if upload.withdrawn > most:
            raise RefusedError(
                ErrorCode.QUOTA_EXCEEDED,
                f"{upload.withdrawn} handles to withdraw; {upload.agency} holds at most {most} subjects",
            )
        await self.require(tx, linkage, upload)

    async def _excess(
        self, tx: Transaction, linkage: Linkage, upload: UploadRecord, *, open_too: bool
    ) -> int:
        since = self._clock() - _DAY
        sent = await tx.encodings.sent_since(
            linkage.id, upload.agency, since, upload.upload_id, open_too=open_too
        )
        capacity = await self._capacity(tx, linkage, upload)
        # Deletion must not wait for tomorrow: uploads that announce no rows have a further share.
        most = capacity * (self._daily_turnover + (upload.row_count == 0))
        # The first upload of a day is bounded by rows for each subject alone.
        return max(0, sent + max(1, upload.row_count + upload.withdrawn) - most) if sent else 0

    async def _capacity(self, tx: Transaction, linkage: Linkage, upload: UploadRecord) -> int:
        held = (await tx.encodings.held(linkage.id, upload.epoch)).get(upload.agency, 0)
        return max(linkage.population(upload.agency), held)

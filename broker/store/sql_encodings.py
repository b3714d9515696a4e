"""Uploads, encodings and matching runs in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Row, and_, case, delete, func, insert, select, true, update

from broker.store.model import RunRecord, Segment, UploadRecord
from broker.store.sql_support import SqlRole, moment, seconds
from broker.store.tables import runs, segments, uploads, versions
from protos.wire.databases import chunks
from protos.wire.linkage import RunState, UploadMode


class SqlEncodings(SqlRole):
    """`EncodingStore`."""

    async def upload(self, upload_id: str) -> UploadRecord | None:
        """See `EncodingStore.upload`."""
        found = await self._c.execute(select(uploads).where(uploads.c.upload_id == upload_id))
        row = found.one_or_none()
        return None if row is None else _upload(row)

    async def put_upload(self, upload: UploadRecord) -> None:
        """See `EncodingStore.put_upload`."""
        await self._upsert(
            uploads,
            [
                {
                    "upload_id": upload.upload_id,
                    "agency": upload.agency,
                    "linkage": upload.linkage,
                    "epoch": upload.epoch,
                    "mode": upload.mode.value,
                    "row_count": upload.row_count,
                    "touched": seconds(upload.touched),
                    "next_sequence": upload.next_sequence,
                    "rows": upload.rows,
                    "committed": upload.committed,
                    "rows_held": upload.rows_held,
                    "withdrawn": upload.withdrawn,
                }
            ],
        )

    async def delete_upload(self, upload_id: str) -> None:
        """See `EncodingStore.delete_upload`."""
        await self._c.execute(delete(segments).where(_staged(upload_id)))
        await self._c.execute(delete(uploads).where(uploads.c.upload_id == upload_id))

    async def stale_uploads(self, before: datetime) -> tuple[UploadRecord, ...]:
        """See `EncodingStore.stale_uploads`."""
        rows = await self._c.execute(select(uploads).where(uploads.c.touched < seconds(before)))
        return tuple(_upload(row) for row in rows)

    async def open_uploads(self, linkage: str, agency: str) -> tuple[UploadRecord, ...]:
        """See `EncodingStore.open_uploads`."""
        mine = and_(uploads.c.linkage == linkage, uploads.c.agency == agency, uploads.c.committed.is_(False))
        rows = await self._c.execute(
            select(uploads).where(mine).order_by(uploads.c.touched, uploads.c.upload_id)
        )
        return tuple(_upload(row) for row in rows)

    async def sent_since(
        self, linkage: str, agency: str, since: datetime, besides: str, *, open_too: bool
    ) -> int:
        """See `EncodingStore.sent_since`."""
        rows = case((uploads.c.committed, uploads.c.rows), else_=uploads.c.row_count)
        amount = rows + uploads.c.withdrawn
        total = await self._c.scalar(
            select(func.coalesce(func.sum(case((amount < 1, 1), else_=amount)), 0)).where(
                uploads.c.linkage == linkage,
                uploads.c.agency == agency,
                uploads.c.touched > seconds(since),
                uploads.c.upload_id != besides,
                uploads.c.committed if not open_too else true(),
            )
        )
        return int(total or 0)

    async def stage(self, upload: UploadRecord, sequence: int, digest: str, segment: Segment) -> None:
        """See `EncodingStore.stage`."""
        await self._c.execute(
            insert(segments).values(
                linkage=upload.linkage,
                epoch=upload.epoch,
                agency=upload.agency,
                upload_id=upload.upload_id,
                sequence=sequence,
                digest=digest,
                live=False,
                rows=segment.rows,
                body=segment.body,
                withdrawn=segment.withdrawn,
            )
        )

    async def staged_digest(self, upload_id: str, sequence: int) -> str | None:
        """See `EncodingStore.staged_digest`."""
        digest: str | None = await self._c.scalar(
            select(segments.c.digest).where(_staged(upload_id), segments.c.sequence == sequence)
        )
        return digest

    async def staged(self, upload_id: str) -> tuple[Segment, ...]:
        """See `EncodingStore.staged`."""
        return await self._segments(_staged(upload_id), segments.c.sequence)

    async def staged_of(self, linkage: str, agency: str) -> tuple[Segment, ...]:
        """See `EncodingStore.staged_of`."""
        mine = and_(segments.c.linkage == linkage, segments.c.agency == agency, segments.c.live.is_(False))
        return await self._segments(mine, segments.c.id)

    async def promote(self, upload_id: str) -> None:
        """See `EncodingStore.promote`."""
        await self._c.execute(delete(segments).where(_staged(upload_id), segments.c.rows == 0))
        await self._c.execute(update(segments).where(_staged(upload_id)).values(live=True, withdrawn=b""))

    async def live(self, linkage: str, epoch: int, agency: str) -> tuple[Segment, ...]:
        """See `EncodingStore.live`."""
        return await self._segments(_live(linkage, epoch, agency), segments.c.id)

    async def live_of(
        self, linkage: str, epoch: int, agency: str, brought_by: Collection[str]
    ) -> tuple[Segment, ...]:
        """See `EncodingStore.live_of`."""
        found: list[Segment] = []
        for part in chunks(brought_by):
            these = and_(_live(linkage, epoch, agency), segments.c.upload_id.in_(part))
            found += await self._segments(these, segments.c.id)
        return tuple(sorted(found, key=lambda item: item.id))

    async def live_elsewhere(self, linkage: str, epoch: int, agency: str) -> tuple[Segment, ...]:
        """See `EncodingStore.live_elsewhere`."""
        elsewhere = and_(
            segments.c.linkage == linkage,
            segments.c.epoch != epoch,
            segments.c.agency == agency,
            segments.c.live.is_(True),
        )
        return await self._segments(elsewhere, segments.c.id)

    async def replace_segment(self, segment: Segment) -> None:
        """See `EncodingStore.replace_segment`."""
        this = segments.c.id == segment.id
        if not segment.rows:
            await self._c.execute(delete(segments).where(this, segments.c.live.is_(True)))
        await self._c.execute(
            update(segments)
            .where(this)
            .values(rows=segment.rows, body=segment.body, withdrawn=segment.withdrawn)
        )

    async def drop_live(self, linkage: str, epoch: int, agency: str) -> None:
        """See `EncodingStore.drop_live`."""
        await self._c.execute(delete(segments).where(_live(linkage, epoch, agency)))

    async def drop_before(self, linkage: str, epoch: int) -> int:
        """See `EncodingStore.drop_before`."""
        old = and_(segments.c.linkage == linkage, segments.c.epoch < epoch)
        rows = await self._c.scalar(select(func.coalesce(func.sum(segments.c.rows), 0)).where(old))
        await self._c.execute(delete(segments).where(old))
        await self._c.execute(delete(uploads).where(uploads.c.linkage == linkage, uploads.c.epoch < epoch))
        await self._c.execute(delete(versions).where(versions.c.linkage == linkage, versions.c.epoch < epoch))
        return int(rows or 0)

    async def agencies(self, linkage: str) -> tuple[str, ...]:
        """See `EncodingStore.agencies`."""
        found = select(segments.c.agency).where(segments.c.linkage == linkage).distinct()
        return tuple(sorted(await self._c.scalars(found)))

    async def drop_agency(self, linkage: str, agency: str) -> None:
        """See `EncodingStore.drop_agency`."""
        for table in (segments, uploads, versions):
            await self._c.execute(delete(table).where(table.c.linkage == linkage, table.c.agency == agency))

    async def linkages(self) -> tuple[str, ...]:
        """See `EncodingStore.linkages`."""
        return tuple(sorted(await self._c.scalars(select(segments.c.linkage).distinct())))

    async def held(self, linkage: str, epoch: int) -> Mapping[str, int]:
        """See `EncodingStore.held`."""
        rows = await self._c.execute(
            select(segments.c.agency, func.sum(segments.c.rows).label("held"))
            .where(segments.c.linkage == linkage, segments.c.epoch == epoch, segments.c.live.is_(True))
            .group_by(segments.c.agency)
        )
        held = {row.agency: int(row.held) for row in rows}
        return {agency: held.get(agency, 0) for agency in await self.versions(linkage, epoch)}

    async def versions(self, linkage: str, epoch: int) -> Mapping[str, int]:
        """See `EncodingStore.versions`."""
        rows = await self._c.execute(
            select(versions.c.agency, versions.c.version)
            .where(versions.c.linkage == linkage, versions.c.epoch == epoch)
            .order_by(versions.c.agency)
        )
        return {row.agency: row.version for row in rows}

    async def bump(self, linkage: str, epoch: int, agency: str) -> None:
        """See `EncodingStore.bump`."""
        now = (await self.versions(linkage, epoch)).get(agency, 0)
        await self._upsert(
            versions, [{"linkage": linkage, "epoch": epoch, "agency": agency, "version": now + 1}]
        )

    async def _segments(self, which: ColumnElement[bool], order: ColumnElement[int]) -> tuple[Segment, ...]:
        columns = (
            segments.c.id,
            segments.c.agency,
            segments.c.rows,
            segments.c.body,
            segments.c.withdrawn,
        )
        rows = await self._c.execute(select(*columns).where(which).order_by(order))
        return tuple(Segment(*row) for row in rows)


class SqlRuns(SqlRole):
    """`RunStore`."""

    async def get(self, run_id: str) -> RunRecord | None:
        """See `RunStore.get`."""
        row = (await self._c.execute(select(runs).where(runs.c.run_id == run_id))).one_or_none()
        return None if row is None else _run(row)

    async def put(self, run: RunRecord) -> None:
        """See `RunStore.put`."""
        values = {
            "linkage": run.linkage,
            "epoch": run.epoch,
            "data": run.data,
            "state": run.state.value,
            "created": seconds(run.created),
            "stage": run.stage,
            "done": run.done,
            "total": run.total,
            "message": run.message,
        }
        changed = await self._c.execute(update(runs).where(runs.c.run_id == run.run_id).values(values))
        if not changed.rowcount:
            await self._c.execute(insert(runs).values(run_id=run.run_id, **values))

    async def latest(self, linkage: str) -> RunRecord | None:
        """See `RunStore.latest`."""
        newest = select(runs).where(runs.c.linkage == linkage).order_by(runs.c.id.desc()).limit(1)
        row = (await self._c.execute(newest)).one_or_none()
        return None if row is None else _run(row)

    async def unfinished(self) -> tuple[RunRecord, ...]:
        """See `RunStore.unfinished`."""
        open_states = (RunState.QUEUED.value, RunState.RUNNING.value)
        rows = await self._c.execute(select(runs).where(runs.c.state.in_(open_states)).order_by(runs.c.id))
        return tuple(_run(row) for row in rows)


def _staged(upload_id: str) -> ColumnElement[bool]:
    return and_(segments.c.upload_id == upload_id, segments.c.live.is_(False))


def _live(linkage: str, epoch: int, agency: str) -> ColumnElement[bool]:
    return and_(
        segments.c.linkage == linkage,
        segments.c.epoch == epoch,
        segments.c.agency == agency,
        segments.c.live.is_(True),
    )


def _upload(row: Row[tuple[object, ...]]) -> UploadRecord:
    return UploadRecord(
        upload_id=row.upload_id,
        agency=row.agency,
        linkage=row.linkage,
        epoch=row.epoch,
        mode=UploadMode(row.mode),
        row_count=row.row_count,
        touched=moment(row.touched),
        next_sequence=row.next_sequence,
        rows=row.rows,
        withdrawn=row.withdrawn,
        committed=row.committed,
        rows_held=row.rows_held,
    )


def _run(row: Row[tuple[object, ...]]) -> RunRecord:
    return RunRecord(
        run_id=row.run_id,
        linkage=row.linkage,
        epoch=row.epoch,
        data=row.data,
        state=RunState(row.state),
        created=moment(row.created),
        stage=row.stage,
        done=row.done,
        total=row.total,
        message=row.message,
    )

"""What every database under a node must do; run on SQLite in a file and in memory, and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agency_node.model import CarriedRelease, EpochKey, KeyState, KnownLink, OutboxItem, PeerLog, Upload
from agency_node.store.store import NodeStore
from agency_node.subjects import SubjectId
from policies.ids import AgencyId, LinkageId
from protos.wire.documents import DocumentBundle, DocumentKind
from protos.wire.linkage import Strength, UploadMode
from protos.wire.relay import ToAgency, ToLink

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
LINKAGE, OTHER = LinkageId("adults"), LinkageId("places")
POLICE, CARE = AgencyId("police"), AgencyId("care")


def handle(number: int) -> bytes:
    return bytes([number]) + bytes(15)


class NodeStoreConformance:
    """Subclasses give a `store` fixture: a migrated, empty store."""

    async def test_an_exception_undoes_everything(self, store: NodeStore) -> None:
        with pytest.raises(ZeroDivisionError):
            async with store.transaction() as tx:
                await tx.trust.add_root(1, b"root")
                await tx.inbox.note(POLICE, "m1", NOW)
                raise ZeroDivisionError
        async with store.transaction() as tx:
            assert await tx.trust.roots() == ()
            assert not await tx.inbox.seen(POLICE, "m1")

    async def test_trust_keeps_all_roots_and_registries(self, store: NodeStore) -> None:
        async with store.transaction() as tx:
            for version in (2, 1, 3):
                await tx.trust.add_root(version, bytes([version]))
            assert await tx.trust.registry() is None
            for root, envelope in ((1, b"\x09"), (2, None), (3, b"\x02")):
                await tx.trust.add_registry(root, envelope)
        async with store.transaction() as tx:
            assert await tx.trust.roots() == (b"\x01", b"\x02", b"\x03")
            assert await tx.trust.registry() == b"\x02"
            kept = [(item.root_version, item.envelope) for item in await tx.trust.registries()]
            assert kept == [(1, b"\x09"), (2, None), (3, b"\x02")]

    async def test_documents_with_their_parts_in_order(self, store: NodeStore) -> None:
        first = DocumentBundle(DocumentKind.SHARING_POLICY, b"doc", (b"s2", b"s1"), (b"e",))
        second = DocumentBundle(DocumentKind.LINKAGE_AGREEMENT, b"agreement", ())
        async with store.transaction() as tx:
            await tx.documents.put("aa", replace(first, events=()), NOW)
            await tx.documents.put("aa", first, NOW)
            await tx.documents.put("bb", second, NOW + timedelta(seconds=1))
        async with store.transaction() as tx:
            assert await tx.documents.get("aa") == first
            assert await tx.documents.get("cc") is None
            assert await tx.documents.hashes() == ("aa", "bb")
            assert await tx.documents.hashes(DocumentKind.LINKAGE_AGREEMENT) == ("bb",)
            assert await tx.documents.status(CARE) is None
            await tx.documents.put_status(CARE, 2**40, b"status")
            assert await tx.documents.status(CARE) == (2**40, b"status")

    async def test_epochs(self, store: NodeStore) -> None:
        keys = [
            EpochKey(LINKAGE, number, KeyState.OPEN, "ab" * 32, bytes([number]), NOW) for number in (1, 2, 3)
        ]
        async with store.transaction() as tx:
            for key in keys:
                await tx.epochs.put(replace(key, state=KeyState.COMMITTING))
                await tx.epochs.put(key)
            await tx.epochs.forget_before(LINKAGE, 2)
        async with store.transaction() as tx:
            assert await tx.epochs.get(LINKAGE, 1) is None
            assert await tx.epochs.get(LINKAGE, 2) == keys[1]
            assert await tx.epochs.newest(LINKAGE) == keys[2]
            assert await tx.epochs.newest(OTHER) is None
            await tx.epochs.put(keys[1])
            await tx.epochs.forget_before(LINKAGE, 9)
        async with store.transaction() as tx:
            assert await tx.epochs.newest(LINKAGE) is None
            assert await tx.epochs.highest(LINKAGE) == 3
            assert await tx.epochs.highest(OTHER) == 0

    async def test_peer_logs(self, store: NodeStore) -> None:
        async with store.transaction() as tx:
            assert await tx.peer_logs.get(CARE) is None
            await tx.peer_logs.put(PeerLog(POLICE, NOW))
            await tx.peer_logs.put(PeerLog(CARE, NOW))
            await tx.peer_logs.put(PeerLog(CARE, NOW + timedelta(days=1), 2))
        async with store.transaction() as tx:
            assert await tx.peer_logs.get(CARE) == PeerLog(CARE, NOW + timedelta(days=1), 2)
            assert await tx.peer_logs.get(POLICE) == PeerLog(POLICE, NOW)

    async def test_handles_by_subject_handle_and_range(self, store: NodeStore) -> None:
        a, b, decoy = SubjectId("a"), SubjectId("b"), SubjectId("tallystick:decoy:0")
        async with store.transaction() as tx:
            await tx.handles.add(LINKAGE, {a: handle(1), b: handle(200)})
            await tx.handles.add(LINKAGE, {decoy: handle(2)}, decoys=True)
            await tx.handles.add(OTHER, {a: handle(9)})
            assert not await tx.handles.any_uploaded(LINKAGE, 1)
            await tx.handles.mark_uploaded(LINKAGE, 1, {handle(1): b"d" * 32, handle(2): b"e" * 32})
        async with store.transaction() as tx:
            found = await tx.handles.of_subjects(LINKAGE, [a, b, SubjectId("nobody")])
            assert {item: entry.handle for item, entry in found.items()} == {a: handle(1), b: handle(200)}
            assert found[a].digest == b"d" * 32
            assert await tx.handles.any_uploaded(LINKAGE, 1)
            assert not await tx.handles.any_uploaded(LINKAGE, 2)
            assert await tx.handles.count(LINKAGE) == 1  # the decoy does not count, nor what is not uploaded
            assert await tx.handles.subject_of(LINKAGE, handle(1)) == a
            assert await tx.handles.subject_of(LINKAGE, handle(2)) is None
            assert await tx.handles.is_decoy(LINKAGE, handle(2))
            assert await tx.handles.of_subject(a) == ((LINKAGE, handle(1)), (OTHER, handle(9)))
            assert set(await tx.handles.in_range(LINKAGE, handle(0), handle(4))) == {handle(1), handle(2)}
            assert set(await tx.handles.in_range(LINKAGE, handle(4), None)) == {handle(200)}
            await tx.handles.forget(LINKAGE, [handle(1)])
            assert await tx.handles.subject_of(LINKAGE, handle(1)) is None
            assert await tx.handles.subject_of(OTHER, handle(9)) == a

    async def test_uploads(self, store: NodeStore) -> None:
        upload = Upload("u1", LINKAGE, 1, "ab" * 32, UploadMode.FULL, 0, 0, sealed=False)
        async with store.transaction() as tx:
            await tx.uploads.begin(upload)
            await tx.uploads.add_batch("u1", 0, b"batch", b"digests")
            await tx.uploads.seal("u1", 7, 1)
        async with store.transaction() as tx:
            held = await tx.uploads.current(LINKAGE)
            assert held == replace(upload, row_count=7, batch_count=1, sealed=True)
            assert await tx.uploads.batch("u1", 0) == b"batch"
            assert await tx.uploads.digests("u1", 0) == b"digests"
            assert await tx.uploads.batch("u1", 1) is None
            await tx.uploads.forget("u1")
            assert await tx.uploads.current(LINKAGE) is None
            assert await tx.uploads.batch("u1", 0) is None

    async def test_links(self, store: NodeStore) -> None:
        link = KnownLink(b"t" * 16, handle(1), LINKAGE, 1, CARE, Strength.STRONG, "ab" * 32, NOW)
        hidden = replace(link, token=b"u" * 16, counterpart=None)
        async with store.transaction() as tx:
            await tx.links.put([replace(link, strength=Strength.POSSIBLE)])
            await tx.links.put([link])
            await tx.links.put([hidden])
            assert await tx.links.cursor(LINKAGE) == 0
            await tx.links.set_cursor(LINKAGE, 2**40)
        async with store.transaction() as tx:
            assert await tx.links.by_token(link.token) == link
            assert await tx.links.of_handle(LINKAGE, handle(1)) == (link, hidden)
            assert await tx.links.all() == (link, hidden)
            assert await tx.links.all(OTHER) == ()
            assert await tx.links.recall([link.token, b"unknown" + bytes(9)]) == {link.token}
            assert await tx.links.recall([link.token]) == frozenset()
            assert await tx.links.count(LINKAGE) == 1
            assert await tx.links.cursor(LINKAGE) == 2**40

    async def test_a_message_knows_which_release_it_carries(self, store: NodeStore) -> None:
        carried = CarriedRelease("a" * 64, NOW - timedelta(minutes=1), "c" * 64)
        item = OutboxItem("1" * 32, ToAgency(CARE), "disclosure-answer", b"sealed", NOW, release=carried)
        async with store.transaction() as tx:
            await tx.outbox.add(item)
        async with store.transaction() as tx:
            assert await tx.outbox.due(NOW) == (item,)

    async def test_outbox_and_inbox(self, store: NodeStore) -> None:
        first = OutboxItem("1" * 32, ToAgency(CARE), "link-recall", b"sealed", NOW)
        second = OutboxItem("2" * 32, ToLink(b"t" * 16), "disclosure-request", b"sealed", NOW)
        async with store.transaction() as tx:
            await tx.outbox.add(first)
            await tx.outbox.add(second)
        async with store.transaction() as tx:
            assert await tx.outbox.due(NOW) == (first, second)
            await tx.outbox.postpone(first.message_id, NOW + timedelta(seconds=5))
            assert await tx.outbox.due(NOW) == (second,)
            assert await tx.outbox.due(NOW + timedelta(seconds=5)) == (replace(first, attempts=1), second)
            await tx.outbox.sent(second.message_id)
            assert await tx.outbox.count() == 1
            await tx.inbox.note(POLICE, "m", NOW)
            assert await tx.inbox.seen(POLICE, "m")
            assert not await tx.inbox.seen(CARE, "m")
            await tx.inbox.forget_before(NOW + timedelta(seconds=1))
            assert not await tx.inbox.seen(POLICE, "m")

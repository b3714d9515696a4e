"""What every `BrokerStore` must do, whatever it is made of. Subclasses give the fixture `store`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.store.model import (
    Confirmation,
    Envelope,
    EpochRecord,
    LogNode,
    MailboxLoad,
    MatchedPair,
    NewEvent,
    RunRecord,
    Segment,
    StoredDocument,
    StoredStatus,
    Subject,
    TokenRecord,
    UploadRecord,
)
from broker.store.ports import BrokerStore
from protos.wire.documents import DocumentKind
from protos.wire.linkage import EpochState, LinkEventKind, RunState, Strength, UploadMode
from protos.wire.relay import IncomingMessage, LinkReference

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def document(name: str, kind: DocumentKind, version: int, *parties: str) -> StoredDocument:
    return StoredDocument(
        f"{name}{version}".ljust(64, "0"), kind, name, version, parties, b"doc", (b"s1", b"s2")
    )


def upload(name: str = "u" * 16, agency: str = "police", epoch: int = 1) -> UploadRecord:
    return UploadRecord(name, agency, "line", epoch, UploadMode.FULL, 10, NOW)


def segment(agency: str, rows: int, fill: int, withdrawn: bytes = b"") -> Segment:
    return Segment(0, agency, rows, bytes([fill]) * rows, withdrawn)


def token(number: int, *, expires: datetime = LATER, passing: bool = False) -> TokenRecord:
    return TokenRecord(
        token=bytes([number]) * 16,
        linkage="line",
        policy_hash="p" * 64,
        recipient=Subject("police", bytes([number]) * 16),
        counterpart=Subject("care", bytes([255 - number]) * 16),
        epoch=1,
        strength=Strength.STRONG,
        expires=expires,
        told_until=expires - timedelta(minutes=1),
        named=True,
        passing=passing,
    )


def envelope(number: int, recipient: str, *, expires: datetime = LATER, sealed: bytes = b"x") -> Envelope:
    link = LinkReference(b"h" * 16, "line", 1, Strength.PROBABLE) if number % 2 else None
    message = IncomingMessage(f"{number:032x}", "nhs", "test", sealed, link)
    return Envelope(recipient, message, f"digest{number}", expires)


class BrokerStoreSuite:
    """One behaviour a method."""

    async def test_a_write_is_whole_or_nothing(self, store: BrokerStore) -> None:
        with pytest.raises(RuntimeError):
            async with store.write() as tx:
                await tx.trust.add_root(1, b"root")
                raise RuntimeError
        async with store.write() as tx:
            assert await tx.trust.roots() == ()
            await tx.trust.add_root(1, b"root")
        async with store.read() as tx:
            assert await tx.trust.roots() == ((1, b"root"),)

    async def test_trust(self, store: BrokerStore) -> None:
        async with store.write() as tx:
            assert await tx.trust.registry() is None
            for version in (2, 1):
                await tx.trust.add_root(version, b"root %d" % version)
            await tx.trust.put_registry(7, b"seven")
            await tx.trust.put_registry(8, b"eight")
        async with store.read() as tx:
            assert await tx.trust.roots() == ((1, b"root 1"), (2, b"root 2"))
            assert await tx.trust.registry() == (8, b"eight")

    async def test_documents(self, store: BrokerStore) -> None:
        agreement = document("line", DocumentKind.LINKAGE_AGREEMENT, 1, "police", "care")
        second = document("policy", DocumentKind.SHARING_POLICY, 2, "police", "nhs")
        first = document("policy", DocumentKind.SHARING_POLICY, 1, "police", "nhs")
        async with store.write() as tx:
            for item in (second, first, agreement):
                await tx.documents.add(item)
            for event in (b"e1", b"e2"):
                await tx.documents.add_event(second.hash, event)
        async with store.read() as tx:
            assert await tx.documents.get("f" * 64) is None
            assert await tx.documents.get(second.hash) == replace(second, events=(b"e1", b"e2"))
            assert [item.hash for item in await tx.documents.listed()] == [
                agreement.hash,
                first.hash,
                second.hash,
            ]
            assert await tx.documents.listed(party="care") == (agreement,)
            assert await tx.documents.listed(kind=DocumentKind.SHARING_POLICY, party="care") == ()
            versions = await tx.documents.listed(kind=DocumentKind.SHARING_POLICY, subject="policy")
            assert [item.version for item in versions] == [1, 2]

    async def test_statuses(self, store: BrokerStore) -> None:
        policy = document("policy", DocumentKind.SHARING_POLICY, 1, "police", "nhs")
        async with store.write() as tx:
            await tx.documents.add(policy)
            for provider, version in (("nhs", 1), ("care", 4), ("nhs", 2)):
                await tx.documents.put_status(StoredStatus(policy.hash, provider, version, b"%d" % version))
        async with store.read() as tx:
            assert await tx.documents.statuses(policy.hash) == (
                StoredStatus(policy.hash, "care", 4, b"4"),
                StoredStatus(policy.hash, "nhs", 2, b"2"),
            )

    async def test_epochs(self, store: BrokerStore) -> None:
        first = EpochRecord("line", 1, EpochState.KEYING, "a" * 64, "b" * 64, NOW)
        second = replace(first, epoch=2)
        said = Confirmation("police", b"t" * 32, b"c" * 32)
        async with store.write() as tx:
            assert await tx.epochs.current("line") is None
            await tx.epochs.put(first)
            await tx.epochs.put(second)
            await tx.epochs.put(replace(second, state=EpochState.OPEN))
            await tx.epochs.add_confirmation("line", 2, said)
            await tx.epochs.add_confirmation("line", 2, replace(said, agency="care"))
        async with store.read() as tx:
            assert await tx.epochs.current("line") == replace(second, state=EpochState.OPEN)
            assert await tx.epochs.confirmations("line", 1) == ()
            found = await tx.epochs.confirmations("line", 2)
            assert found == (replace(said, agency="care"), said)

    async def test_uploads_are_staged_then_live(self, store: BrokerStore) -> None:
        begun = upload()
        async with store.write() as tx:
            assert await tx.encodings.upload(begun.upload_id) is None
            await tx.encodings.put_upload(begun)
            await tx.encodings.stage(begun, 1, "two", segment("police", 3, 2))
            await tx.encodings.stage(begun, 0, "one", segment("police", 2, 1))
            await tx.encodings.stage(begun, 2, "three", segment("police", 0, 0, b"w" * 16))
            await tx.encodings.put_upload(replace(begun, next_sequence=3, rows=5))
        async with store.write() as tx:
            assert await tx.encodings.upload(begun.upload_id) == replace(begun, next_sequence=3, rows=5)
            assert await tx.encodings.staged_digest(begun.upload_id, 1) == "two"
            assert await tx.encodings.staged_digest(begun.upload_id, 9) is None
            staged = await tx.encodings.staged(begun.upload_id)
            assert [item.body for item in staged] == [b"\1" * 2, b"\2" * 3, b""]
            assert staged[2].withdrawn == b"w" * 16
            assert await tx.encodings.live("line", 1, "police") == ()
            assert await tx.encodings.held("line", 1) == {}
            await tx.encodings.promote(begun.upload_id)
            await tx.encodings.bump("line", 1, "police")
        async with store.read() as tx:
            live = await tx.encodings.live("line", 1, "police")
            assert sorted(item.rows for item in live) == [2, 3]
            assert all(item.withdrawn == b"" for item in live)
            assert await tx.encodings.staged(begun.upload_id) == ()
            assert await tx.encodings.held("line", 1) == {"police": 5}
            assert await tx.encodings.versions("line", 1) == {"police": 1}

    async def test_segments_are_replaced_and_dropped(self, store: BrokerStore) -> None:
        begun, other = upload(), upload("v" * 16, epoch=2)
        async with store.write() as tx:
            for item in (begun, other):
                await tx.encodings.put_upload(item)
                await tx.encodings.stage(item, 0, "d", segment("police", 4, item.epoch))
            await tx.encodings.promote(begun.upload_id)
            assert len(await tx.encodings.staged_of("line", "police")) == 1
            assert await tx.encodings.linkages() == ("line",)
            await tx.encodings.promote(other.upload_id)
            await tx.encodings.bump("line", 1, "police")
            await tx.encodings.bump("line", 1, "police")
        async with store.write() as tx:
            (first,) = await tx.encodings.live("line", 1, "police")
            assert await tx.encodings.live_elsewhere("line", 2, "police") == (first,)
            await tx.encodings.replace_segment(replace(first, rows=1, body=b"k"))
            assert (await tx.encodings.live("line", 1, "police"))[0].body == b"k"
            assert await tx.encodings.versions("line", 1) == {"police": 2}
            assert await tx.encodings.drop_before("line", 2) == 1
            assert await tx.encodings.live("line", 1, "police") == ()
            assert await tx.encodings.upload(begun.upload_id) is None
            assert await tx.encodings.versions("line", 1) == {}
            (second,) = await tx.encodings.live("line", 2, "police")
            await tx.encodings.replace_segment(replace(second, rows=0, body=b""))
            assert await tx.encodings.live("line", 2, "police") == ()
            assert await tx.encodings.linkages() == ()

    async def test_full_uploads_drop_what_was_live(self, store: BrokerStore) -> None:
        begun = upload()
        async with store.write() as tx:
            await tx.encodings.put_upload(begun)
            await tx.encodings.stage(begun, 0, "d", segment("police", 4, 1))
            await tx.encodings.promote(begun.upload_id)
            await tx.encodings.drop_live("line", 1, "care")
            assert len(await tx.encodings.live("line", 1, "police")) == 1
            await tx.encodings.drop_live("line", 1, "police")
            assert await tx.encodings.live("line", 1, "police") == ()

    async def test_live_segments_of_uploads(self, store: BrokerStore) -> None:
        names = [letter * 16 for letter in "uvw"]
        async with store.write() as tx:
            for fill, name in enumerate(names, 1):
                await tx.encodings.put_upload(upload(name))
                for sequence in range(2):
                    await tx.encodings.stage(upload(name), sequence, "d", segment("police", 2, fill))
            for name in names[:2]:
                await tx.encodings.promote(name)
        async with store.read() as tx:
            live = await tx.encodings.live("line", 1, "police")
            assert await tx.encodings.live_of("line", 1, "police", []) == ()
            assert await tx.encodings.live_of("line", 1, "police", [names[1], names[2]]) == live[2:]
            assert await tx.encodings.live_of("line", 1, "police", set(names)) == live
            assert await tx.encodings.live_of("line", 1, "care", set(names)) == ()

    async def test_stale_uploads(self, store: BrokerStore) -> None:
        begun = upload()
        async with store.write() as tx:
            await tx.encodings.put_upload(begun)
            await tx.encodings.stage(begun, 0, "d", segment("police", 4, 1))
            assert await tx.encodings.stale_uploads(NOW) == ()
            assert await tx.encodings.stale_uploads(LATER) == (begun,)
            await tx.encodings.delete_upload(begun.upload_id)
            assert await tx.encodings.staged_of("line", "police") == ()
            assert await tx.encodings.upload(begun.upload_id) is None

    async def test_runs(self, store: BrokerStore) -> None:
        first = RunRecord("r1", "line", 1, "data", RunState.RUNNING, NOW)
        second = replace(first, run_id="r2", state=RunState.QUEUED)
        async with store.write() as tx:
            for run in (first, second, replace(first, run_id="r3", linkage="other", state=RunState.DONE)):
                await tx.runs.put(run)
        async with store.write() as tx:
            assert await tx.runs.get("none") is None
            assert await tx.runs.latest("line") == second
            assert await tx.runs.unfinished() == (first, second)
            done = replace(first, state=RunState.DONE, done=5, total=5, message="m", stage="done")
            await tx.runs.put(done)
            assert await tx.runs.get("r1") == done
            assert await tx.runs.unfinished() == (second,)
            assert await tx.runs.latest("line") == second

    async def test_pairs(self, store: BrokerStore) -> None:
        pairs = [
            MatchedPair(Subject("care", bytes([n]) * 16), Subject("police", b"p" * 16), Strength.POSSIBLE)
            for n in range(3)
        ]
        async with store.write() as tx:
            await tx.links.put_pairs("line", reversed(pairs))
            await tx.links.put_pairs("line", [])
        async with store.write() as tx:
            assert await tx.links.pairs("line") == tuple(pairs)
            assert await tx.links.pairs("other") == ()
            stronger = replace(pairs[1], strength=Strength.STRONG)
            await tx.links.put_pairs("line", [stronger])
            await tx.links.remove_pairs("line", [pairs[0]])
            assert await tx.links.pairs("line") == (stronger, pairs[2])
            assert await tx.links.linkages() == ("line",)

    async def test_pairs_of_subjects(self, store: BrokerStore) -> None:
        def subject(agency: str, number: int) -> Subject:
            return Subject(agency, number.to_bytes(16, "big"))

        pairs = [
            MatchedPair(subject("care", n), subject(other, n), Strength.STRONG)
            for n in range(700)
            for other in ("nhs", "police")
        ]
        ours, elsewhere = pairs[:-2], pairs[-2:]
        async with store.write() as tx:
            await tx.links.put_pairs("line", ours)
            await tx.links.put_pairs("other", elsewhere)
        async with store.write() as tx:
            assert await tx.links.pairs_of("line", []) == ()
            assert await tx.links.has_pairs("line", "care")
            assert await tx.links.has_pairs("line", "police")
            assert not await tx.links.has_pairs("line", "refuge")
            assert not await tx.links.has_pairs("nowhere", "care")
            asked = {subject("care", 1), subject("police", 2), subject("nhs", 1), subject("police", 699)}
            assert await tx.links.pairs_of("line", asked) == (pairs[2], pairs[3], pairs[5])
            assert await tx.links.pairs_of("line", {pair.first for pair in pairs}) == tuple(ours)
            assert await tx.links.pairs_of("line", {pair.second for pair in pairs}) == tuple(ours)
            await tx.links.remove_pairs("line", [*pairs[2:], pairs[-1]])
            assert await tx.links.pairs("line") == tuple(pairs[:2])
            assert await tx.links.pairs("other") == tuple(elsewhere)

    async def test_tokens_of_subjects(self, store: BrokerStore) -> None:
        kept = [token(number) for number in range(4)]
        elsewhere = replace(token(9), recipient=token(1).recipient, linkage="other")
        async with store.write() as tx:
            await tx.links.put_tokens([*kept, elsewhere, replace(token(8, passing=True), linkage="line")])
        async with store.read() as tx:
            assert await tx.links.tokens_of("line", []) == ()
            assert await tx.links.tokens_of("line", [token(1).recipient]) == (kept[1],)
            both = {token(2).recipient, token(2).counterpart, token(0).counterpart, token(8).recipient}
            assert await tx.links.tokens_of("line", both) == (kept[0], kept[2])

    async def test_tokens(self, store: BrokerStore) -> None:
        async with store.write() as tx:
            await tx.links.put_tokens([token(2), token(1), token(3, passing=True)])
        async with store.write() as tx:
            assert await tx.links.tokens("line") == (token(1), token(2))
            assert await tx.links.token(token(3).token) == token(3, passing=True)
            await tx.links.purge(NOW)
            assert await tx.links.token(token(3).token) is not None
            await tx.links.purge(LATER)
            assert await tx.links.token(token(3).token) is None
            await tx.links.delete_tokens([token(1).token])
            assert await tx.links.tokens("line") == (token(2),)
            weaker = replace(token(2), strength=Strength.POSSIBLE, named=False)
            await tx.links.put_tokens([weaker])
            assert await tx.links.tokens("line") == (weaker,)

    async def test_event_logs_count_for_each_recipient(self, store: BrokerStore) -> None:
        links = [token(n).link() for n in range(4)]
        async with store.write() as tx:
            await tx.links.tell("line", [])
            await tx.links.tell(
                "line",
                [
                    NewEvent("police", LinkEventKind.TOLD, links[0]),
                    NewEvent("care", LinkEventKind.TOLD, links[1]),
                    NewEvent("police", LinkEventKind.TOLD, links[2]),
                ],
            )
        async with store.write() as tx:
            assert [item.cursor for item in await tx.links.events("line", "police", 0, 9)] == [1, 2]
            (care,) = await tx.links.events("line", "care", 0, 9)
            assert (care.cursor, care.kind, care.link) == (1, LinkEventKind.TOLD, links[1])
            await tx.links.tell("line", [NewEvent("police", LinkEventKind.RECALLED, links[0])])
            kept = await tx.links.events("line", "police", 0, 9)
            assert [(item.cursor, item.kind) for item in kept] == [
                (2, LinkEventKind.TOLD),
                (3, LinkEventKind.RECALLED),
            ]
            assert [item.cursor for item in await tx.links.events("line", "police", 2, 9)] == [3]
            assert [item.cursor for item in await tx.links.events("line", "police", 0, 1)] == [2]
            await tx.links.purge(LATER)
            assert await tx.links.events("line", "police", 0, 9) == ()

    async def test_mailboxes(self, store: BrokerStore) -> None:
        sent = [envelope(n, "care", sealed=b"x" * (n + 1)) for n in range(4)]
        async with store.write() as tx:
            assert await tx.relay.seen("nhs", sent[0].message.message_id) is None
            for item in sent:
                await tx.relay.put(item)
            await tx.relay.put(envelope(9, "police"))
        async with store.write() as tx:
            assert await tx.relay.seen("nhs", sent[0].message.message_id) == "digest0"
            assert await tx.relay.load("care") == MailboxLoad(4, 1 + 2 + 3 + 4)
            assert await tx.relay.load("care", "nhs") == MailboxLoad(4, 1 + 2 + 3 + 4)
            assert await tx.relay.load("care", "police") == MailboxLoad(0, 0)
            assert await tx.relay.load("nobody") == MailboxLoad(0, 0)
            assert await tx.relay.is_waiting("care", sent[0].message.message_id)
            assert not await tx.relay.is_waiting("police", sent[0].message.message_id)
            waiting = await tx.relay.waiting("care", 0, NOW, 3)
            assert [item.message for item in waiting] == [item.message for item in sent[:3]]
            rest = await tx.relay.waiting("care", waiting[-1].position, NOW, 3)
            assert [item.message for item in rest] == [sent[3].message]
            ids = [item.message.message_id for item in sent]
            assert await tx.relay.acknowledge("police", ids) == 0
            assert await tx.relay.acknowledge("care", ids[:2]) == 2
            assert await tx.relay.load("care") == MailboxLoad(2, 7)
            assert await tx.relay.seen("nhs", ids[0]) == "digest0"

    async def test_expired_messages_are_not_delivered_and_purged(self, store: BrokerStore) -> None:
        async with store.write() as tx:
            await tx.relay.put(envelope(1, "care", expires=NOW))
            await tx.relay.put(envelope(2, "care"))
            waiting = await tx.relay.waiting("care", 0, NOW, 9)
            assert [item.message.message_id for item in waiting] == [f"{2:032x}"]
            assert await tx.relay.purge(NOW) == 1
            assert await tx.relay.seen("nhs", f"{1:032x}") is None
            assert await tx.relay.seen("nhs", f"{2:032x}") is not None

    async def test_audit(self, store: BrokerStore) -> None:
        async with store.write() as tx:
            assert await tx.audit.size() == 0
            assert await tx.audit.checkpoint() is None
            await tx.audit.append(0, b"leaf 0", b"sealed", [LogNode(0, 0, b"a" * 32)])
            nodes = [LogNode(0, 1, b"b" * 32), LogNode(1, 0, b"c" * 32)]
            await tx.audit.append(1, b"leaf 1", b"sealed", nodes)
            await tx.audit.put_checkpoint(1, b"one")
            await tx.audit.put_checkpoint(2, b"two")
            await tx.audit.put_checkpoint(2, b"two, cosigned")
        async with store.read() as tx:
            assert await tx.audit.size() == 2
            assert await tx.audit.leaves(0, 9) == (b"leaf 0", b"leaf 1")
            assert await tx.audit.leaves(1, 2) == (b"leaf 1",)
            assert await tx.audit.nodes([(1, 0), (0, 0), (5, 5)]) == {
                (1, 0): b"c" * 32,
                (0, 0): b"a" * 32,
            }
            assert await tx.audit.nodes([]) == {}
            assert await tx.audit.checkpoint() == (2, b"two, cosigned")
            assert await tx.audit.checkpoint_at(1) == b"one"
            assert await tx.audit.checkpoint_at(3) is None

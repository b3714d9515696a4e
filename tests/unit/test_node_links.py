"""The links that a node was told of: listed in few statements, and gone when they are recalled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
import sqlalchemy as sa

from agency_node.links import LinkBook, LinkNews
from agency_node.model import KnownLink
from agency_node.store.store import NodeStore
from agency_node.subjects import SubjectId
from policies.ids import LinkageId
from protos.wire.linkage import Link, LinkEvent, LinkEventKind, Strength
from tests.simulator.disclosure_nodes import HANDLE_AT_POLICE, SUSAN_AT_POLICE, TOKEN, SimNode, make_world
from tests.simulator.policies import CARE, LINKAGE, NOW

LATER = NOW + timedelta(days=30)
PLACES = LinkageId("places")
DECOY = b"d" * 16


@pytest.fixture
async def police() -> AsyncIterator[SimNode]:
    world = await make_world()
    yield world.police
    await world.police.store.close()
    await world.care.store.close()


def book_of(node: SimNode) -> LinkBook:
    return LinkBook(node.store, node.keys, node.log)


def known(number: int, handle: bytes, linkage: LinkageId = LINKAGE, *, days: int = 30) -> KnownLink:
    token = number.to_bytes(16, "big")
    return KnownLink(token, handle, linkage, 1, CARE, Strength.STRONG, "ab" * 32, NOW + timedelta(days=days))


def told(cursor: int, kind: LinkEventKind, token: bytes, *, handle: bytes = HANDLE_AT_POLICE) -> LinkEvent:
    link = Link(token, handle, str(LINKAGE), 1, Strength.PROBABLE, str(CARE), "ab" * 32, LATER)
    return LinkEvent(cursor, kind, link)


async def held_tokens(store: NodeStore) -> set[bytes]:
    async with store.transaction() as tx:
        return {link.token for link in await tx.links.all()}


async def test_a_list_takes_as_many_statements_for_many_links_as_for_few(police: SimNode) -> None:
    handles = {SubjectId(f"N-{number}"): number.to_bytes(16, "little") for number in range(1, 301)}
    async with police.store.transaction() as tx:
        await tx.handles.add(LINKAGE, handles)
        await tx.links.put([known(number, handle) for number, handle in enumerate(handles.values(), 1)])
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    sa.event.listen(police.store.engine.sync_engine, "before_cursor_execute", note)
    async with police.store.transaction() as tx:
        listed = await book_of(police).listed(tx, None, None, NOW)
    assert {item.subject_id for item in listed} == {*handles, SUSAN_AT_POLICE}
    assert len(statements) < 10


async def test_a_list_leaves_out_what_is_over_or_stands_for_nobody(police: SimNode) -> None:
    async with police.store.transaction() as tx:
        await tx.handles.add(PLACES, {SUSAN_AT_POLICE: b"s" * 16, SubjectId("B-2"): b"b" * 16})
        await tx.handles.add(PLACES, {SubjectId("decoy"): DECOY}, decoys=True)
        here = [known(2, b"s" * 16, PLACES), known(3, b"b" * 16, PLACES)]
        nobody = [known(4, DECOY, PLACES), known(5, b"x" * 16, PLACES)]
        await tx.links.put([*here, *nobody, known(6, b"b" * 16, PLACES, days=0)])
        book = book_of(police)
        numbers = {
            (linkage, subject): [
                number_of(item.link.token) for item in await book.listed(tx, linkage, subject, NOW)
            ]
            for linkage in (None, PLACES)
            for subject in (None, SUSAN_AT_POLICE)
        }
    susan = number_of(TOKEN.raw)
    assert numbers == {
        (None, None): [3, 2, susan],
        (PLACES, None): [3, 2],
        (None, SUSAN_AT_POLICE): [2, susan],
        (PLACES, SUSAN_AT_POLICE): [2],
    }


def number_of(token: bytes) -> int:
    return int.from_bytes(token, "big")


async def test_what_is_changed_and_recalled_at_once_is_gone(police: SimNode) -> None:
    book = book_of(police)
    new = b"n" * 16
    events = [
        told(1, LinkEventKind.CHANGED, TOKEN.raw),
        told(2, LinkEventKind.TOLD, new),
        told(3, LinkEventKind.RECALLED, TOKEN.raw),
        told(4, LinkEventKind.RECALLED, b"never told.....!"),
    ]
    heard: list[tuple[LinkEventKind, bytes]] = []

    async def hear(_tx: object, events: Sequence[LinkNews]) -> None:
        heard.extend((news.kind, news.link.token) for news in events)

    book.on_events(hear)
    await book.take(events, LINKAGE)
    assert await held_tokens(police.store) == {new}
    await book.take([told(5, LinkEventKind.RECALLED, new), told(6, LinkEventKind.RECALLED, new)], LINKAGE)
    assert await held_tokens(police.store) == set()
    assert heard == [
        (LinkEventKind.CHANGED, TOKEN.raw),
        (LinkEventKind.TOLD, new),
        (LinkEventKind.RECALLED, TOKEN.raw),
        (LinkEventKind.RECALLED, new),
    ]

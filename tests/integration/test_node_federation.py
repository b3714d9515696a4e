"""Nodes and a broker, all real, over mutual TLS: from an agreement to links, through restarts and faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.federation import CARE, LINKAGE, NHS, POLICE
from tests.nodes import NodeWorld, person, running_nodes, until

SHARED = range(40)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[NodeWorld]:
    async with running_nodes(tmp_path) as found:
        yield found


async def test_from_agreement_to_links(world: NodeWorld) -> None:
    world.folders[POLICE].people(person(n) for n in SHARED)
    world.folders[CARE].people(person(n, id=f"c{n}") for n in range(20, 60))
    world.folders[NHS].people(person(n, id=f"n{n}") for n in range(30, 50))
    await world.agree()
    for agency in (POLICE, CARE, NHS):
        counts = (await world.sync(agency)).counts
        assert counts["subjects_changed"] == counts["subjects_read"]
    await world.match(POLICE)
    assert await world.nodes[POLICE].list_links(None, None) == ()  # no policy, nothing told

    policy = world.federation.policy()
    await world.nodes[CARE].publish_document(world.federation.signed_policy(policy))

    async def told() -> bool:
        return len(await world.nodes[POLICE].list_links(LINKAGE, None)) == 30

    await until(told)
    links = await world.nodes[POLICE].list_links(None, None)
    named = {item.subject_id for item in links if item.link.counterpart == CARE}
    hidden = {item.subject_id for item in links if item.link.counterpart is None}
    assert named == {f"p{n}" for n in range(20, 40)}
    assert hidden == {f"p{n}" for n in range(30, 40)}
    assert await world.nodes[CARE].list_links(None, None) == ()
    assert (await world.nodes[POLICE].status()).linkages[0].links == 30

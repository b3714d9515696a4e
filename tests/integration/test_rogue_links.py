"""A recipient that reads more out of its links than it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from broker.store.memory import MemoryStore
from broker.telling import LEASE_STEP
from policies.clauses import LINK_EXISTS
from policies.ids import AgencyId, PolicyId
from policies.vocabulary import Capacity
from protos.wire.linkage import LinkEventKind
from tests.broker_client import Client
from tests.broker_world import World, running_world
from tests.encodings import batch, person_clks
from tests.federation import CARE, LINKAGE, NHS, POLICE, REFUGE
from tests.simulator import policies as sim


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path, store=MemoryStore()) as found:
        yield found


async def test_the_end_of_a_link_does_not_tell_whose_it_is(world: World) -> None:
    """Two providers whose names are withheld, each in its own policy: their ends would tell them apart."""
    federation = world.federation
    await world.police.publish(federation.signed_agreement(federation.agreement((POLICE, CARE, NHS, REFUGE))))
    for client in (*world.participants, world.refuge):
        await client.confirm(LINKAGE, 1)
    epoch = await world.police.epoch(LINKAGE)

    async def publish(client: Client, name: str, days: int) -> datetime:
        provider = AgencyId(client.agency)
        clause = replace(sim.sample_clauses()[0], providers=(provider,), fields=(LINK_EXISTS,))
        governance = sim.sample_policy().governance
        advice = tuple(
            replace(item, agency=agency)
            for item, agency in zip(governance.dpo_advice, (POLICE, provider), strict=False)
        )
        parties = (
            sim.party(POLICE, Capacity.RECIPIENT),
            sim.party(provider, Capacity.PROVIDER, withheld=True),
        )
        policy = federation.policy(
            id=PolicyId(name),
            clauses=(clause,),
            parties=parties,
            governance=replace(governance, dpo_advice=advice),
            not_after=federation.now + timedelta(days=days),
            review_by=federation.now + timedelta(days=100),
        )
        await client.publish(federation.signed_policy(policy))
        return policy.not_after

    ends = [await publish(world.nhs, "clinic", 200), await publish(world.refuge, "refuge", 201)]
    clks = person_clks(2)
    await world.police.upload(epoch, LINKAGE, batch(POLICE, range(2), clks))
    await world.nhs.upload(epoch, LINKAGE, batch(NHS, range(1), clks))
    await world.refuge.upload(epoch, LINKAGE, batch(REFUGE, range(1, 2), clks))
    await world.police.run(LINKAGE, 1)
    told = await world.police.link_events(LINKAGE)
    assert [event.link.counterpart for event in told] == [None, None]
    (until,) = {event.link.expires for event in told}
    assert until < min(ends)
    async with world.broker._store.read() as tx:
        assert sorted(item.expires for item in await tx.links.tokens(LINKAGE)) == sorted(
            end.replace(microsecond=0) for end in ends
        )
    # renewed for all at once, long before it runs out
    later = federation.now + LEASE_STEP
    assert later < until
    world.broker._links._clock = lambda: later
    await world.broker._links.refresh()
    renewed = (await world.police.link_events(LINKAGE))[len(told) :]
    assert [event.kind for event in renewed] == [LinkEventKind.CHANGED] * 2
    assert {event.link.expires for event in renewed} == {until + LEASE_STEP}
    assert {event.link.token for event in renewed} == {event.link.token for event in told}

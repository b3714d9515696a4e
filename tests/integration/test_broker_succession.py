"""At the broker: a newer version ends the older for good, and nobody ends what others have agreed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.store.memory import MemoryStore
from policies.codec import document_hash
from policies.ids import Hash256, PolicyId
from policies.render import page_hash, render_policy
from policies.statements import PolicyAction
from policies.vocabulary import Capacity, OfficerRole
from protos.wire.errors import ErrorCode
from protos.wire.linkage import LinkEventKind, RunState
from tests.broker_client import refusal
from tests.broker_world import World, running_world
from tests.federation import CARE, LINKAGE, POLICE, REFUGE
from tests.simulator import policies as sim


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path, store=MemoryStore()) as found:
        yield found


async def test_stopping_a_version_brings_no_earlier_one_back(world: World) -> None:
    """Links that were told under the older one, and then under the newer, are told under neither."""
    federation = world.federation
    first = federation.policy()
    await world.open_epoch()
    await world.upload_all(5)
    await world.care.publish(federation.signed_policy(first))
    assert (await world.police.run(LINKAGE, 1)).state is RunState.DONE
    second = federation.policy(version=2, supersedes=Hash256(document_hash(first)))
    digest = await world.care.publish(federation.signed_policy(second))
    catalogue = world.broker._catalogue
    assert [item.hash for item in catalogue.active_policies(LINKAGE)] == [digest]
    events = await world.police.link_events(LINKAGE)
    told = {event.link.policy_hash for event in events if event.kind is LinkEventKind.TOLD}
    assert told == {digest, ""}  # without its hash where the name is withheld
    await world.care.publish_event(digest, federation.event(second, PolicyAction.REVOKE, 0))
    assert catalogue.active_policies(LINKAGE) == ()
    async with world.broker._store.read() as tx:
        assert await tx.links.tokens(LINKAGE) == ()


async def test_a_successor_that_counts_no_longer_goes_on_superseding(world: World) -> None:
    federation = world.federation
    first = federation.policy()
    await world.care.publish(federation.signed_policy(first))
    everyone = federation.registry.officers
    deputy = sim.officer("care.deputy", CARE, OfficerRole.SIRO)
    await world.police.publish_trust([], federation.new_registry(officers=(*everyone, deputy)).to_bytes())
    second = federation.policy(version=2, supersedes=Hash256(document_hash(first)))
    page, digest = page_hash(render_policy(second)), document_hash(second)
    rest = federation.signed_policy(second, without=[CARE])
    own = (
        federation.statement(digest, page, CARE, "deputy", OfficerRole.SIRO),
        federation.statement(digest, page, CARE, "guardian", OfficerRole.CALDICOTT_GUARDIAN),
    )
    await world.care.publish(replace(rest, statements=(*rest.statements, *own)))
    catalogue = world.broker._catalogue
    assert [item.hash for item in catalogue.active_policies(LINKAGE)] == [digest]
    await world.police.publish_trust([], federation.new_registry(officers=everyone).to_bytes())
    assert catalogue.policy(digest) is None  # its quorum counts no longer
    assert catalogue.active_policies(LINKAGE) == ()


async def test_nobody_ends_what_others_agreed(world: World) -> None:
    """A policy of one's own that names another's hash, or its id, or leaves out a provider of it."""
    federation = world.federation
    first = federation.policy()
    digest = await world.care.publish(federation.signed_policy(first))
    own = {
        "version": 2,
        "supersedes": Hash256(digest),
        "governance": replace(first.governance, dpo_advice=()),
    }
    theirs = tuple(replace(item, providers=(REFUGE,), recipients=(POLICE,)) for item in first.clauses)
    parties = (sim.party(POLICE, Capacity.RECIPIENT), sim.party(REFUGE, Capacity.PROVIDER))
    named = federation.policy(id=PolicyId("rival"), parties=parties, clauses=theirs, **own)
    await world.refuge.publish(federation.signed_policy(named))
    less = federation.policy(parties=parties, clauses=theirs, **own)
    for client in (world.refuge, world.police):
        published = client.publish(federation.signed_policy(less))
        assert await refusal(published) is ErrorCode.LIFECYCLE_REFUSED
    active = {item.hash for item in world.broker._catalogue.active_policies(LINKAGE)}
    assert active == {digest, document_hash(named)}

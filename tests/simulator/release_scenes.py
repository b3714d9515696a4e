"""What a node does with releases, each up to the moment before: for tests that kill it in the middle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from policies.ids import AgencyId
from protos.wire.relay import IncomingMessage
from tests.integration.test_disclosure_push import PRIVACY, told
from tests.simulator.disclosure_nodes import (
    APPROVER,
    SUSAN_AT_CARE,
    AcknowledgingRelay,
    SimNode,
    World,
    make_world,
    record,
)
from tests.simulator.policies import CARE, POLICE, sample_policy


@dataclass(frozen=True, slots=True)
class Scene:
    """What an agency's node is about to do. `act` may be done by a node that was started again."""

    world: World
    agency: AgencyId
    act: Callable[[SimNode], Awaitable[object]]


async def _world(folder: Path) -> World:
    """Every automatic release is put before a supervisor."""
    safeguards = replace(sample_policy().safeguards, review_sample_percent=100)
    return await make_world(folder, policy=sample_policy(safeguards=safeguards))


async def _caught(world: World, purpose: str) -> IncomingMessage:
    """Delivers everything up to a message with a purpose, which has reached the broker only."""
    caught: list[IncomingMessage] = []

    def catch(message: IncomingMessage) -> IncomingMessage | None:
        if message.purpose != purpose:
            return message
        caught.append(message)
        return None

    await world.deliver(catch)
    (message,) = caught
    return message


async def _taking(world: World, agency: AgencyId, purpose: str) -> Scene:
    message = await _caught(world, purpose)
    await world.close()
    return Scene(world, agency, lambda node: node.mailbox.take(AcknowledgingRelay(), message))


async def _ordered(folder: Path, act: str) -> Scene:
    """A record was wrong, and an officer has signed an order about what was released of it."""
    world = await _world(folder)
    request_id = await world.ask()
    await world.deliver()
    world.care.records.records[SUSAN_AT_CARE] = [
        record("R1", "risk_assessment", date(2026, 1, 20), risk_band="standard", consent="given")
    ]
    order = await world.signed_order(world.care, act, request_id, *PRIVACY)
    await world.close()
    return Scene(world, CARE, lambda node: node.disclosure.submit_order(order))


async def answered(folder: Path) -> Scene:
    """The provider takes a request that it answers at once."""
    world = await _world(folder)
    await world.ask()
    return await _taking(world, CARE, "disclosure-request")


async def approved_by_the_provider(folder: Path) -> Scene:
    """The provider's officer hands in the approval that was missing."""
    world = await _world(folder)
    request_id = await world.ask(tier=2)
    await world.deliver()
    approval = await world.signed_approval(request_id, world.care, APPROVER, "approver")
    await world.close()
    return Scene(world, CARE, lambda node: node.disclosure.submit_approval(approval))


async def approved_by_the_recipient(folder: Path) -> Scene:
    """The provider takes the approval that was missing: one of the recipient's officer."""
    world = await _world(folder)
    request_id = await world.ask(tier=3)
    await world.deliver()
    await world.approve(request_id, world.care, APPROVER, "approver")
    await world.approve(request_id, world.police, "police.approver", "approver")
    return await _taking(world, CARE, "disclosure-request")


async def pushed(folder: Path) -> Scene:
    """The provider takes evidence of the subject about whom it offered to push something."""
    world = await _world(folder)
    await told(world)
    await world.care.disclosure.keep_house()
    return await _taking(world, CARE, "push-evidence")


async def corrected(folder: Path) -> Scene:
    """The provider's officer orders that a release be taken back and made anew."""
    return await _ordered(folder, "correct-release")


async def recalled(folder: Path) -> Scene:
    """The provider's officer orders that a release be taken back."""
    return await _ordered(folder, "recall-release")


async def received(folder: Path) -> Scene:
    """The recipient takes the release that it asked for."""
    world = await _world(folder)
    await world.ask()
    return await _taking(world, POLICE, "disclosure-answer")


async def recall_received(folder: Path) -> Scene:
    """The recipient takes the recall of a release that it holds."""
    world = await _world(folder)
    request_id = await world.ask()
    await world.deliver()
    await world.order(world.care, "recall-release", request_id, *PRIVACY)
    return await _taking(world, POLICE, "link-recall")


async def purged(folder: Path) -> Scene:
    """The time of a release that the recipient holds is up."""
    world = await _world(folder)
    await world.ask()
    await world.deliver()
    world.clock.advance(days=world.policy.obligations.retention_days)
    registry = world.registries.registry
    world.registries.registry = replace(registry, expires=world.clock.now + timedelta(days=30))
    await world.close()
    return Scene(world, POLICE, lambda node: node.disclosure.keep_house())


SCENES: dict[str, Callable[[Path], Coroutine[None, None, Scene]]] = {
    scene.__name__: scene
    for scene in (
        answered,
        approved_by_the_provider,
        approved_by_the_recipient,
        pushed,
        corrected,
        recalled,
        received,
        recall_received,
        purged,
    )
}

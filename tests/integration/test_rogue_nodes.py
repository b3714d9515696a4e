"""A member that probes with a real node and the real encoder, and what the broker makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.holds import Release
from broker.store.model import Hold
from protos.wire.errors import ErrorCode, RefusedError
from tests.federation import CARE, LINKAGE, POLICE
from tests.nodes import NodeWorld, person, running_nodes

HONEST = 40


def variants(count: int, number_of_target: int = 7) -> list[dict[str, str]]:
    """One target under many spellings: one slip in each."""
    target = person(number_of_target)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".lower()
    made = []
    for number in range(count):
        name, place = ("given", "family")[number % 2], 1 + number % 3
        text = target[name]
        slipped = text[:place] + letters[(number * 7) % 26] + text[place + 1 :]
        made.append(target | {"id": f"v{number_of_target}-{number}", name: slipped})
    return made


def household(count: int) -> list[dict[str, str]]:
    """People who share family name and address."""
    home = person(9)
    shared = {name: home[name] for name in ("family", "house", "street", "town", "postcode")}
    return [person(200 + 3 * number, id=f"h{number}", **shared) for number in range(count)]


async def open_holds(world: NodeWorld) -> list[Hold]:
    async with world.broker._store.read() as tx:
        return [hold for hold in await tx.holds.listed() if hold.open]


async def test_variants_of_one_target_are_held_and_a_large_household_is_not(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        honest = [person(n) for n in range(HONEST)]
        world.folders[CARE].people([*honest, *household(25)])
        world.folders[POLICE].people([*honest, *variants(30)])
        await world.agree((POLICE, CARE))
        assert (await world.sync(CARE)).counts["rows_sent"] == HONEST + 25
        for _ in range(2):  # whoever tries again is held by the same hold
            with pytest.raises(RefusedError) as refused:
                await world.sync(POLICE)
            assert refused.value.code is ErrorCode.PROBING_SUSPECTED
        (hold,) = await open_holds(world)
        assert hold.agency == POLICE
        assert hold.hold_id in refused.value.detail
        async with world.broker._store.read() as tx:
            assert await tx.encodings.live(LINKAGE, 1, POLICE) == ()

        # the node goes on after the release, with the upload that it has kept
        await world.broker._holds.release(Release(hold.hold_id, "root.ada", "an import of old records"))
        await world.sync(POLICE)
        async with world.broker._store.read() as tx:
            assert (await tx.encodings.held(LINKAGE, 1))[POLICE] == HONEST + 30

        # more of it is held anew; without a release, a full upload of other data is the way out
        world.folders[POLICE].people([*honest, *variants(30), *variants(30, 12)])
        with pytest.raises(RefusedError) as refused:
            await world.sync(POLICE)
        assert refused.value.code is ErrorCode.PROBING_SUSPECTED
        world.folders[POLICE].people(honest)
        assert (await world.sync(POLICE, full=True)).counts["rows_sent"] == HONEST

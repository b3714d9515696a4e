"""Writes an export with a history, for a verifier that imports nothing of the product: `... FOLDER`.

Prints the anchor. A release, a suspension, a full reactivation, a decision, an officer dropped, witnesses.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from policies.statements import PolicyAction
from tests.integration.test_audit_history import agreeing, event, next_registry, renew, take
from tests.integration.test_node_audit_export import ANCHOR, enrol, write_export
from tests.simulator.disclosure_nodes import make_world


async def write(folder: Path) -> None:
    """The export of social care's log."""
    world = await make_world()
    await enrol(world)
    await world.ask(tier=1)
    await world.deliver()
    await take(world, event(world, PolicyAction.SUSPEND, "nhs.siro", 0))
    await take(world, *agreeing(world, 1))
    await world.refresh_status()
    await world.ask(tier=1, case_reference="CASE-2")
    await world.deliver()
    await renew(world, next_registry(world, without=["police.siro"]), 2)
    await world.care.disclosure.ask_witnesses()
    await world.deliver()
    await write_export(world, folder)
    await world.close()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
    sys.stderr.write(ANCHOR)

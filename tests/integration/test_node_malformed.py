"""Malformed rows in a running node: they are told with their places, and nobody is withdrawn for them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from structlog.testing import capture_logs

from agency_node.app import Node
from tests.federation import CARE, LINKAGE, POLICE
from tests.nodes import NodeFolder, person, running_nodes, until

PEOPLE = 30


def _write(folder: NodeFolder, people: Iterable[int], cut: Iterable[int] = ()) -> None:
    """The people's table, where the lines of some end after the number and a given name."""
    folder.people(person(number) for number in people)
    table = folder.folder / "people.csv"
    starts = {f"p{number},": f"p{number},Secretname" for number in cut}
    lines = table.read_text().splitlines()
    table.write_text("\n".join(starts.get(line[: line.index(",") + 1], line) for line in lines) + "\n")


async def _subjects(node: Node) -> int:
    return (await node.status()).linkages[0].subjects


def _lost(node: Node, reason: str) -> float | None:
    labels = {"linkage": str(LINKAGE), "reason": reason}
    return node.metrics.registry.get_sample_value("tallystick_node_source_rows_lost", labels)


async def test_nobody_is_withdrawn_while_a_row_may_be_anybodys(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        police, node = world.folders[POLICE], world.nodes[POLICE]
        _write(police, range(PEOPLE))
        await world.agree((POLICE, CARE))
        assert (await world.sync(POLICE)).counts["subjects_kept"] == 0
        assert await _subjects(node) == PEOPLE

        _write(police, range(PEOPLE - 1), cut=(4, 5))
        with capture_logs() as logs:
            counts = (await world.sync(POLICE)).counts
        assert (counts["subjects_kept"], counts["subjects_withdrawn"], counts["rows_sent"]) == (3, 0, 0)
        assert counts["source_rows_lost_too_few_cells"] == counts["source_rows_lost"] == 2
        assert await _subjects(node) == PEOPLE
        warnings = [entry for entry in logs if entry["log_level"] == "warning"]
        places = [(entry["table"], entry["line"], entry["reason"]) for entry in warnings if "line" in entry]
        assert places == [("people.csv", 6, "too-few-cells"), ("people.csv", 7, "too-few-cells")]
        assert [entry["rows"] for entry in warnings if entry["event"] == "rows left out"] == [2]
        assert [entry["subjects"] for entry in warnings if entry["event"] == "subjects kept"] == [3]
        assert "Secretname" not in json.dumps(logs, default=str)
        assert (_lost(node, "too-few-cells"), _lost(node, "bad-encoding")) == (2, 0)

        _write(police, range(PEOPLE - 1))
        counts = (await world.sync(POLICE)).counts
        assert (counts["subjects_kept"], counts["subjects_withdrawn"]) == (0, 1)
        assert await _subjects(node) == PEOPLE - 1
        assert _lost(node, "too-few-cells") == 0

        _write(police, range(PEOPLE - 1), cut=(4,))
        assert (await world.sync(POLICE, full=True)).counts["subjects_withdrawn"] == 1
        assert await _subjects(node) == PEOPLE - 2


async def test_who_is_there_with_a_value_that_the_schema_refuses_is_not_gone(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        police, node = world.folders[POLICE], world.nodes[POLICE]
        _write(police, range(PEOPLE))
        await world.agree((POLICE, CARE))
        await world.sync(POLICE)
        police.people(person(n, **({"given": "Abcd " * 60} if n == 7 else {})) for n in range(1, PEOPLE))
        counts = (await world.sync(POLICE)).counts
        assert counts["rows_dropped_invalid"] == 1
        assert (counts["subjects_kept"], counts["subjects_withdrawn"]) == (1, 1)
        assert await _subjects(node) == PEOPLE - 1


async def test_an_upload_that_nobody_asked_for_says_what_stopped_it_and_goes_on_later(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE), upload="every_minutes = 1") as world:
        police, node = world.folders[POLICE], world.nodes[POLICE]
        mapping = police.folder / "mapping.toml"
        good = mapping.read_text()
        mapping.write_text(good.replace('folder = "."', 'folder = "."\non_bad_row = "refuse"'))
        _write(police, range(PEOPLE), cut=(4,))
        with capture_logs() as logs:
            await world.agree((POLICE, CARE))

            async def refused() -> bool:
                return any("people.csv line 6" in entry.get("detail", "") for entry in logs)

            await until(refused)
        assert not [entry for entry in logs if entry["event"] == "task failed"]
        assert "Secretname" not in json.dumps(logs, default=str)
        outcome = {"linkage": str(LINKAGE), "outcome": "TS9002"}
        assert node.metrics.registry.get_sample_value("tallystick_node_uploads_total", outcome)

        mapping.write_text(good)
        with capture_logs() as logs:

            async def uploaded() -> bool:
                return await _subjects(node) == PEOPLE - 1

            await until(uploaded)
        assert 6 in [entry.get("line") for entry in logs]

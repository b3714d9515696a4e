"""Documents keep in step with the code: lists are complete, links lead somewhere, examples are real files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agency_node.audit_manifest import BROKER_HEAD, FILES, MANIFEST, WITNESSED
from agency_node.mailbox import PURPOSES
from crypto.audit import AuditAction
from crypto.derive import SUBKEY_PURPOSES
from policies.lifecycle import Stage
from protos.wire.errors import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "docs/SPEC.md").read_text("utf-8")
PACKAGES = ("crypto", "policies", "protos", "agency_node", "broker", "tallystick")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])


def _section(number: str) -> str:
    start = re.search(rf"^#+ {re.escape(number)}\.? ", SPEC, re.MULTILINE)
    assert start is not None, number
    level = start[0].count("#")
    end = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE).search(SPEC, start.end())
    return SPEC[start.start() : end.start() if end else None]


def test_spec_lists_every_error_code_as_it_is() -> None:
    rows = re.findall(r"^\| (TS\d{4}) \| `(\w+)` \| (\w+) \|$", _section("11"), re.MULTILINE)
    assert rows == [(code.value, code.name, entry.status.name) for code, entry in CATALOGUE.items()]


def test_spec_names_every_kind_of_document() -> None:
    kinds = {
        kind
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for kind in re.findall(r"KIND: ClassVar\[str\] = \"([a-z0-9-]+/v\d+)\"", path.read_text("utf-8"))
    }
    assert len(kinds) > 20
    assert {kind for kind in kinds if kind not in SPEC} == set()


def test_spec_lists_relay_purposes_audit_actions_stages_and_subkeys() -> None:
    table = "\n".join(line for line in _section("6").splitlines() if line.startswith("| `"))
    firsts = {name for line in table.splitlines() for name in re.findall(r"`([a-z-]+)`", line.split("|")[1])}
    assert firsts == PURPOSES
    actions = _section("10.1").split("Actions, a closed list:")[1]
    assert set(re.findall(r"`([a-z-]+)`", actions)) == {action.value for action in AuditAction}
    stages = _section("5.5").split("Stages:")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", stages)) == {stage.value for stage in Stage}
    purposes = re.search(r"Purposes: ([^.]+)\.", _section("7"))
    assert purposes is not None
    assert set(re.findall(r"`(\w+)`", purposes[1])) == SUBKEY_PURPOSES


def test_spec_lists_the_files_of_an_export() -> None:
    listed = re.findall(r"^\| `([a-z./<>]+)` \|", _section("10.3"), re.MULTILINE)
    assert set(listed) == {*FILES, f"{WITNESSED}/<agency>.checkpoint", BROKER_HEAD, MANIFEST}


def test_spec_gives_the_labels_that_the_code_frames() -> None:
    """Every `tallystick/.../vN` label that separates one hash from another is in the specification."""
    labels = {
        label
        for package in ("crypto", "agency_node/encoding", "agency_node/disclosure")
        for path in (ROOT / package).rglob("*.py")
        for label in re.findall(r"\"(tallystick/[a-z/-]+/v\d+)\"", path.read_text("utf-8"))
    }
    assert len(labels) > 10
    # What only one node ever reads, at rest, is no matter between implementations.
    assert {label for label in labels if label not in SPEC} <= {
        "tallystick/wrap/v1",
        "tallystick/decoys/v1",
        "tallystick/disclosure-index/v1",
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)#]*)(?:#[^)]*)?\)", path.read_text("utf-8")):
        assert not target or (path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_documents_name_exist(path: Path) -> None:
    """A path in backticks that begins with a folder of the repository is a path of the repository."""
    folders = "|".join((*PACKAGES, "docs", "deploy", "tests", "bench"))
    for name in re.findall(rf"`((?:{folders})/[A-Za-z0-9_./-]+)`", path.read_text("utf-8")):
        if (ROOT / name.split("/")[0]).is_dir() and not re.search(r"/v\d+$", name):
            assert (ROOT / name).exists(), f"{path.relative_to(ROOT)}: {name}"

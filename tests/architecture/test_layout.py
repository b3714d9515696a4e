"""The repository keeps the shape that newcomers are promised in docs/ARCHITECTURE.md."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("protos", "crypto", "policies", "agency_node", "broker", "tallystick")
MAX_LINES = 600


def _modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "_pb2" not in path.name:
                yield path


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", ["docker-compose.yml", "pyproject.toml", *PACKAGES, "tests"])
def test_top_level_that_the_customer_fixed_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _modules(*PACKAGES, "bench", "tests")
        if (lines := len(path.read_text("utf-8").splitlines())) > MAX_LINES
    }
    assert not long


def test_no_drawer_for_everything() -> None:
    drawers = {"common", "utils", "util", "helpers", "misc"}
    assert not [path for path in _modules(*PACKAGES) if drawers & {path.stem, path.parent.name}]


def test_generated_code_is_imported_by_the_wire_and_rpc_packages_only() -> None:
    breaches = [
        str(path.relative_to(ROOT))
        for path in _modules(*PACKAGES)
        if any("_pb2" in name for name in _imports(path))
        and path.parent.name != "rpc"
        and path.parent != ROOT / "protos" / "wire"
    ]
    assert not breaches


def test_import_rules_hold_and_fail_on_a_breach(tmp_path: Path) -> None:
    # A copy of the packages with one forbidden import each must fail; the copy as it is must pass.
    for package in PACKAGES:
        for path in _modules(package):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text("\n".join(sorted(_import_lines(path))), "utf-8")
    for folder in [path for path in tmp_path.rglob("*") if path.is_dir()]:
        (folder / "__init__.py").touch()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (tmp_path / ".importlinter").write_text(_as_ini(settings))
    assert _lint(tmp_path).returncode == 0, _lint(tmp_path).stdout
    for place, forbidden in {
        "agency_node/breach.py": "import broker",
        "broker/breach.py": "import agency_node",
        "crypto/breach.py": "import policies",
        "policies/breach.py": "import sqlalchemy",
        "crypto/breach_grpc.py": "import grpc",
        "broker/breach_clkhash.py": "import clkhash",
        "agency_node/breach_anonlink.py": "import anonlink",
    }.items():
        breach = tmp_path / place
        breach.write_text(forbidden)
        assert _lint(tmp_path).returncode == 1, f"{place}: {forbidden} was let through"
        breach.unlink()


def _import_lines(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not ast.unparse(node).startswith("from __future__")
    }


def _as_ini(settings: dict[str, object]) -> str:
    contracts = settings.pop("contracts")
    assert isinstance(contracts, list)
    lines = ["[importlinter]", *_ini_values(settings)]
    for number, contract in enumerate(contracts):
        lines += [f"[importlinter:contract:{number}]", *_ini_values(contract)]
    return "\n".join(lines)


def _ini_values(values: dict[str, object]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, list):
            yield f"{name} =\n" + "\n".join(f"    {item}" for item in value)
        else:
            yield f"{name} = {value}"


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", ".importlinter", "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("requirements.lock", _project()["project"]["dependencies"]),
        (
            "requirements-build.lock",
            [*_project()["build-system"]["requires"], *_project()["dependency-groups"]["build"]],
        ),
    ],
)
def test_lock_has_every_dependency_with_hashes_and_no_address(file: str, wanted: list[str]) -> None:
    lock = (ROOT / file).read_text()
    assert "://" not in lock
    pinned = {
        match[1].lower(): match[0]
        for match in re.finditer(r"^([A-Za-z0-9_.-]+)==\S+ .*\\$", lock, re.MULTILINE)
    }
    for requirement in wanted:
        name = re.split(r"[<>=\[ ]", requirement, maxsplit=1)[0].lower()
        assert name in pinned, f"{name} is not in {file}: run uv export (see CONTRIBUTING)"
    assert lock.count("--hash=sha256:") >= len(pinned)


def test_nothing_of_a_workplace_is_tracked() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: which files are tracked cannot be told")
    hosts = re.compile(
        "py" + r"pi\.org|python" + r"hosted|registry\.npm" + r"js|deb\.deb" + r"ian|/ro" + "ot/"
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".py", ".toml", ".yml", ".lock", ".md", ".sh", ""} and path.is_file():
            assert not hosts.search(path.read_text("utf-8", errors="replace")), name

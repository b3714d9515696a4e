"""The deployment files, checked as far as that goes without a container engine.

They load with the code that reads them in earnest, name only files and commands that exist, and give away no
more rights than they say.
"""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TypeAlias

import psycopg.conninfo
import pytest
import yaml
from sqlalchemy.engine import make_url

from agency_node.config import load_config as load_node_config
from agency_node.mapping_check import run_check
from broker.config import load_config as load_broker_config
from tests.commands import command_of

ROOT = Path(__file__).resolve().parents[2]
NODES = ("police", "care", "charity")
UNITS = {"tallystick-broker.service": "broker", "tallystick-node.service": "node"}
Yaml: TypeAlias = "str | int | bool | list[Yaml] | dict[str, Yaml] | None"


def compose() -> dict[str, Yaml]:
    return _table(yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8")))


def service(name: str) -> dict[str, Yaml]:
    return _table(_table(compose()["services"])[name])


def _table(value: Yaml) -> dict[str, Yaml]:
    assert isinstance(value, dict)
    return value


def _texts(value: Yaml) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


# -- docker-compose.yml


def test_compose_has_the_promised_services() -> None:
    assert set(_table(compose()["services"])) == {"postgres", "broker", *NODES}
    assert _table(compose()["networks"])["storage"] == {"internal": True}
    assert service("postgres")["networks"] == ["storage"]


@pytest.mark.parametrize("name", ["broker", *NODES])
def test_services_have_no_more_rights_than_they_need(name: str) -> None:
    found = service(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "cap_add", "network_mode", "pid", "devices"} & found.keys()


def test_nodes_and_the_database_are_not_reached_from_outside() -> None:
    for name in ("postgres", *NODES):
        assert "ports" not in service(name)
        assert "expose" not in service(name)
    assert service("broker")["ports"] == ["7443:7443"]
    for name in NODES:
        assert service(name)["networks"] == ["federation"]


@pytest.mark.parametrize("name", ["broker", *NODES])
def test_services_run_commands_that_exist(name: str) -> None:
    found = service(name)
    command_of(_texts(found["command"]))
    kind, program, *check = _texts(_table(found["healthcheck"])["test"])
    assert (kind, program) == ("CMD", "tallystick")
    command_of(check)
    config = f"/etc/tallystick/{'broker' if name == 'broker' else 'node'}.toml"
    assert config in _texts(found["command"])
    assert config in check


def test_mounted_paths_exist_and_hold_the_configuration() -> None:
    volumes = _table(compose()["volumes"])
    for name in ("postgres", "broker", *NODES):
        for mount in _texts(service(name)["volumes"]):
            source, target, *mode = mount.split(":")
            if not source.startswith("."):
                assert source in volumes
                continue
            assert (ROOT / source).is_dir(), mount
            assert (target, mode) == ("/etc/tallystick", ["ro"])
            assert [path.name for path in (ROOT / source).glob("*.toml") if path.stem in ("broker", "node")]


def test_secrets_are_files_that_git_does_not_take() -> None:
    declared = _table(compose()["secrets"])
    used = {name for item in _table(compose()["services"]) for name in _texts(service(item)["secrets"])}
    assert used == set(declared)
    explained = (ROOT / "deploy/docker/secrets/README.md").read_text("utf-8")
    for name, value in declared.items():
        path = str(_table(value)["file"])
        assert path == f"./deploy/docker/secrets/{name}"
        assert f"`{name}`" in explained
        if (ROOT / ".git").exists():
            ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
            assert ignored.returncode == 0, path


def test_every_secret_that_a_configuration_names_is_given_to_its_service() -> None:
    for name in ("broker", *NODES):
        text = (ROOT / f"deploy/docker/{name}/{'broker' if name == 'broker' else 'node'}.toml").read_text()
        named = set(re.findall(r"/run/secrets/(\w+)", text))
        assert named
        assert named == set(_texts(service(name)["secrets"]))


# -- configurations


@pytest.mark.parametrize("file", ["deploy/docker/broker/broker.toml", "deploy/examples/broker.toml"])
def test_broker_configurations_load(file: str) -> None:
    config = load_broker_config(ROOT / file)
    assert config.listen.endswith(":7443")
    for path in (config.data_dir, config.anchor, config.tls.key, config.audit.keystore):
        assert path.is_relative_to("/var/lib/tallystick"), path
    assert not config.reflection
    assert config.metrics.startswith("127.0.0.1:") or not config.metrics
    # The database's URL holds no password, and libpq knows every option in it.
    url = make_url(config.database_url)
    assert url.password is None
    assert "passfile" in psycopg.conninfo.make_conninfo(
        **{key: str(value) for key, value in url.query.items()}
    )


@pytest.mark.parametrize(
    "file", [*(f"deploy/docker/{n}/node.toml" for n in NODES), "deploy/examples/node.toml"]
)
def test_node_configurations_load(file: str) -> None:
    config = load_node_config(ROOT / file)
    assert config.data_dir == Path("/var/lib/tallystick/data")
    assert config.broker_target.endswith(":7443")
    assert config.metrics_host in ("", "127.0.0.1")
    assert len(str(config.control_socket)) < 100


def test_the_broker_example_shows_every_key_with_its_default() -> None:
    path = ROOT / "deploy/examples/broker.toml"
    shown = tomllib.loads(path.read_text("utf-8"))
    config = load_broker_config(path)
    for name in ("matching", "watch", "relay"):
        usual = type(getattr(config, name))()
        assert getattr(config, name) == usual
        settable = {item.name for item in fields(usual)} - {"cluster"}
        assert set(shown[name]) == settable, name
    top = {item.name for item in fields(config)}
    assert set(shown) == top


@pytest.mark.parametrize("name", NODES)
def test_container_nodes_have_a_mapping_that_reads_its_extract_whole(name: str) -> None:
    config = load_node_config(ROOT / f"deploy/docker/{name}/node.toml")
    assert config.agency == name
    assert config.broker_target == "broker:7443"
    text, code = run_check(config.mapping, as_json=False)
    assert code == 0, text


def test_the_members_are_of_one_federation() -> None:
    federations = {load_node_config(ROOT / f"deploy/docker/{name}/node.toml").federation for name in NODES}
    assert federations == {load_broker_config(ROOT / "deploy/docker/broker/broker.toml").federation}


# -- Dockerfile


def test_dockerfile_copies_what_exists_and_ends_without_root() -> None:
    lines = [
        line.strip()
        for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    ignored = set((ROOT / ".dockerignore").read_text("utf-8").split())
    for line in lines:
        word, *rest = line.split()
        if word == "COPY" and not rest[0].startswith("--from"):
            for source in rest[:-1]:
                assert (ROOT / source).exists(), line
                assert source not in ignored, line
    instructions = [line for line in lines if re.match(r"[A-Z]+ ", line)]
    users = [line for line in instructions if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]
    last = max(number for number, line in enumerate(instructions) if line.startswith(("FROM ", "RUN ")))
    assert instructions.index(users[0]) > last
    assert 'ENTRYPOINT ["tallystick"]' in lines
    assert "--require-hashes" in " ".join(lines)
    assert {".git", "tests", "deploy"} <= ignored  # deploy holds secrets and answers once it is in use


def test_the_image_holds_every_package() -> None:
    copied = re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    listed = re.search(r"^packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert listed is not None
    assert set(copied) == set(re.findall(r'"(\w+)"', listed[1]))


# -- systemd


def _unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[method-assign,assignment] # names keep their case, as documented
    parser.read_string((ROOT / "deploy/systemd" / name).read_text("utf-8"))
    return parser


@pytest.mark.parametrize(("name", "member"), UNITS.items())
def test_units_call_commands_that_exist(name: str, member: str) -> None:
    unit = _unit(name)
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    run = shlex.split(unit["Service"]["ExecStart"])
    assert run[:3] == ["/opt/tallystick/bin/tallystick", member, "run"]
    command_of(run[1:])
    command_of(shlex.split(unit["Service"]["ExecStartPre"].removeprefix("-"))[1:])


@pytest.mark.parametrize("name", UNITS)
def test_units_are_confined(name: str) -> None:
    found = _unit(name)["Service"]
    assert found["User"] == "tallystick"
    assert found["ProtectSystem"] == "strict"
    assert found["NoNewPrivileges"] == found["PrivateTmp"] == found["PrivateDevices"] == "yes"
    assert found["CapabilityBoundingSet"] == ""
    assert found["UMask"] == "0077"
    assert "passphrase" not in found["ExecStart"].lower()  # it would show in the list of processes


def test_the_examples_find_the_units_credentials() -> None:
    broker = load_broker_config(ROOT / "deploy/examples/broker.toml")
    assert _unit("tallystick-broker.service")["Service"]["LoadCredential"].startswith("passphrase:")
    assert broker.audit.passphrase_file == Path("/run/credentials/tallystick-broker.service/passphrase")
    # The node finds a credential of that name by itself, so its configuration names none.
    assert _unit("tallystick-node.service")["Service"]["LoadCredential"].startswith("passphrase:")
    assert load_node_config(ROOT / "deploy/examples/node.toml").passphrase_file is None

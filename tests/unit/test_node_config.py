"""The node's configuration: strict, with the place and the nearest name of every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency_node.config import example_config, load_config
from agency_node.errors import NodeConfigError

GOOD = example_config("testshire", "northmoor-police", "broker.example:8443")


def written(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_example_has_the_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert (config.federation, config.agency) == ("testshire", "northmoor-police")
    assert config.broker_target == "broker.example:8443"
    assert config.data_dir == tmp_path / "data"
    assert config.database == f"sqlite:///{tmp_path}/data/node.db"
    assert config.keystore == tmp_path / "data" / "keys.json"
    assert config.control_socket == tmp_path / "data" / "control" / "control.sock"
    assert (config.metrics_host, config.sync_every_minutes, config.decoys_percent) == ("", 0, 0)
    assert "sqlite" not in repr(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("batch_rows", "batchrows"),
            r'line \d+, upload.batchrows: is not a known key; did you mean "b',
        ),
        (("[broker]", "[broke]"), r"broke: is not a known key; did you mean \"broker\""),
        (('"northmoor-police"', '"Northmoor Police"'), "node.agency: is not a AgencyId"),
        (("broker.example:8443", "broker.example"), "broker.target: must be host:port"),
        (("4096", "100000"), "upload.batch_rows: must be from 32 to"),
        (("4096", '"many"'), "upload.batch_rows: must be a whole number"),
        (('"json"', '"xml"'), "log.format: must be one of json, text"),
        (("[node]", "[node"), "is not valid TOML"),
        (('agency = "northmoor-police"\n', ""), "node.agency: is missing"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(NodeConfigError, match=message):
        load_config(written(tmp_path, GOOD.replace(*change)))


def test_database_from_the_environment(tmp_path: Path) -> None:
    text = GOOD.replace("[broker]", 'database_env = "NODE_DB"\n[broker]')
    path = written(tmp_path, text)
    assert load_config(path, {"NODE_DB": "postgresql://db/node"}).database == "postgresql://db/node"
    with pytest.raises(NodeConfigError, match="not set"):
        load_config(path, {})
    both = written(tmp_path, text.replace("database_env", 'database = "sqlite://"\ndatabase_env'))
    with pytest.raises(NodeConfigError, match="keep one"):
        load_config(both, {"NODE_DB": "x"})


def test_passphrase_comes_from_the_service_managers_credential(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("from the service manager\n")
    config = load_config(written(tmp_path, GOOD))
    assert config.passphrase({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "from the service manager"
    own = tmp_path / "own"
    own.write_text("from the file")
    config = load_config(written(tmp_path, GOOD + '[keys]\npassphrase_file = "own"\n'))
    assert config.passphrase({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "from the file"

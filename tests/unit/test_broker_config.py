"""The broker's configuration says what is wrong with it, and where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tomli_w

from broker.app import relay_limits
from broker.check import check_config
from broker.config import BrokerConfig, ConfigError, RelayConfig, load_config
from tests.federation import PASSPHRASE, Federation

MINIMAL: dict[str, object] = {
    "federation": "testshire",
    "data_dir": "data",
    "anchor": "root.json",
    "tls": {"certificate": "tls.crt", "key": "tls.key", "federation_ca": "ca.crt"},
    "audit": {"keystore": "keys.json"},
}


def loaded(folder: Path, **changes: object) -> BrokerConfig:
    path = folder / "broker.toml"
    path.write_text(tomli_w.dumps({k: v for k, v in (MINIMAL | changes).items() if v is not None}))
    return load_config(path)


def test_defaults_and_relative_paths(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    assert config.anchor == tmp_path / "root.json"
    assert config.database_url == f"sqlite:///{tmp_path / 'data' / 'broker.sqlite'}"
    assert config.audit.key == f"keystore:{tmp_path / 'keys.json'}#audit"
    assert not config.reflection
    assert config.metrics == ""
    assert config.matching.engine == "threads"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lisen": "x"}, "lisen: is not known; did you mean listen"),
        ({"matching": {"thread": 1}}, r"matching\.thread: is not known; did you mean threads"),
        ({"matching": {"engine": "spark"}}, r"matching\.engine: must be one of threads, dask"),
        ({"matching": {"engine": "dask"}}, r"matching\.engine: needs a section matching\.cluster"),
        ({"matching": {"threads": -1}}, r"matching\.threads: must be a whole number from 0"),
        ({"anchor": None}, "anchor: is missing"),
        ({"anchor": 3}, "anchor: must be text in quotes"),
        ({"tls": {"certificate": "c", "key": "k"}}, r"tls\.federation_ca: is missing"),
        ({"tls": "no"}, "tls: must be a section"),
        ({"listen": "everywhere"}, "listen: needs host:port"),
        ({"reflection": 1}, "reflection: must be true or false"),
        ({"relay": {"ttl_hours": 337}}, r"relay\.ttl_hours: must be a whole number from 1 to 336"),
        ({"federation": None, "federatoin": "x"}, "federation: is missing; did you mean it by federatoin"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, **changes)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(tmp_path / "bad.toml")


def test_the_database_password_is_not_shown(tmp_path: Path) -> None:
    config = loaded(tmp_path, database="postgresql://broker:hunter2@db/broker")
    assert "hunter2" not in repr(config)


def test_relay_limits_only_narrow() -> None:
    limits = relay_limits(RelayConfig(ttl_hours=1, waiting_messages=2, waiting_mebibytes=3))
    assert (limits.relay_ttl_seconds, limits.waiting_messages) == (3600, 2)
    assert limits.waiting_bytes == 3 * 1024 * 1024


async def test_a_good_configuration_has_no_problems(tmp_path: Path) -> None:
    federation = Federation.create(tmp_path)
    assert await check_config(federation.broker_toml(), datetime.now(UTC)) == ()


async def test_problems_are_found_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation.create(tmp_path)
    now = datetime.now(UTC)
    path = federation.broker_toml()
    home = path.parent

    async def problem(moment: datetime = now) -> str:
        return "\n".join(await check_config(path, moment))

    assert "renew it now" in await problem(now + timedelta(days=27))
    assert "valid until" in await problem(now + timedelta(days=31))
    certificate = (home / "tls.crt").read_bytes()
    (home / "tls.crt").write_bytes(federation.agency("police").certificate)
    found = await problem()
    assert "not for a broker" in found
    assert "tls.key: it is not the unencrypted PEM key of tls.certificate" in found
    (home / "tls.crt").unlink()
    assert "tls.certificate: cannot read" in await problem()
    (home / "tls.crt").write_bytes(certificate)
    (home / "root.json").write_text("{}")
    assert "anchor: " in await problem()
    (home / "root.json").write_bytes(federation.root_envelope.to_bytes())
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", "wrong")
    assert "audit.keystore: the passphrase does not open" in await problem()
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", PASSPHRASE)
    assert await problem() == ""
    unreachable = federation.broker_toml(database="postgresql://u:secret@127.0.0.1:1/none")
    found = "\n".join(await check_config(unreachable, now))
    assert "database: cannot connect" in found
    assert "secret" not in found
    other = federation.broker_toml(federation="elsewhere")
    found = "\n".join(await check_config(other, now))
    assert "tls.certificate: it is of federation testshire, not elsewhere" in found
    assert "anchor: it is the root of testshire, not of elsewhere" in found

"""The broker's configuration: one TOML file into one frozen value. Unknown keys are refused.

Relative paths are relative to the configuration file.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from broker.matching.engine import Engine

PASSPHRASE_VARIABLE = "TALLYSTICK_PASSPHRASE"  # noqa: S105 - the name of a variable, not a passphrase
_LEVELS = ("debug", "info", "warning", "error")


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the place in it, and what to do."""


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files: the broker's certificate and key, and the federation's authority."""

    certificate: Path
    key: Path
    federation_ca: Path


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """Where the audit log's signing key is (a key URI) and the keystore with the key of its details."""

    key: str
    keystore: Path
    passphrase_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """A Dask scheduler (`tls://host:port`) and the PEM files by which both sides prove who they are."""

    address: str
    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class MatchingConfig:
    """How matching runs. `threads` 0 means all cores."""

    engine: Literal["threads", "dask"] = "threads"
    threads: int = 0
    max_candidate_pairs: int = 50_000_000
    block_rows: int = 32_768
    look_ups_per_minute: int = 120
    cluster: ClusterFiles | None = None

    def open_engine(self) -> Engine:
        """The engine that the configuration names."""
        if self.engine == "threads":
            from broker.matching.engine import ThreadsEngine

            return ThreadsEngine(self.threads or None)
        if self.cluster is None:
            raise ConfigError("[matching] engine = 'dask' needs a section [matching.cluster]")
        from broker.matching.dask_engine import DaskEngine
        from broker.matching.engine import ClusterConfig

        return DaskEngine.connect(
            ClusterConfig(
                address=self.cluster.address,
                ca_file=self.cluster.ca,
                cert_file=self.cluster.certificate,
                key_file=self.cluster.key,
            )
        )


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """From when on something looks like misuse, and is held until an officer has looked at it.

    An upload is held where a subject has `near_subjects` near variants within the same agency, or, in a
    one-to-one linkage, more than `near_percent` of the subjects have one; look-ups once one target is asked
    for in `look_up_variants` variants within a day; new links between two agencies once they grow
    `match_rate_factor` times as fast as the agencies' sizes explain, from `match_rate_links` links on.
    An agency sends at most `daily_turnover` times what it may hold in a day. Of what it replaced or withdrew
    within the day, the newest `replaced_rows` are remembered and compared with. In a day it asks for at most
    `rotations_per_day` new keys of a linkage, and for none while a key younger than `young_key_minutes` is
    being agreed; its first suspicion, and first report of a bad key, of the day is always heard.
    """

    near_subjects: int = 20
    near_percent: int = 20
    look_up_variants: int = 6
    look_ups_per_day: int = 5_000
    daily_turnover: int = 4
    replaced_rows: int = 200_000
    rotations_per_day: int = 3
    young_key_minutes: int = 10
    match_rate_factor: int = 2
    match_rate_links: int = 25


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """How much may wait for one recipient, and how long; never more than `protos.wire.limits` allows."""

    ttl_hours: int = 336
    waiting_messages: int = 20_000
    waiting_mebibytes: int = 512


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How to log: `format` is `json` or `columns`."""

    level: str = "info"
    format: Literal["json", "columns"] = "json"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """All that a broker needs to start."""

    federation: str
    data_dir: Path
    anchor: Path
    tls: TlsConfig
    audit: AuditConfig
    listen: str = "127.0.0.1:7443"
    database: str = field(default="", repr=False)
    metrics: str = ""
    reflection: bool = False
    shutdown_seconds: int = 10
    matching: MatchingConfig = MatchingConfig()
    relay: RelayConfig = RelayConfig()
    watch: WatchConfig = WatchConfig()
    log: LogConfig = LogConfig()

    @property
    def releases(self) -> Path:
        """Where `tallystick broker holds release` leaves its word for the running broker."""
        return self.data_dir / "releases"

    @property
    def database_url(self) -> str:
        """The database; a SQLite file in the data directory unless configured."""
        return self.database or f"sqlite:///{self.data_dir / 'broker.sqlite'}"


def passphrase(config: AuditConfig) -> str:
    """The keystore's passphrase: from the environment, else from the file named in the configuration.

    Raises:
        ConfigError: neither is there.
    """
    value = os.environ.get(PASSPHRASE_VARIABLE)
    if value:
        return value
    if config.passphrase_file is None:
        raise ConfigError(
            f"no passphrase for {config.keystore}: set {PASSPHRASE_VARIABLE} or [audit] passphrase_file"
        )
    try:
        return config.passphrase_file.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[audit] passphrase_file: cannot read it: {error}") from None


def load_config(path: Path) -> BrokerConfig:
    """The configuration in a TOML file.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown, missing or of the wrong type.
    """
    try:
        tree = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    return _Reader(path, tree).broker()


class _Reader:
    """Reads sections, refusing what it does not know and saying what was probably meant."""

    def __init__(self, path: Path, tree: Mapping[str, object]) -> None:
        self._file = path
        self._base = path.resolve().parent
        self._tree = tree

    def broker(self) -> BrokerConfig:
        top = _Section(self, "", self._tree)
        config = BrokerConfig(
            federation=top.text("federation"),
            data_dir=top.path("data_dir"),
            anchor=top.path("anchor"),
            tls=self._tls(top.section("tls")),
            audit=self._audit(top.section("audit")),
            listen=top.text("listen", "127.0.0.1:7443"),
            database=top.text("database", ""),
            metrics=top.text("metrics", ""),
            reflection=top.flag("reflection", default=False),
            shutdown_seconds=top.number("shutdown_seconds", 10, 0, 600),
            matching=self._matching(top.section("matching", required=False)),
            relay=self._relay(top.section("relay", required=False)),
            watch=self._watch(top.section("watch", required=False)),
            log=self._log(top.section("log", required=False)),
        )
        top.finish()
        for name in ("listen", "metrics"):
            address = getattr(config, name)
            if address:
                top.check(name, _is_address(address), "host:port")
        return config

    def _tls(self, section: _Section) -> TlsConfig:
        config = TlsConfig(section.path("certificate"), section.path("key"), section.path("federation_ca"))
        section.finish()
        return config

    def _audit(self, section: _Section) -> AuditConfig:
        keystore = section.path("keystore")
        key = section.text("key", f"keystore:{keystore}#audit")
        secret = section.path("passphrase_file") if "passphrase_file" in section else None
        section.finish()
        return AuditConfig(key, keystore, secret)

    def _matching(self, section: _Section) -> MatchingConfig:
        cluster = None
        if "cluster" in section:
            inner = section.section("cluster")
            cluster = ClusterFiles(
                inner.text("address"), inner.path("ca"), inner.path("certificate"), inner.path("key")
            )
            inner.finish()
        usual = MatchingConfig()
        config = MatchingConfig(
            engine="dask" if section.choice("engine", ("threads", "dask")) == "dask" else "threads",
            threads=section.number("threads", usual.threads, 0, 4096),
            max_candidate_pairs=section.number("max_candidate_pairs", usual.max_candidate_pairs, 1, 2**40),
            block_rows=section.number("block_rows", usual.block_rows, 64, 2**20),
            look_ups_per_minute=section.number("look_ups_per_minute", usual.look_ups_per_minute, 0, 10**6),
            cluster=cluster,
        )
        section.check(
            "engine", config.engine == "threads" or cluster is not None, "a section matching.cluster"
        )
        section.finish()
        return config

    def _relay(self, section: _Section) -> RelayConfig:
        usual = RelayConfig()
        config = RelayConfig(
            section.number("ttl_hours", usual.ttl_hours, 1, usual.ttl_hours),
            section.number("waiting_messages", usual.waiting_messages, 1, usual.waiting_messages),
            section.number("waiting_mebibytes", usual.waiting_mebibytes, 1, usual.waiting_mebibytes),
        )
        section.finish()
        return config

    def _watch(self, section: _Section) -> WatchConfig:
        usual = WatchConfig()
        config = WatchConfig(
            near_subjects=section.number("near_subjects", usual.near_subjects, 2, 10**6),
            near_percent=section.number("near_percent", usual.near_percent, 1, 100),
            look_up_variants=section.number("look_up_variants", usual.look_up_variants, 2, 10**6),
            look_ups_per_day=section.number("look_ups_per_day", usual.look_ups_per_day, 0, 10**9),
            daily_turnover=section.number("daily_turnover", usual.daily_turnover, 1, 1000),
            replaced_rows=section.number("replaced_rows", usual.replaced_rows, 1000, 10**8),
            rotations_per_day=section.number("rotations_per_day", usual.rotations_per_day, 1, 1000),
            young_key_minutes=section.number("young_key_minutes", usual.young_key_minutes, 0, 24 * 60),
            match_rate_factor=section.number("match_rate_factor", usual.match_rate_factor, 1, 1000),
            match_rate_links=section.number("match_rate_links", usual.match_rate_links, 1, 10**9),
        )
        section.finish()
        return config

    def _log(self, section: _Section) -> LogConfig:
        level = section.choice("level", _LEVELS, "info")
        style = section.choice("format", ("json", "columns"))
        section.finish()
        return LogConfig(level, "columns" if style == "columns" else "json")

    def error(self, place: str, message: str) -> ConfigError:
        return ConfigError(f"{self._file}: {place}: {message}")

    def resolved(self, text: str) -> Path:
        return self._base / Path(text).expanduser()


class _Section:
    """One table, with the names that were asked of it."""

    def __init__(self, reader: _Reader, name: str, values: Mapping[str, object]) -> None:
        self._reader = reader
        self._name = name
        self._values = values
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._values

    def section(self, key: str, *, required: bool = True) -> _Section:
        value = self._get(key, None if required else {})
        if not isinstance(value, dict):
            raise self._wrong(key, "must be a section")
        return _Section(self._reader, self._place(key), value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "must be text in quotes")
        return value

    def path(self, key: str) -> Path:
        return self._reader.resolved(self.text(key))

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default or allowed[0])
        if value not in allowed:
            raise self._wrong(key, f"must be one of {', '.join(allowed)}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "must be true or false")
        return value

    def number(self, key: str, default: int, least: int, most: int) -> int:
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._wrong(key, f"must be a whole number from {least} to {most}")
        return value

    def check(self, key: str, good: bool, expected: str) -> None:
        if not good:
            raise self._wrong(key, f"needs {expected}")

    def finish(self) -> None:
        """Refuses keys that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(self._asked))}"
                raise self._wrong(key, f"is not known{hint}")

    def _get(self, key: str, default: object) -> object:
        self._asked.add(key)
        if key in self._values:
            return self._values[key]
        if default is None:
            # A key that is missing is often one that is misspelt: say so rather than only that it is missing.
            near = difflib.get_close_matches(key, self._values.keys() - self._asked, 1)
            hint = f"; did you mean it by {near[0]}?" if near else ""
            raise self._wrong(key, f"is missing{hint}")
        return default

    def _place(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def _wrong(self, key: str, message: str) -> ConfigError:
        return self._reader.error(self._place(key), message)


def _is_address(text: str) -> bool:
    host, separator, port = text.rpartition(":")
    return bool(host and separator and port.isdigit() and int(port) < 65_536)

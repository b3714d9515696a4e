"""A node's configuration: one TOML file into a frozen value. Unknown keys are refused.

::

    [node]
    federation = "testshire"
    agency = "northmoor-police"
    data_dir = "data"                 # keys, certificates, database and socket; relative to this file
    database = "sqlite:///..."        # default: node.db in data_dir; or postgresql://...
    database_env = "NODE_DATABASE"    # instead of `database`: the environment variable that holds the URL
    mapping = "mapping.toml"          # what `check-mapping` checks
    control_socket = "/run/tallystick/control.sock"   # default: control/control.sock in data_dir

    [broker]
    target = "broker.example:8443"

    [tls]                             # defaults: tls.pem, tls-key.pem, federation-ca.pem in data_dir
    certificate = "..."
    private_key = "..."
    federation_ca = "..."

    [keys]
    keystore = "keys.json"            # default: in data_dir
    passphrase_file = "passphrase"    # else systemd's credential, TALLYSTICK_PASSPHRASE, or a prompt

    [upload]
    batch_rows = 4096
    decoys_percent = 0                # made-up subjects added to each upload, in percent of the subjects
    on_invalid_value = "drop"         # or "blank": encode the row without the value
    every_minutes = 0                 # how often to send what changed; 0: only when told

    [metrics]
    address = "127.0.0.1:9464"        # off unless given

    [log]
    level = "info"
    format = "json"                   # or "text"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from agency_node.errors import NodeConfigError
from agency_node.mapping_toml import MappingError, TomlFile, TomlTable
from policies.ids import AgencyId, FederationId, IdError
from protos.wire.channels import TlsIdentity
from protos.wire.limits import LIMITS
from protos.wire.terminal import ask_passphrase

OnInvalidValue = Literal["drop", "blank"]
_Id = TypeVar("_Id", FederationId, AgencyId)
_SECTIONS = ("node", "broker", "tls", "keys", "upload", "metrics", "log")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything that a node is told from outside. Paths are absolute."""

    federation: FederationId
    agency: AgencyId
    data_dir: Path
    database: str = field(repr=False)
    mapping: Path
    control_socket: Path
    broker_target: str
    certificate: Path
    private_key: Path
    federation_ca: Path
    keystore: Path
    passphrase_file: Path | None = None
    batch_rows: int = 4096
    decoys_percent: int = 0
    on_invalid_value: OnInvalidValue = "drop"
    sync_every_minutes: int = 0
    metrics_host: str = ""
    metrics_port: int = 0
    log_level: str = "info"
    log_json: bool = True

    @property
    def spool_dir(self) -> Path:
        """Where encodings wait while an upload is prepared; emptied at the start.

        Plaintext is there only in files without a name.
        """
        return self.data_dir / "spool"

    def tls_identity(self) -> TlsIdentity:
        """The certificate, key and authority for calls to the broker.

        Raises:
            NodeConfigError: a file is missing.
        """
        try:
            return TlsIdentity.load(self.certificate, self.private_key, self.federation_ca)
        except OSError as error:
            raise NodeConfigError(
                f"{error.filename}: cannot be read ({error.strerror}); has this node been enrolled?"
            ) from None

    def passphrase(self, environ: Mapping[str, str] = os.environ) -> str:
        """The keystore's passphrase: from the file, the service manager's credential, or as `ask_passphrase`.

        Raises:
            TerminalError: there is none, and nobody to ask. OSError: the file cannot be read.
        """
        return ask_passphrase(credential_file(self.passphrase_file, environ))


def credential_file(configured: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The configured passphrase file, else systemd's credential `passphrase`, if there is one."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if configured is None and folder and (Path(folder) / "passphrase").is_file():
        return Path(folder) / "passphrase"
    return configured


def load_config(path: Path, environ: Mapping[str, str] = os.environ) -> NodeConfig:
    """Reads a configuration file.

    Raises:
        NodeConfigError: with file, line and key of the first mistake.
    """
    try:
        return _read(TomlFile(path).root, path.absolute().parent, environ)
    except MappingError as error:
        raise NodeConfigError(str(error)) from None


def _read(root: TomlTable, here: Path, environ: Mapping[str, str]) -> NodeConfig:
    tables = {name: root.table(name) for name in _SECTIONS}
    root.finish()
    node, broker = tables["node"], tables["broker"]
    if node is None:
        raise root.fail("node", "is missing; it says which agency this is")
    if broker is None:
        raise root.fail("broker", "is missing; it says where the broker is")
    absent = root.absent()
    tls, keys = tables["tls"] or absent, tables["keys"] or absent
    upload, metrics, log = tables["upload"] or absent, tables["metrics"] or absent, tables["log"] or absent
    data_dir = here / node.text("data_dir", "data")
    host, port = _address(metrics, metrics.text("address", "")) if metrics.has("address") else ("", 0)
    policy: OnInvalidValue = upload.choice("on_invalid_value", ("drop", "blank"), "drop")
    passphrase_file = keys.text("passphrase_file", "") if keys.has("passphrase_file") else ""
    config = NodeConfig(
        federation=_id(node, "federation", FederationId),
        agency=_id(node, "agency", AgencyId),
        data_dir=data_dir,
        database=_database(node, data_dir, environ),
        mapping=here / node.text("mapping", "mapping.toml"),
        control_socket=_path(node, "control_socket", here, data_dir / "control" / "control.sock"),
        broker_target=_target(broker),
        certificate=_path(tls, "certificate", here, data_dir / "tls.pem"),
        private_key=_path(tls, "private_key", here, data_dir / "tls-key.pem"),
        federation_ca=_path(tls, "federation_ca", here, data_dir / "federation-ca.pem"),
        keystore=_path(keys, "keystore", here, data_dir / "keys.json"),
        passphrase_file=here / passphrase_file if passphrase_file else None,
        batch_rows=_within(upload, "batch_rows", 4096, 32, LIMITS.rows_per_batch),
        decoys_percent=_within(upload, "decoys_percent", 0, 0, 100),
        on_invalid_value=policy,
        sync_every_minutes=_within(upload, "every_minutes", 0, 0, 7 * 24 * 60),
        metrics_host=host,
        metrics_port=port,
        log_level=log.choice("level", ("debug", "info", "warning", "error"), "info"),
        log_json=log.choice("format", ("json", "text"), "json") == "json",
    )
    for table in tables.values():
        if table is not None:
            table.finish()
    return config


def _path(table: TomlTable, key: str, here: Path, default: Path) -> Path:
    return here / table.text(key, str(default))


def _id(table: TomlTable, key: str, kind: type[_Id]) -> _Id:
    try:
        return kind(table.text(key))
    except IdError as error:
        raise table.fail(key, f"is {error}") from None


def _database(node: TomlTable, data_dir: Path, environ: Mapping[str, str]) -> str:
    if node.has("database_env"):
        if node.has("database"):
            raise node.fail("database", "and database_env are both given; keep one")
        url = environ.get(node.text("database_env"), "")
        if not url:
            raise node.fail("database_env", "names an environment variable that is not set")
        return url
    return node.text("database", f"sqlite:///{data_dir / 'node.db'}")


def _target(broker: TomlTable) -> str:
    target = broker.text("target")
    host, separator, port = target.rpartition(":")
    if not separator or not host or not port.isdigit():
        raise broker.fail("target", "must be host:port, such as broker.example:8443")
    return target


def _address(metrics: TomlTable, address: str) -> tuple[str, int]:
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdigit():
        raise metrics.fail("address", "must be address:port, such as 127.0.0.1:9464")
    return host, int(port)


def _within(table: TomlTable, key: str, default: int, low: int, high: int) -> int:
    value = table.number(key, default)
    if not low <= value <= high:
        raise table.fail(key, f"must be from {low} to {high}")
    return value


def example_config(federation: str, agency: str, broker_target: str) -> str:
    """The file that `node init` writes."""
    return f"""\
# Tallystick agency node. `tallystick node check-config` says what is wrong with this file.

[node]
federation = "{federation}"
agency = "{agency}"
data_dir = "data"
mapping = "mapping.toml"

[broker]
target = "{broker_target}"

[upload]
batch_rows = 4096

[log]
level = "info"
format = "json"
"""

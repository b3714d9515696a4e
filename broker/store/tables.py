"""The tables of the SQL adapter. Times are whole seconds since 1970, handles and tokens raw bytes.

`broker/migrations` makes them; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

#: SQLite gives only plain INTEGER primary keys a number by itself.
Serial = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def _id(name: str, *, key: bool = False, length: int = 64) -> Column[str]:
    return Column(name, String(length), primary_key=key, nullable=False)


def _number(name: str, *, key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=False, autoincrement=False)


def _bytes(name: str, *, key: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, primary_key=key, nullable=False)


roots = Table("roots", metadata, _number("version", key=True), _bytes("envelope"))
registries = Table("registries", metadata, _number("version", key=True), _bytes("envelope"))

documents = Table(
    "documents",
    metadata,
    _id("hash", key=True),
    _id("kind", length=32),
    _id("subject"),
    _number("version"),
    _bytes("document"),
    Index(None, "kind", "subject", "version"),
)
document_parties = Table(
    "document_parties",
    metadata,
    Column("hash", String(64), ForeignKey("documents.hash"), primary_key=True),
    _number("position", key=True),
    _id("agency"),
    Index(None, "agency"),
)
document_parts = Table(
    "document_parts",
    metadata,
    Column("hash", String(64), ForeignKey("documents.hash"), primary_key=True),
    Column("event", Boolean, primary_key=True, nullable=False),
    _number("position", key=True),
    _bytes("envelope"),
)
statuses = Table(
    "statuses",
    metadata,
    Column("policy_hash", String(64), ForeignKey("documents.hash"), primary_key=True),
    _id("provider", key=True),
    _number("version"),
    _bytes("envelope"),
)

epochs = Table(
    "epochs",
    metadata,
    _id("linkage", key=True),
    _number("epoch", key=True),
    _id("state", length=16),
    _id("agreement_hash"),
    _id("schema_hash"),
    _number("created"),
    _id("opened_by"),
    _id("reason", length=16),
)
confirmations = Table(
    "confirmations",
    metadata,
    _id("linkage", key=True),
    _number("epoch", key=True),
    _id("agency", key=True),
    _bytes("transcript_hash"),
    _bytes("confirmation"),
)

uploads = Table(
    "uploads",
    metadata,
    _id("upload_id", key=True, length=128),
    _id("agency"),
    _id("linkage"),
    _number("epoch"),
    _id("mode", length=16),
    _number("row_count"),
    _number("touched"),
    _number("next_sequence"),
    _number("rows"),
    Column("committed", Boolean, nullable=False),
    _number("rows_held"),
    _number("withdrawn"),
    Index(None, "linkage", "epoch"),
    Index(None, "linkage", "agency"),
)
segments = Table(
    "segments",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    _id("linkage"),
    _number("epoch"),
    _id("agency"),
    _id("upload_id", length=128),
    _number("sequence"),
    _id("digest"),
    Column("live", Boolean, nullable=False),
    _number("rows"),
    _bytes("body"),
    _bytes("withdrawn"),
    Index(None, "linkage", "agency", "live", "epoch"),
    UniqueConstraint("upload_id", "sequence"),
    sqlite_autoincrement=True,
)
versions = Table(
    "versions",
    metadata,
    _id("linkage", key=True),
    _number("epoch", key=True),
    _id("agency", key=True),
    _number("version"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("run_id", String(64), nullable=False, unique=True),
    _id("linkage"),
    _number("epoch"),
    _id("data"),
    _id("state", length=16),
    _number("created"),
    _id("stage"),
    _number("done"),
    _number("total"),
    Column("message", Text, nullable=False),
    Index(None, "linkage", "id"),
)

pairs = Table(
    "pairs",
    metadata,
    _id("linkage", key=True),
    _id("first_agency", key=True),
    _bytes("first_handle", key=True),
    _id("second_agency", key=True),
    _bytes("second_handle", key=True),
    _id("strength", length=16),
    Index(None, "linkage", "second_agency", "second_handle"),
)
tokens = Table(
    "tokens",
    metadata,
    _bytes("token", key=True),
    _id("linkage"),
    _id("policy_hash"),
    _id("recipient"),
    _bytes("handle"),
    _id("counterpart"),
    _bytes("counterpart_handle"),
    _number("epoch"),
    _id("strength", length=16),
    _number("expires"),
    _number("told_until"),
    Column("named", Boolean, nullable=False),
    Column("passing", Boolean, nullable=False),
    Index(None, "linkage", "passing"),
    Index(None, "linkage", "recipient", "handle"),
    Index(None, "linkage", "counterpart", "counterpart_handle"),
)
events = Table(
    "events",
    metadata,
    _id("linkage", key=True),
    _id("recipient", key=True),
    _number("cursor", key=True),
    _id("kind", length=16),
    _bytes("token"),
    _bytes("handle"),
    _number("epoch"),
    _id("strength", length=16),
    Column("counterpart", String(64), nullable=True),
    _id("policy_hash"),
    _number("expires"),
    Index(None, "token"),
)
cursors = Table("cursors", metadata, _id("linkage", key=True), _id("recipient", key=True), _number("cursor"))

holds = Table(
    "holds",
    metadata,
    _id("hold_id", key=True),
    _id("kind", length=16),
    _id("linkage"),
    _id("agency"),
    _id("subject"),
    _number("created"),
    Column("reason", Text, nullable=False),
    Column("figures", Text, nullable=False),
    Column("released", BigInteger, nullable=True),
    Index(None, "linkage"),
)
rates = Table(
    "rates",
    metadata,
    _id("linkage", key=True),
    _id("first", key=True),
    _id("second", key=True),
    _number("links"),
    _number("first_subjects"),
    _number("second_subjects"),
)

mail = Table(
    "mail",
    metadata,
    Column("position", Serial, primary_key=True, autoincrement=True),
    _id("recipient"),
    _id("sender"),
    _id("message_id"),
    _id("purpose"),
    _id("digest"),
    _bytes("sealed"),
    _number("expires"),
    Column("handle", LargeBinary, nullable=True),
    Column("linkage", String(64), nullable=True),
    Column("epoch", BigInteger, nullable=True),
    Column("strength", String(16), nullable=True),
    Index(None, "recipient", "position"),
    Index(None, "recipient", "message_id"),
    Index(None, "expires"),
    sqlite_autoincrement=True,
)
seen = Table(
    "seen",
    metadata,
    _id("sender", key=True),
    _id("message_id", key=True),
    _id("digest"),
    _number("expires"),
    Index(None, "expires"),
)

leaves = Table("leaves", metadata, _number("index", key=True), _bytes("leaf"), _bytes("sealed"))
nodes = Table("nodes", metadata, _number("level", key=True), _number("index", key=True), _bytes("hash"))
checkpoints = Table("checkpoints", metadata, _number("size", key=True), _bytes("note"))

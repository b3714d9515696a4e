"""The tables of a node's database. Migrations in `agency_node/migrations` create them."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Points in time are whole seconds since 1970, UTC: both databases compare and index them alike.
TIME = sa.BigInteger

ROOTS = sa.Table(
    "roots",
    METADATA,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("envelope", sa.LargeBinary, nullable=False),
)

REGISTRIES = sa.Table(
    "accepted_registries",
    METADATA,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root_version", sa.BigInteger, nullable=False),
    # Null where a new root took the trust from the registry before it.
    sa.Column("envelope", sa.LargeBinary, nullable=True),
)

DOCUMENTS = sa.Table(
    "documents",
    METADATA,
    sa.Column("document_hash", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("accepted", TIME, nullable=False),
)

DOCUMENT_PARTS = sa.Table(
    "document_parts",
    METADATA,
    sa.Column(
        "document_hash",
        sa.String(64),
        sa.ForeignKey("documents.document_hash", ondelete="CASCADE"),
        primary_key=True,
    ),
    # "document", "statement" or "event"
    sa.Column("part", sa.String(16), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("envelope", sa.LargeBinary, nullable=False),
)

STATUSES = sa.Table(
    "statuses",
    METADATA,
    # A snapshot is about all policies of its provider.
    sa.Column("provider", sa.String(64), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("envelope", sa.LargeBinary, nullable=False),
)

EPOCHS = sa.Table(
    "epochs",
    METADATA,
    sa.Column("linkage_id", sa.String(64), primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("agreement_hash", sa.String(64), nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("updated", TIME, nullable=False),
)

# The highest epoch that was ever begun here: it outlives the keys.
EPOCH_MARKS = sa.Table(
    "epoch_marks",
    METADATA,
    sa.Column("linkage_id", sa.String(64), primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
)

HANDLES = sa.Table(
    "handles",
    METADATA,
    sa.Column("linkage_id", sa.String(64), primary_key=True),
    sa.Column("subject_id", sa.String(200), primary_key=True),
    sa.Column("handle", sa.LargeBinary(16), nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    # A decoy is a made-up subject: it has a handle, but stands for nobody.
    sa.Column("decoy", sa.Boolean, nullable=False, default=False),
    sa.Index("ix_handles_by_handle", "linkage_id", "handle", unique=True),
)

UPLOADS = sa.Table(
    "uploads",
    METADATA,
    sa.Column("upload_id", sa.String(64), primary_key=True),
    sa.Column("linkage_id", sa.String(64), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("schema_hash", sa.String(64), nullable=False),
    sa.Column("mode", sa.String(8), nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("batch_count", sa.BigInteger, nullable=False),
    sa.Column("sealed", sa.Boolean, nullable=False),
    sa.Index("ix_uploads_by_linkage", "linkage_id", "epoch"),
)

UPLOAD_BATCHES = sa.Table(
    "upload_batches",
    METADATA,
    sa.Column(
        "upload_id", sa.String(64), sa.ForeignKey("uploads.upload_id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    # The batch exactly as it goes over the wire.
    sa.Column("batch", sa.LargeBinary, nullable=False),
    # What becomes the handles' digests once the broker has committed: canonical JSON.
    sa.Column("digests", sa.LargeBinary, nullable=False),
)

LINKS = sa.Table(
    "links",
    METADATA,
    sa.Column("token", sa.LargeBinary(16), primary_key=True),
    sa.Column("linkage_id", sa.String(64), nullable=False),
    sa.Column("handle", sa.LargeBinary(16), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("counterpart", sa.String(64), nullable=True),
    sa.Column("strength", sa.String(16), nullable=False),
    sa.Column("policy_hash", sa.String(64), nullable=False),
    sa.Column("expires", TIME, nullable=False),
    sa.Index("ix_links_by_handle", "linkage_id", "handle"),
)

LINK_CURSORS = sa.Table(
    "link_cursors",
    METADATA,
    sa.Column("linkage_id", sa.String(64), primary_key=True),
    sa.Column("cursor", sa.BigInteger, nullable=False),
)

OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("message_id", sa.String(32), nullable=False, unique=True),
    sa.Column("agency", sa.String(64), nullable=True),
    sa.Column("link_token", sa.LargeBinary(16), nullable=True),
    sa.Column("purpose", sa.String(40), nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("expires", TIME, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("not_before", TIME, nullable=False),
    # Of the release that the message carries, when it was decided, and what it shows: all or none.
    sa.Column("release_hash", sa.String(64), nullable=True),
    sa.Column("decided", TIME, nullable=True),
    sa.Column("content", sa.String(64), nullable=True),
)

INBOX = sa.Table(
    "inbox",
    METADATA,
    sa.Column("sender", sa.String(64), primary_key=True),
    sa.Column("message_id", sa.String(32), primary_key=True),
    sa.Column("received", TIME, nullable=False),
)

"""The broker's first schema"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_checkpoints"),
    )
    op.create_table(
        "confirmations",
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("transcript_hash", sa.LargeBinary(), nullable=False),
        sa.Column("confirmation", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("linkage", "epoch", "agency", name="pk_confirmations"),
    )
    op.create_table(
        "cursors",
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("recipient", sa.String(length=64), nullable=False),
        sa.Column("cursor", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("linkage", "recipient", name="pk_cursors"),
    )
    op.create_table(
        "documents",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_documents"),
    )
    op.create_index(
        "ix_documents_kind_subject_version", "documents", ["kind", "subject", "version"], unique=False
    )
    op.create_table(
        "epochs",
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("agreement_hash", sa.String(length=64), nullable=False),
        sa.Column("schema_hash", sa.String(length=64), nullable=False),
        sa.Column("created", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("linkage", "epoch", name="pk_epochs"),
    )
    op.create_table(
        "events",
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("recipient", sa.String(length=64), nullable=False),
        sa.Column("cursor", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("strength", sa.String(length=16), nullable=False),
        sa.Column("counterpart", sa.String(length=64), nullable=True),
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("expires", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("linkage", "recipient", "cursor", name="pk_events"),
    )
    op.create_index("ix_events_token", "events", ["token"], unique=False)
    op.create_table(
        "leaves",
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("index", name="pk_leaves"),
    )
    op.create_table(
        "mail",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("recipient", sa.String(length=64), nullable=False),
        sa.Column("sender", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=True),
        sa.Column("linkage", sa.String(length=64), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("strength", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("position", name="pk_mail"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_mail_expires", "mail", ["expires"], unique=False)
    op.create_index("ix_mail_recipient_position", "mail", ["recipient", "position"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("level", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name="pk_nodes"),
    )
    op.create_table(
        "pairs",
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("first_agency", sa.String(length=64), nullable=False),
        sa.Column("first_handle", sa.LargeBinary(), nullable=False),
        sa.Column("second_agency", sa.String(length=64), nullable=False),
        sa.Column("second_handle", sa.LargeBinary(), nullable=False),
        sa.Column("strength", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint(
            "linkage", "first_agency", "first_handle", "second_agency", "second_handle", name="pk_pairs"
        ),
    )
    op.create_table(
        "registries",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_registries"),
    )
    op.create_table(
        "roots",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_roots"),
    )
    op.create_table(
        "runs",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.String(length=64), nullable=False),
        sa.Column("done", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("run_id", name="uq_runs_run_id"),
    )
    op.create_index("ix_runs_linkage_id", "runs", ["linkage", "id"], unique=False)
    op.create_table(
        "seen",
        sa.Column("sender", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("expires", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("sender", "message_id", name="pk_seen"),
    )
    op.create_index("ix_seen_expires", "seen", ["expires"], unique=False)
    op.create_table(
        "segments",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("upload_id", sa.String(length=128), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("withdrawn", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_segments"),
        sa.UniqueConstraint("upload_id", "sequence", name="uq_segments_upload_id_sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_segments_linkage_agency_live_epoch",
        "segments",
        ["linkage", "agency", "live", "epoch"],
        unique=False,
    )
    op.create_table(
        "tokens",
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("recipient", sa.String(length=64), nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("counterpart", sa.String(length=64), nullable=False),
        sa.Column("counterpart_handle", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("strength", sa.String(length=16), nullable=False),
        sa.Column("expires", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("named", sa.Boolean(), nullable=False),
        sa.Column("passing", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("token", name="pk_tokens"),
    )
    op.create_index("ix_tokens_linkage_passing", "tokens", ["linkage", "passing"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("upload_id", sa.String(length=128), nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("row_count", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("touched", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("next_sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rows", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("committed", sa.Boolean(), nullable=False),
        sa.Column("rows_held", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("upload_id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_linkage_epoch", "uploads", ["linkage", "epoch"], unique=False)
    op.create_table(
        "versions",
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("linkage", "epoch", "agency", name="pk_versions"),
    )
    op.create_table(
        "document_parties",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["hash"], ["documents.hash"], name="fk_document_parties_hash"),
        sa.PrimaryKeyConstraint("hash", "position", name="pk_document_parties"),
    )
    op.create_index("ix_document_parties_agency", "document_parties", ["agency"], unique=False)
    op.create_table(
        "document_parts",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("event", sa.Boolean(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["hash"], ["documents.hash"], name="fk_document_parts_hash"),
        sa.PrimaryKeyConstraint("hash", "event", "position", name="pk_document_parts"),
    )
    op.create_table(
        "statuses",
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["policy_hash"], ["documents.hash"], name="fk_statuses_policy_hash"),
        sa.PrimaryKeyConstraint("policy_hash", "provider", name="pk_statuses"),
    )


def downgrade() -> None:
    """Takes it back."""
    op.drop_table("statuses")
    op.drop_table("document_parts")
    op.drop_index("ix_document_parties_agency", table_name="document_parties")
    op.drop_table("document_parties")
    op.drop_table("versions")
    op.drop_index("ix_uploads_linkage_epoch", table_name="uploads")
    op.drop_table("uploads")
    op.drop_index("ix_tokens_linkage_passing", table_name="tokens")
    op.drop_table("tokens")
    op.drop_index("ix_segments_linkage_agency_live_epoch", table_name="segments")
    op.drop_table("segments")
    op.drop_index("ix_seen_expires", table_name="seen")
    op.drop_table("seen")
    op.drop_index("ix_runs_linkage_id", table_name="runs")
    op.drop_table("runs")
    op.drop_table("roots")
    op.drop_table("registries")
    op.drop_table("pairs")
    op.drop_table("nodes")
    op.drop_index("ix_mail_recipient_position", table_name="mail")
    op.drop_index("ix_mail_expires", table_name="mail")
    op.drop_table("mail")
    op.drop_table("leaves")
    op.drop_index("ix_events_token", table_name="events")
    op.drop_table("events")
    op.drop_table("epochs")
    op.drop_index("ix_documents_kind_subject_version", table_name="documents")
    op.drop_table("documents")
    op.drop_table("cursors")
    op.drop_table("confirmations")
    op.drop_table("checkpoints")

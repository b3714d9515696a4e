"""The node's first schema: trust, documents, keys, handles, uploads, links and mail"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.create_table(
        "documents",
        sa.Column("document_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("document_hash", name=op.f("pk_documents")),
    )
    op.create_table(
        "epochs",
        sa.Column("linkage_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("agreement_hash", sa.String(length=64), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("linkage_id", "epoch", name=op.f("pk_epochs")),
    )
    op.create_table(
        "handles",
        sa.Column("linkage_id", sa.String(length=64), nullable=False),
        sa.Column("subject_id", sa.String(length=200), nullable=False),
        sa.Column("handle", sa.LargeBinary(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("decoy", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("linkage_id", "subject_id", name=op.f("pk_handles")),
    )
    op.create_index("ix_handles_by_handle", "handles", ["linkage_id", "handle"], unique=True)
    op.create_table(
        "inbox",
        sa.Column("sender", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.String(length=32), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sender", "message_id", name=op.f("pk_inbox")),
    )
    op.create_table(
        "link_cursors",
        sa.Column("linkage_id", sa.String(length=64), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("linkage_id", name=op.f("pk_link_cursors")),
    )
    op.create_table(
        "links",
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("linkage_id", sa.String(length=64), nullable=False),
        sa.Column("handle", sa.LargeBinary(length=16), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("counterpart", sa.String(length=64), nullable=True),
        sa.Column("strength", sa.String(length=16), nullable=False),
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_links")),
    )
    op.create_index("ix_links_by_handle", "links", ["linkage_id", "handle"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("message_id", sa.String(length=32), nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=True),
        sa.Column("link_token", sa.LargeBinary(length=16), nullable=True),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_outbox")),
        sa.UniqueConstraint("message_id", name=op.f("uq_outbox_message_id")),
    )
    op.create_table(
        "registries",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_registries")),
    )
    op.create_table(
        "roots",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_roots")),
    )
    op.create_table(
        "statuses",
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_statuses")),
    )
    op.create_table(
        "uploads",
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("linkage_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("schema_hash", sa.String(length=64), nullable=False),
        sa.Column("mode", sa.String(length=8), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("batch_count", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", name=op.f("pk_uploads")),
    )
    op.create_index("ix_uploads_by_linkage", "uploads", ["linkage_id", "epoch"], unique=False)
    op.create_table(
        "document_parts",
        sa.Column("document_hash", sa.String(length=64), nullable=False),
        sa.Column("part", sa.String(length=16), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["document_hash"], ["documents.document_hash"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("document_hash", "part", "position", name=op.f("pk_document_parts")),
    )
    op.create_table(
        "upload_batches",
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch", sa.LargeBinary(), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.upload_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("upload_id", "sequence", name=op.f("pk_upload_batches")),
    )


def downgrade() -> None:
    """Takes it back."""
    op.drop_table("upload_batches")
    op.drop_table("document_parts")
    op.drop_index("ix_uploads_by_linkage", table_name="uploads")
    op.drop_table("uploads")
    op.drop_table("statuses")
    op.drop_table("roots")
    op.drop_table("registries")
    op.drop_table("outbox")
    op.drop_index("ix_links_by_handle", table_name="links")
    op.drop_table("links")
    op.drop_table("link_cursors")
    op.drop_table("inbox")
    op.drop_index("ix_handles_by_handle", table_name="handles")
    op.drop_table("handles")
    op.drop_table("epochs")
    op.drop_table("documents")

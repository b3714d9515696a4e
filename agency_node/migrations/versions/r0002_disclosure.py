"""Disclosure and audit: the log, requests, approvals, releases and break-glass"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_checkpoints")),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("peaks", sa.LargeBinary(), nullable=False),
        sa.Column("last_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_keys",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("subject_mac", sa.String(length=64), nullable=True),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_audit_keys")),
        sa.UniqueConstraint("subject_mac", name=op.f("uq_audit_keys_subject_mac")),
    )
    op.create_table(
        "audit_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_audit_nodes")),
    )
    op.create_table(
        "audit_witnesses",
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("whose", sa.String(length=8), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "whose", name=op.f("pk_audit_witnesses")),
    )
    op.create_table(
        "break_glass",
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("review_due", sa.BigInteger(), nullable=False),
        sa.Column("reviewed", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_break_glass")),
    )
    op.create_table(
        "disclosure_approvals",
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("request_hash", "position", name=op.f("pk_disclosure_approvals")),
    )
    op.create_table(
        "disclosure_releases",
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("release_hash", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("subject_mac", sa.String(length=64), nullable=False),
        sa.Column("link_mac", sa.String(length=64), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("purge_after", sa.BigInteger(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("direction", "release_hash", name=op.f("pk_disclosure_releases")),
    )
    op.create_index("ix_disclosure_releases_by_link", "disclosure_releases", ["link_mac"], unique=False)
    op.create_index("ix_disclosure_releases_by_subject", "disclosure_releases", ["subject_mac"], unique=False)
    op.create_index(
        "ix_disclosure_releases_due", "disclosure_releases", ["state", "purge_after"], unique=False
    )
    op.create_table(
        "disclosure_requests",
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("subject_mac", sa.String(length=64), nullable=True),
        sa.Column("link_mac", sa.String(length=64), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("approvals_needed", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(length=32), nullable=True),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("outcome", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("direction", "request_id", name=op.f("pk_disclosure_requests")),
    )
    op.create_index(
        "ix_disclosure_requests_by_day",
        "disclosure_requests",
        ["direction", "policy_hash", "created"],
        unique=False,
    )
    op.create_index(
        "ix_disclosure_requests_by_hash", "disclosure_requests", ["direction", "request_hash"], unique=True
    )
    op.create_index("ix_disclosure_requests_by_subject", "disclosure_requests", ["subject_mac"], unique=False)
    op.create_table(
        "audit_entries",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["audit_keys.key_id"],
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entries")),
    )
    op.create_index(op.f("ix_audit_entries_key_id"), "audit_entries", ["key_id"], unique=False)


def downgrade() -> None:
    """Takes it back."""
    op.drop_index(op.f("ix_audit_entries_key_id"), table_name="audit_entries")
    op.drop_table("audit_entries")
    op.drop_index("ix_disclosure_requests_by_subject", table_name="disclosure_requests")
    op.drop_index("ix_disclosure_requests_by_hash", table_name="disclosure_requests")
    op.drop_index("ix_disclosure_requests_by_day", table_name="disclosure_requests")
    op.drop_table("disclosure_requests")
    op.drop_index("ix_disclosure_releases_due", table_name="disclosure_releases")
    op.drop_index("ix_disclosure_releases_by_subject", table_name="disclosure_releases")
    op.drop_index("ix_disclosure_releases_by_link", table_name="disclosure_releases")
    op.drop_table("disclosure_releases")
    op.drop_table("disclosure_approvals")
    op.drop_table("break_glass")
    op.drop_table("audit_witnesses")
    op.drop_table("audit_nodes")
    op.drop_table("audit_keys")
    op.drop_table("audit_head")
    op.drop_table("audit_checkpoints")

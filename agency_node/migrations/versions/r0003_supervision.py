"""Supervision, conflicts of interest and pushed releases"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.add_column("disclosure_requests", sa.Column("case_mac", sa.String(length=64), nullable=True))
    op.create_index(
        "ix_disclosure_requests_by_officer",
        "disclosure_requests",
        ["direction", "officer", "created"],
        unique=False,
    )
    op.create_table(
        "supervision",
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("raised", sa.BigInteger(), nullable=False),
        sa.Column("signed_off", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_supervision")),
    )
    op.create_table(
        "conflicts_of_interest",
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("subject_mac", sa.String(length=64), nullable=False),
        sa.Column("declared", sa.BigInteger(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("officer", "subject_mac", name=op.f("pk_conflicts_of_interest")),
    )
    op.create_table(
        "pushes",
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("checked", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_pushes")),
    )


def downgrade() -> None:
    """Takes it back."""
    op.drop_table("pushes")
    op.drop_table("conflicts_of_interest")
    op.drop_table("supervision")
    op.drop_index("ix_disclosure_requests_by_officer", table_name="disclosure_requests")
    op.drop_column("disclosure_requests", "case_mac")

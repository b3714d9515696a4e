"""Recalls, which may come before what they take back"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.create_table(
        "recalls",
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("release_hash", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("recalled", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "release_hash", name=op.f("pk_recalls")),
    )


def downgrade() -> None:
    """Takes it back."""
    op.drop_table("recalls")

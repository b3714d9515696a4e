"""What is kept back on suspicion, and the figures to compare matching with"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.create_table(
        "holds",
        sa.Column("hold_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("created", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name="pk_holds"),
    )
    op.create_index("ix_holds_linkage", "holds", ["linkage"], unique=False)
    op.create_table(
        "rates",
        sa.Column("linkage", sa.String(length=64), nullable=False),
        sa.Column("first", sa.String(length=64), nullable=False),
        sa.Column("second", sa.String(length=64), nullable=False),
        sa.Column("links", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_subjects", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("second_subjects", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("linkage", "first", "second", name="pk_rates"),
    )


def downgrade() -> None:
    """Takes it back."""
    op.drop_table("rates")
    op.drop_index("ix_holds_linkage", table_name="holds")
    op.drop_table("holds")

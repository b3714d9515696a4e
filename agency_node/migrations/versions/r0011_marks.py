"""The highest epoch of each linkage, and when each peer's log was last shown to be what it was"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.create_table(
        "epoch_marks",
        sa.Column("linkage_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("linkage_id", name=op.f("pk_epoch_marks")),
    )
    op.create_table(
        "peer_logs",
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("valid", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("peer", name=op.f("pk_peer_logs")),
    )
    op.execute(
        "INSERT INTO epoch_marks (linkage_id, epoch) "
        "SELECT linkage_id, MAX(epoch) FROM epochs GROUP BY linkage_id"
    )


def downgrade() -> None:
    """Takes it back."""
    op.drop_table("peer_logs")
    op.drop_table("epoch_marks")

"""Which records came from other agencies"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.create_table(
        "received_records",
        sa.Column("record_mac", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("record_mac", name=op.f("pk_received_records")),
    )


def downgrade() -> None:
    """Takes it back."""
    op.drop_table("received_records")

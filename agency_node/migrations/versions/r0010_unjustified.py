"""Uses of break-glass that were found not justified"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.add_column("break_glass", sa.Column("unjustified", sa.BigInteger(), nullable=True))
    op.add_column("break_glass", sa.Column("cleared", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Takes it back."""
    op.drop_column("break_glass", "cleared")
    op.drop_column("break_glass", "unjustified")

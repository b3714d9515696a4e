"""Offers that wait for the recipient's evidence before something is pushed"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.add_column("pushes", sa.Column("offer_hash", sa.String(length=64), nullable=True))
    op.add_column("pushes", sa.Column("no_offer_before", sa.BigInteger(), nullable=True))
    op.create_index("ix_pushes_by_offer", "pushes", ["offer_hash"], unique=True)


def downgrade() -> None:
    """Takes it back."""
    op.drop_index("ix_pushes_by_offer", "pushes")
    op.drop_column("pushes", "no_offer_before")
    op.drop_column("pushes", "offer_hash")

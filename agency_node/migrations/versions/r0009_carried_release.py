"""Which release a waiting message carries, and when it was decided"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.add_column("outbox", sa.Column("release_hash", sa.String(length=64), nullable=True))
    op.add_column("outbox", sa.Column("decided", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Takes it back."""
    op.drop_column("outbox", "decided")
    op.drop_column("outbox", "release_hash")

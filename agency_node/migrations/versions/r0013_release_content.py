"""What a waiting release shows, to be compared with what would be released when it leaves"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change. What waits already has nothing to compare: it is decided anew."""
    op.add_column("outbox", sa.Column("content", sa.String(64), nullable=True))


def downgrade() -> None:
    """Takes it back."""
    op.drop_column("outbox", "content")

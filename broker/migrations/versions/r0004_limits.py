"""Who opened an epoch and why, what an upload withdraws, and how long a link is told to live"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_INDEXES = (("mail", ("recipient", "message_id")), ("uploads", ("linkage", "agency")))


def upgrade() -> None:
    """Makes the change."""
    op.add_column("epochs", sa.Column("opened_by", sa.String(64), nullable=False, server_default=""))
    op.add_column("epochs", sa.Column("reason", sa.String(16), nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("withdrawn", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("tokens", sa.Column("told_until", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE tokens SET told_until = expires")
    for table, columns in _INDEXES:
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns), unique=False)


def downgrade() -> None:
    """Takes it back."""
    for table, columns in reversed(_INDEXES):
        op.drop_index(f"ix_{table}_{'_'.join(columns)}", table_name=table)
    op.drop_column("tokens", "told_until")
    op.drop_column("uploads", "withdrawn")
    op.drop_column("epochs", "reason")
    op.drop_column("epochs", "opened_by")

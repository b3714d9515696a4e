"""Uses of break-glass by the direction of their request too"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEY = "pk_break_glass"


def upgrade() -> None:
    """Makes the change."""
    _rekey(["direction", "request_id"])


def downgrade() -> None:
    """Takes it back."""
    _rekey(["request_id"])


def _rekey(columns: list[str]) -> None:
    # SQLite changes a key by making the table anew.
    with op.batch_alter_table("break_glass") as table:
        table.drop_constraint(_KEY, type_="primary")
        table.create_primary_key(_KEY, columns)

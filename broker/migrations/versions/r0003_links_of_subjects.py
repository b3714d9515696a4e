"""Links found by their subjects, so that publishing and withdrawing need not read them all"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INDEXES = (
    ("pairs", ("linkage", "second_agency", "second_handle")),
    ("tokens", ("linkage", "recipient", "handle")),
    ("tokens", ("linkage", "counterpart", "counterpart_handle")),
)


def upgrade() -> None:
    """Makes the change."""
    for table, columns in _INDEXES:
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns), unique=False)


def downgrade() -> None:
    """Takes it back."""
    for table, columns in reversed(_INDEXES):
        op.drop_index(f"ix_{table}_{'_'.join(columns)}", table_name=table)

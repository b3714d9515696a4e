"""Which orders were carried out, and every declaration of a conflict of interest"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.create_table(
        "orders_carried_out",
        sa.Column("order_hash", sa.String(length=64), nullable=False),
        sa.Column("keep_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_hash", name=op.f("pk_orders_carried_out")),
    )
    _conflicts_by("officer", "subject_mac", "position")


def downgrade() -> None:
    """Takes it back; of several declarations the first stays."""
    op.execute("DELETE FROM conflicts_of_interest WHERE position > 0")
    _conflicts_by("officer", "subject_mac")
    op.drop_table("orders_carried_out")


def _conflicts_by(*key: str) -> None:
    """Makes the table anew under another key: SQLite changes none in place."""
    columns: list[sa.Column[object]] = [
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("subject_mac", sa.String(length=64), nullable=False),
        sa.Column("declared", sa.BigInteger(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
    ]
    if "position" in key:
        columns.insert(2, sa.Column("position", sa.Integer(), autoincrement=False, nullable=False))
    held = op.get_bind().execute(
        sa.text("SELECT officer, subject_mac, declared, wrapped FROM conflicts_of_interest")
    )
    rows = [{**row, "position": 0} if "position" in key else dict(row) for row in held.mappings()]
    op.drop_table("conflicts_of_interest")
    made = op.create_table(
        "conflicts_of_interest",
        *columns,
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_conflicts_of_interest")),
    )
    op.bulk_insert(made, rows)

"""Every registry that was accepted, in the order of acceptance, with the root that stood behind it"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the change."""
    op.create_table(
        "accepted_registries",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root_version", sa.BigInteger(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("position"),
    )
    op.execute(
        "INSERT INTO accepted_registries (position, root_version, envelope) "
        "SELECT 0, (SELECT COALESCE(MAX(version), 1) FROM roots), envelope FROM registries"
    )
    op.drop_table("registries")


def downgrade() -> None:
    """Takes it back: only the newest is kept, under the number of its acceptance."""
    op.create_table(
        "registries",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.execute(
        "INSERT INTO registries (version, envelope) SELECT position + 1, envelope FROM accepted_registries "
        "WHERE position = (SELECT MAX(position) FROM accepted_registries) AND envelope IS NOT NULL"
    )
    op.drop_table("accepted_registries")

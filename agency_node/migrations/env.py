"""Run by Alembic: migrates the connection that `agency_node.migrations.upgrade` hands over."""

from alembic import context

from agency_node.migrations import VERSION_TABLE
from agency_node.store.schema import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()

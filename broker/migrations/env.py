"""Run by Alembic: migrates the connection that `broker.migrations.upgrade` hands over."""

from alembic import context

from broker.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

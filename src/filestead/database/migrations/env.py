"""Alembic's entry point: runs the numbered migrations on the connection of `schema`, or prints their SQL."""

from typing import Any

from alembic import context

from filestead.database.indexes import metadata

options: dict[str, Any] = {
    "target_metadata": metadata,
    "render_as_batch": True,
    "transaction_per_migration": True,
    "transactional_ddl": True,
}

if context.is_offline_mode():
    context.configure(dialect_name="sqlite", literal_binds=True, **options)
else:
    context.configure(connection=context.config.attributes["connection"], **options)
with context.begin_transaction():
    context.run_migrations()

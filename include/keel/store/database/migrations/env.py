"""Alembic's entry point: runs on the connection, and so in the transaction, that `keel.store.database.migrations`
hands over.
"""

from __future__ import annotations

from alembic import context

from keel.store.database.migrations import VERSION_TABLE
from keel.store.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()

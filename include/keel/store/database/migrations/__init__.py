"""Migrate the schema. To change it: edit `tables.py`, add ``versions/vNNNN_….py`` and raise `HEAD`.

The views are no part of a revision: they are dropped before the first migration and made after the last one, so that a
migration may change what they read.

Alembic is imported only if there is something to migrate, because every task opens the store.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from keel.errors import ConfigError

HEAD = "0010"
VERSION_TABLE = "keel_alembic_version"
FOLDER = Path(__file__).parent
_ADVISORY_LOCK = 0x6B65656C  # "keel"


def migrate(engine: Engine) -> None:
    """Migrate the schema to `HEAD` in one transaction. Of several processes one migrates, and the others wait.

    Raises ConfigError for a schema that a newer Keel has written.
    """
    with engine.connect().execution_options(keel_read=True) as connection:
        if current_revision(connection) == HEAD:
            return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        revision = current_revision(connection)
        if revision != HEAD:
            upgrade(connection, revision)


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the schema, or None for an empty database."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return revision


def upgrade(connection: Connection, revision: str | None) -> None:
    """Run the migrations between ``revision`` and `HEAD` on ``connection``."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from keel.store.database.migrations import metric_views, reader

    config = Config()
    # ConfigParser interpolates %
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is not None and revision not in known:
        raise ConfigError(
            f"the store's schema is at revision {revision}, which this Keel (up to {HEAD}) does not know: "
            "a newer Keel has migrated it; upgrade Keel here too"
        )
    metric_views.drop(connection)
    command.upgrade(config, HEAD)
    if scripts.get_current_head() == HEAD:  # the views read the newest schema
        reader.restore(connection)

"""The user of a PostgreSQL database who may read the store's views and nothing else.

A view reads its tables with the rights of its owner, so the user needs none on them: no prediction, no label and no
feature is readable.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from keel.errors import ConfigError
from keel.store.database.migrations import metric_views

NAME = "keel_reader"
STATEMENT_SECONDS = 60
"""Longest time that a query of the user may take: a dashboard must not keep the store from its work."""


def grant(connection: Connection, name: str) -> bool:
    """Let a user read the views; False where the database is SQLite, or has no such user."""
    if connection.dialect.name != "postgresql" or not exists(connection, name):
        return False
    schema = connection.execute(text("SELECT current_schema()")).scalar()
    quoted, views = quote(connection, name), ", ".join(metric_views.names())
    connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {quote(connection, str(schema))} TO {quoted}")
    connection.exec_driver_sql(f"GRANT SELECT ON {views} TO {quoted}")
    return True


def restore(connection: Connection) -> list[str]:
    """Create the views again where some are gone, let the user read them, and return the names of those."""
    gone = metric_views.missing(connection)
    if gone:
        metric_views.create(connection)
        grant(connection, NAME)
    return gone


def prepare(connection: Connection, name: str, *, password: str | None, page: str | None) -> None:
    """Create a user where it is missing, set its password, and let it read the views. May run again.

    password: None: an existing user keeps its own.
    page: the address of Keel's page, which the dashboards ask for as the setting ``keel.page``.

    Raises
    ------
    ConfigError
        The store is SQLite; the user is missing and there is no password.

    """
    if connection.dialect.name != "postgresql":
        raise ConfigError("a store on SQLite has no users: whoever reads its file reads all of it")
    quoted = quote(connection, name)
    if not exists(connection, name):
        if not password:
            raise ConfigError(f"the database has no user {name}; set KEEL_READER_PASSWORD, and it is created")
        connection.exec_driver_sql(f"CREATE ROLE {quoted} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION")
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": f"{STATEMENT_SECONDS}s",
        **({"keel.page": page.rstrip("/")} if page else {}),
    }
    for setting, value in settings.items():
        connection.exec_driver_sql(f"ALTER ROLE {quoted} SET {setting} = {literal(value)}")
    if password:
        connection.exec_driver_sql(f"ALTER ROLE {quoted} PASSWORD {literal(password)}")
    grant(connection, name)


def exists(connection: Connection, name: str) -> bool:
    """Return whether the database server has a user of that name."""
    found = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name})
    return found.scalar() is not None


def quote(connection: Connection, name: str) -> str:
    """Return a name as SQL has it."""
    return connection.dialect.identifier_preparer.quote_identifier(name)


def literal(value: str) -> str:
    """Return a text as SQL has it, for statements that take no parameters.

    >>> literal("it's")
    "'it''s'"
    """
    escaped = value.replace("'", "''").replace("%", "%%")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in value else f"'{escaped}'"

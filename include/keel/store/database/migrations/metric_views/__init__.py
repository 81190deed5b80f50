"""The views that BI tools and Grafana read. docs/metrics.md documents every view and column.

Their names and columns are stable: a release adds some and keeps the rest. Each upgrade of the schema makes the views
again. A change here therefore needs a new revision, even an empty one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect

from keel.store.database.migrations.metric_views import alerts, checks, live, models, versions
from keel.store.database.migrations.metric_views.dialects import POSTGRESQL, SQLITE, View

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["PREFIX", "create", "drop", "missing", "names"]

PREFIX = "keel_"
"""How the name of every view begins, so that they stand together in a tool's list."""


def views(dialect_name: str) -> dict[str, View]:
    """Return the views by name, in an order in which they can be created."""
    dialect = SQLITE if dialect_name == "sqlite" else POSTGRESQL
    return {
        PREFIX + name: view
        for part in (checks, versions, alerts, live, models)
        for name, view in part.views(dialect).items()
    }


def names() -> tuple[str, ...]:
    """Return the names of all views."""
    return tuple(views("sqlite"))


def missing(connection: sa.Connection) -> list[str]:
    """Return the names of the views that the database does not have, such as after the loss of a table."""
    return sorted({*names()} - {*inspect(connection).get_view_names()})


def drop(connection: sa.Connection) -> None:
    """Drop the views that there are."""
    for name in reversed(names()):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")


def create(connection: sa.Connection) -> None:
    """Create the views, in place of earlier ones."""
    drop(connection)
    dialect = SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL
    for statement in dialect.prepare:
        connection.exec_driver_sql(statement)
    for name, view in views(connection.dialect.name).items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {view.sql()}")

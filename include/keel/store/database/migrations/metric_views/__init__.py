"""The views that BI tools and Grafana read. docs/metrics.md documents every view and column.

Their names and columns are stable: a release adds some and keeps the rest. A change here needs a migration that creates
the views again, as ``v0010_metric_views`` does. A migration that changes a column which a view reads drops the view
first, because PostgreSQL refuses the change otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect

from keel.store.database.migrations.metric_views import alerts, checks, live, models, versions
from keel.store.database.migrations.metric_views.dialects import POSTGRESQL, SQLITE, View

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["PREFIX", "create", "missing", "names"]

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


def create(connection: sa.Connection) -> None:
    """Create the views, in place of earlier ones."""
    dialect = SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL
    made = views(connection.dialect.name)
    for name in reversed(made):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
    for statement in dialect.prepare:
        connection.exec_driver_sql(statement)
    for name, view in made.items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {view.sql()}")

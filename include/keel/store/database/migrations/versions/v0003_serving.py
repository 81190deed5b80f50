"""Predictions name their entity, experiment and shadow; experiments; hourly sums of realised performance."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.sql.elements import quoted_name

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

HOUR = 3_600_000_000

ADDED: dict[str, sa.types.TypeEngine[Any]] = {
    "entity": sa.Text(),
    "experiment": sa.Text(),
    "shadow_version": sa.BigInteger(),
    "shadow_score": sa.Double(),
    "shadow_prediction": sa.Double(),
}


def upgrade() -> None:
    """Add columns to every model's table, and create the two new tables."""
    op.create_table(
        "experiments",
        sa.Column("experiment_id", sa.Text(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("champion", sa.BigInteger(), nullable=False),
        sa.Column("challenger", sa.BigInteger(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("outcome", sa.Text()),
    )
    op.create_index("experiments_by_model", "experiments", ["model", "started_at"])
    running = sa.text("status = 'running'")
    op.create_index(
        "one_running_experiment", "experiments", ["model"], unique=True, sqlite_where=running, postgresql_where=running
    )
    op.create_table(
        "realised",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("summed", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text()),
        sa.PrimaryKeyConstraint("model", "version", "hour"),
    )
    for model, table in op.get_bind().execute(sa.text("SELECT model, table_name FROM model_tables")).all():
        _add_columns(model, table)
        _mark_labelled_hours(model, table)


def _add_columns(model: str, table: str) -> None:
    connection = op.get_bind()
    columns = sa.text("SELECT column_name FROM model_columns WHERE model = :model")
    taken = {name.casefold(): name for name in connection.execute(columns, {"model": model}).scalars()}
    for name, kind in ADDED.items():
        if name in taken:  # a feature's column gives way, and is found again by its feature
            _rename(connection, model, table, taken[name], f"{name}_feature_of_{revision}")
        kind_sql = kind.compile(connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {_quoted(table)} ADD COLUMN {_quoted(name)} {kind_sql}")


def _mark_labelled_hours(model: str, name: str) -> None:
    """Mark each hour that has labels as one to be summed, but for those whose rows have expired."""
    tables = sa.table("model_tables", sa.column("model"), sa.column("expired_before", sa.BigInteger))
    columns: list[sa.ColumnClause[Any]] = [
        sa.column("id"),
        sa.column("time", sa.BigInteger),
        sa.column("version", sa.BigInteger),
    ]
    rows, labels = sa.table(quoted_name(name, True), *columns), sa.table("labels", sa.column("model"), sa.column("id"))
    hour = rows.c.time - (rows.c.time % HOUR + HOUR) % HOUR
    horizon = sa.select(tables.c.expired_before).where(tables.c.model == model).scalar_subquery()
    labelled = rows.join(labels, sa.and_(labels.c.model == model, labels.c.id == rows.c.id))
    found = sa.select(rows.c.version, hour).distinct().select_from(labelled)
    found = found.where(rows.c.version.is_not(None), hour >= sa.func.coalesce(horizon, hour))
    realised = sa.table("realised", *map(sa.column, ("model", "version", "hour", "revision", "summed", "n")))
    marks = [
        {"model": model, "version": version, "hour": at, "revision": 1, "summed": 0, "n": 0}
        for version, at in op.get_bind().execute(found)
    ]
    if marks:
        op.get_bind().execute(sa.insert(realised), marks)


def _quoted(name: str) -> str:
    return op.get_bind().dialect.identifier_preparer.quote_identifier(name)


def _rename(connection: sa.Connection, model: str, table: str, old: str, new: str) -> None:
    connection.exec_driver_sql(f"ALTER TABLE {_quoted(table)} RENAME COLUMN {_quoted(old)} TO {_quoted(new)}")
    connection.execute(
        sa.text("UPDATE model_columns SET column_name = :new WHERE model = :model AND column_name = :old"),
        {"new": new, "model": model, "old": old},
    )

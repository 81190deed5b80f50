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
    _add_columns()


def _add_columns() -> None:
    connection = op.get_bind()
    names = connection.execute(sa.text("SELECT model, table_name FROM model_tables")).all()
    columns = sa.text("SELECT column_name FROM model_columns WHERE model = :model")
    quote = connection.dialect.identifier_preparer.quote_identifier
    for model, table in names:
        taken = {name.casefold(): name for name in connection.execute(columns, {"model": model}).scalars()}
        for name, kind in ADDED.items():
            if name in taken:  # a feature's column gives way, and is found again by its feature
                _rename(connection, model, table, taken[name], f"{name}_feature_of_{revision}")
            kind_sql = kind.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} {kind_sql}")


def _rename(connection: sa.Connection, model: str, table: str, old: str, new: str) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    connection.exec_driver_sql(
        f"ALTER TABLE {quote(table)} RENAME COLUMN {quote(quoted_name(old, True))} TO {quote(new)}"
    )
    connection.execute(
        sa.text("UPDATE model_columns SET column_name = :new WHERE model = :model AND column_name = :old"),
        {"new": new, "model": model, "old": old},
    )

"""Arrival numbers of predictions and labels, and the tables of the live monitors."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ARRIVAL = "keel_arrival"


def upgrade() -> None:
    """Add the numbers, null for rows that are there, and their indexes; create the new tables."""
    op.create_table(
        "arrival_numbers",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("last", sa.BigInteger(), nullable=False),
    )
    op.add_column("labels", sa.Column("arrival", sa.BigInteger()))
    numbered = sa.text("arrival IS NOT NULL")
    op.create_index(
        "labels_by_arrival", "labels", ["model", "arrival"], sqlite_where=numbered, postgresql_where=numbered
    )
    for model, table in op.get_bind().execute(sa.text("SELECT model, table_name FROM model_tables")).all():
        _add_numbers(model, table)
    _create_monitors()
    _create_references()
    _create_alarms()
    op.create_table(
        "live_trajectory",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "started_at", "block"),
    )


def _add_numbers(model: str, table: str) -> None:
    connection = op.get_bind()
    columns = sa.text("SELECT column_name FROM model_columns WHERE model = :model")
    taken = {name.casefold(): name for name in connection.execute(columns, {"model": model}).scalars()}
    if ARRIVAL in taken:  # a feature's column gives way, and is found again by its feature
        _rename(connection, model, table, taken[ARRIVAL], f"{ARRIVAL}_feature_of_{revision}")
    connection.exec_driver_sql(f"ALTER TABLE {_quoted(table)} ADD COLUMN {_quoted(ARRIVAL)} BIGINT")
    index = _quoted(f"keel_arrival_{hashlib.sha256(table.encode()).hexdigest()[:12]}")
    connection.exec_driver_sql(
        f"CREATE INDEX {index} ON {_quoted(table)} (version, {ARRIVAL}) WHERE {ARRIVAL} IS NOT NULL"
    )


def _rename(connection: sa.Connection, model: str, table: str, old: str, new: str) -> None:
    connection.exec_driver_sql(f"ALTER TABLE {_quoted(table)} RENAME COLUMN {_quoted(old)} TO {_quoted(new)}")
    connection.execute(
        sa.text("UPDATE model_columns SET column_name = :new WHERE model = :model AND column_name = :old"),
        {"new": new, "model": model, "old": old},
    )


def _quoted(name: str) -> str:
    return op.get_bind().dialect.identifier_preparer.quote_identifier(name)


def _whole(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), **options)


def _create_monitors() -> None:
    op.create_table(
        "live_monitors",
        sa.Column("model", sa.Text(), primary_key=True),
        _whole("revision", nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False, server_default=sa.false()),
        _whole("version"),
        _whole("generation", nullable=False),
        _whole("started_at"),
        *(_whole(name, nullable=False) for name in ("predictions_until", "labels_until", "rows")),
        _whole("seen_until"),
        _whole("last_block_at"),
        sa.Column("state", sa.LargeBinary()),
        _whole("updated_at", nullable=False),
        _whole("stride", nullable=False),
    )


def _create_references() -> None:
    op.create_table(
        "live_references",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )


def _create_alarms() -> None:
    op.create_table(
        "live_alarms",
        sa.Column("alarm_id", sa.Text(), primary_key=True),
        sa.Column("model", sa.Text(), nullable=False),
        _whole("version", nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        *(_whole(name, nullable=False) for name in ("opened_at", "block", "since")),
        _whole("run_started_at"),
        _whole("rows_since", nullable=False),
        sa.Column("evidence", sa.Double()),
        sa.Column("bound", sa.Double()),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("judged_by", sa.Text()),
        sa.Column("verdict", sa.Text()),
        sa.Column("resume", sa.Text()),
        _whole("rings", nullable=False),
        _whole("last_ring_at"),
        sa.Column("ring_evidence", sa.Double()),
        _whole("ring_rows"),
    )
    op.create_index("live_alarms_by_model", "live_alarms", ["model", "opened_at"])
    is_open = sa.text("judged_by IS NULL")
    subject = ["model", "version", "kind", "subject"]
    op.create_index(
        "one_open_alarm", "live_alarms", subject, unique=True, sqlite_where=is_open, postgresql_where=is_open
    )

"""Create the small tables, and triggers that keep the ledger append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG, TEXT = sa.BigInteger(), sa.Text()
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

POSTGRESQL_TRIGGERS = (
    """CREATE FUNCTION keel_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION USING MESSAGE = 'the ledger is append-only: ' || TG_OP || ' refused',
                                   ERRCODE = 'integrity_constraint_violation';
       END $$""",
    """CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON ledger
       FOR EACH ROW EXECUTE FUNCTION keel_refuse_change()""",
    """CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger
       FOR EACH STATEMENT EXECUTE FUNCTION keel_refuse_change()""",
)
SQLITE_TRIGGERS = tuple(
    f"CREATE TRIGGER ledger_no_{event.lower()} BEFORE {event} ON ledger "
    f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {event} refused'); END"
    for event in ("UPDATE", "DELETE")
)


def upgrade() -> None:
    """Create every table."""
    create_prediction_tables()
    create_record_tables()
    create_lifecycle_tables()


def create_prediction_tables() -> None:
    """Create what goes with the per-model prediction tables."""
    op.create_table(
        "model_tables",
        sa.Column("model", TEXT, primary_key=True),
        sa.Column("table_name", TEXT, nullable=False, unique=True),
        sa.Column("expired_before", BIG),
    )
    op.create_table(
        "model_columns",
        *(sa.Column(name, TEXT, nullable=False) for name in ("model", "feature", "column_name", "kind")),
        sa.PrimaryKeyConstraint("model", "feature"),
        sa.UniqueConstraint("model", "column_name"),
    )
    op.create_table(
        "hours",
        sa.Column("model", TEXT, nullable=False),
        *(sa.Column(name, BIG, nullable=False) for name in ("version", "hour", "revision", "counted")),
        sa.PrimaryKeyConstraint("model", "version", "hour"),
    )
    for name, key in (("labels", ("model", "id")), ("label_conflicts", ("model", "id", "label"))):
        op.create_table(
            name,
            sa.Column("model", TEXT, nullable=False),
            sa.Column("id", TEXT, nullable=False),
            sa.Column("label", sa.Double(), nullable=False),
            sa.Column("observed_at", BIG, nullable=False),
            sa.PrimaryKeyConstraint(*key),
        )


def create_record_tables() -> None:
    """Create counts, reports, decisions and quarantines."""
    op.create_table(
        "counts",
        sa.Column("model", TEXT, nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("grid_id", TEXT, nullable=False),
        *(sa.Column(name, BIG, nullable=False) for name in ("hour", "revision", "n")),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "grid_id", "hour"),
    )
    op.create_table(
        "reports",
        sa.Column("report_id", TEXT, primary_key=True),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("version", BIG),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("window_start", BIG),
        sa.Column("window_end", BIG),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("created_at", BIG, nullable=False),
    )
    op.create_index("reports_by_model", "reports", ["model", "created_at"])
    op.create_table(
        "decisions",
        sa.Column("decision_id", TEXT, primary_key=True),
        sa.Column("model", TEXT, nullable=False),
        *(sa.Column(name, BIG) for name in ("version", "window_start", "window_end")),
        *(sa.Column(name, TEXT, nullable=False) for name in ("action", "sentence", "body")),
        sa.Column("run_id", TEXT),
        sa.Column("outcome", TEXT),
        sa.Column("created_at", BIG, nullable=False),
    )
    op.create_index("decisions_by_model", "decisions", ["model", "created_at"])
    op.create_table(
        "quarantines",
        sa.Column("model", TEXT, nullable=False),
        *(sa.Column(name, BIG, nullable=False) for name in ("start_at", "end_at", "decided_until")),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("model", "start_at", "end_at"),
    )


def create_lifecycle_tables() -> None:
    """Create deployments and the ledger."""
    op.create_table(
        "deployments",
        sa.Column("model", TEXT, primary_key=True),
        *(sa.Column(name, BIG) for name in ("production", "staging", "previous")),
        sa.Column("generation", BIG, nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
    )
    op.create_table(
        "ledger",
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("generation_from", BIG, nullable=False),
        sa.Column("generation_to", BIG, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("previous_hash", TEXT, nullable=False, unique=True),
        sa.Column("hash", TEXT, nullable=False, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_index("ledger_by_model", "ledger", ["model", "seq"])
    statements = SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else POSTGRESQL_TRIGGERS
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)

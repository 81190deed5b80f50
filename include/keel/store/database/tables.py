"""The tables of the store, except for the predictions, which have one table per model.

Those of alerts and of live monitors are in `alert_tables` and `live_tables`, in the same metadata: `keel.store` imports
them all. Times are BIGINT microseconds since the epoch, bodies are JSON text. A test in
`tests/unit/store/database/test_connections.py` compares the definitions with the migrations.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData()

# SQLite only numbers rows of an INTEGER primary key by itself
SEQUENCE = BigInteger().with_variant(Integer, "sqlite")

model_tables = Table(
    "model_tables",
    metadata,
    Column("model", Text, primary_key=True),
    Column("table_name", Text, nullable=False, unique=True),
    Column("expired_before", BigInteger),
    Column("target", Text),
)

model_columns = Table(
    "model_columns",
    metadata,
    Column("model", Text, nullable=False),
    Column("feature", Text, nullable=False),
    Column("column_name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    PrimaryKeyConstraint("model", "feature"),
    UniqueConstraint("model", "column_name"),
)

# Features without a column of their own, or no longer written to it. See `keel.store.predictions.packing`.
packed_features = Table(
    "packed_features",
    metadata,
    Column("model", Text, nullable=False),
    Column("feature", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("slot", BigInteger, nullable=False),
    PrimaryKeyConstraint("model", "feature"),
    UniqueConstraint("model", "kind", "slot"),
)

# An hour is dirty while revision > counted. Its row stays, so that no revision is used twice for an hour.
hours = Table(
    "hours",
    metadata,
    Column("model", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("hour", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("counted", BigInteger, nullable=False),
    PrimaryKeyConstraint("model", "version", "hour"),
)

labels = Table(
    "labels",
    metadata,
    Column("model", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("label", Double, nullable=False),
    Column("observed_at", BigInteger, nullable=False),
    Column("arrival", BigInteger),
    PrimaryKeyConstraint("model", "id"),
)
Index(
    "labels_by_arrival",
    labels.c.model,
    labels.c.arrival,
    sqlite_where=labels.c.arrival.is_not(None),
    postgresql_where=labels.c.arrival.is_not(None),
)

# The last arrival number that a model's predictions and labels have taken. Not in ``model_tables``, which is locked
# while columns are added: a writer that waited for it with its rows' table in use would deadlock.
arrivals = Table(
    "arrival_numbers",
    metadata,
    Column("model", Text, primary_key=True),
    Column("last", BigInteger, nullable=False),
)

label_conflicts = Table(
    "label_conflicts",
    metadata,
    Column("model", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("label", Double, nullable=False),
    Column("observed_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("model", "id", "label"),
)

# A label that a person replaced, with the one that replaced it. The row in ``labels`` holds the newest. Its time of
# observation stays: a correction does not change when the truth was known.
label_corrections = Table(
    "label_corrections",
    metadata,
    Column("model", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("corrected_at", BigInteger, nullable=False),
    Column("old_label", Double, nullable=False),
    Column("label", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("model", "id", "corrected_at"),
)

counts = Table(
    "counts",
    metadata,
    Column("model", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("grid_id", Text, nullable=False),
    Column("hour", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    PrimaryKeyConstraint("model", "version", "grid_id", "hour"),
)

reports = Table(
    "reports",
    metadata,
    Column("report_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", BigInteger),
    Column("kind", Text, nullable=False),
    Column("window_start", BigInteger),
    Column("window_end", BigInteger),
    Column("status", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("reports_by_model", "model", "created_at"),
    Index("reports_by_window", "model", "kind", "window_end"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", BigInteger),
    Column("window_start", BigInteger),
    Column("window_end", BigInteger),
    Column("action", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("run_id", Text),
    Column("outcome", Text),
    Column("created_at", BigInteger, nullable=False),
    Index("decisions_by_model", "model", "created_at"),
    Index("decisions_by_window", "model", "action", "window_end"),
)

# No two quarantines of a model about the same overlap. decided_until: the end of the window whose check decided on it.
# about: "data", or "labels", whose quarantine leaves the features of these rows in use.
quarantines = Table(
    "quarantines",
    metadata,
    Column("model", Text, nullable=False),
    Column("start_at", BigInteger, nullable=False),
    Column("end_at", BigInteger, nullable=False),
    Column("decided_until", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("released", Boolean, nullable=False, server_default=false()),
    Column("created_at", BigInteger, nullable=False),
    Column("about", Text, nullable=False, server_default="data"),
    PrimaryKeyConstraint("model", "start_at", "end_at", "about"),
)

deployments = Table(
    "deployments",
    metadata,
    Column("model", Text, primary_key=True),
    Column("production", BigInteger),
    Column("staging", BigInteger),
    Column("previous", BigInteger),
    Column("generation", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

# The last ledger row of a model that its aliases in MLflow include. See `keel.deployments.alias_sync`.
projections = Table(
    "projections",
    metadata,
    Column("model", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

# Experiments with plan, status and outcome, for the scoring service to poll. They follow from the ledger, which is
# authoritative. At most one runs per model: a unique index on model where status = 'running'.
experiments = Table(
    "experiments",
    metadata,
    Column("experiment_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("champion", BigInteger, nullable=False),
    Column("challenger", BigInteger, nullable=False),
    Column("plan", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("outcome", Text),
    Index("experiments_by_model", "model", "started_at"),
)
Index(
    "one_running_experiment",
    experiments.c.model,
    unique=True,
    sqlite_where=experiments.c.status == "running",
    postgresql_where=experiments.c.status == "running",
)

# Sums over the labelled predictions of an hour, by the predictions' time. A version's performance follows from them
# after its rows have expired. An hour is stale while revision > summed. body is null until the hour is first summed.
label_sums = Table(
    "realised",
    metadata,
    Column("model", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("hour", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("summed", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("body", Text),
    PrimaryKeyConstraint("model", "version", "hour"),
)

# Triggers refuse UPDATE and DELETE, and TRUNCATE on PostgreSQL: see the migrations.
ledger = Table(
    "ledger",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("model", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("generation_from", BigInteger, nullable=False),
    Column("generation_to", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous_hash", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False, unique=True),
    Index("ledger_by_model", "model", "seq"),
    sqlite_autoincrement=True,
)

# In place of a version's own reference of a column, until the next version: a drift that a person accepted.
accepted_references = Table(
    "accepted_references",
    metadata,
    Column("model", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("feature", Text, nullable=False),
    Column("window_start", BigInteger, nullable=False),
    Column("window_end", BigInteger, nullable=False),
    Column("grid_id", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("accepted_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("accepted_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("model", "version", "feature", "window_end"),
)

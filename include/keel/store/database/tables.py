"""The tables of the store, except for the predictions, which have one table per model.

Times are BIGINT microseconds since the epoch, bodies are JSON text. A test in
`tests/unit/store/database/test_connections.py` compares these definitions with the migrations.
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

# How far a model's live monitors have read, and their state. See `keel.store.live`.
live_monitors = Table(
    "live_monitors",
    metadata,
    Column("model", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("paused", Boolean, nullable=False, server_default=false()),
    Column("version", BigInteger),
    Column("generation", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("predictions_until", BigInteger, nullable=False),
    Column("labels_until", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("seen_until", BigInteger),
    Column("last_block_at", BigInteger),
    Column("state", LargeBinary),
    Column("updated_at", BigInteger, nullable=False),
    Column("stride", BigInteger, nullable=False),
)

# What a run of the monitors compares with. Apart from their state, because it does not change with each block.
live_references = Table(
    "live_references",
    metadata,
    Column("model", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

# judged_by and verdict are null while an alarm is open. resume: what a later run of its monitor takes over, as JSON.
# ring_evidence, ring_rows: what the alarm had when it last rang. run_started_at is null for a fault.
live_alarms = Table(
    "live_alarms",
    metadata,
    Column("alarm_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("run_started_at", BigInteger),
    Column("rows_since", BigInteger, nullable=False),
    Column("evidence", Double),
    Column("bound", Double),
    Column("sentence", Text, nullable=False),
    Column("judged_by", Text),
    Column("verdict", Text),
    Column("resume", Text),
    Column("rings", BigInteger, nullable=False),
    Column("last_ring_at", BigInteger),
    Column("ring_evidence", Double),
    Column("ring_rows", BigInteger),
    Index("live_alarms_by_model", "model", "opened_at"),
)
Index(
    "one_open_alarm",
    live_alarms.c.model,
    live_alarms.c.version,
    live_alarms.c.kind,
    live_alarms.c.subject,
    unique=True,
    sqlite_where=live_alarms.c.judged_by.is_(None),
    postgresql_where=live_alarms.c.judged_by.is_(None),
)

# A thinned record of each run of a model's monitors.
live_trajectory = Table(
    "live_trajectory",
    metadata,
    Column("model", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("model", "started_at", "block"),
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

# The life of each alert. At most one of a fingerprint is open.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("rank", Double, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("clear", BigInteger, nullable=False),
    Column("cleared_at", BigInteger),
    Column("fired_at", BigInteger),
    Column("resolved_at", BigInteger),
    Column("resolution", Text),
    Column("acknowledged_by", Text),
    Column("inhibited_by", Text),
    Column("silenced_by", Text),
    Column("told_severity", Text),
    Column("told_at", BigInteger),
    Column("message_id", Text),
    Column("updated_at", BigInteger, nullable=False),
    Index("alerts_by_model", "model", "first_seen"),
)
Index(
    "one_open_alert",
    alerts.c.fingerprint,
    unique=True,
    sqlite_where=alerts.c.resolved_at.is_(None),
    postgresql_where=alerts.c.resolved_at.is_(None),
)

# What happened to an alert, and who did it.
alert_events = Table(
    "alert_events",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("alert_id", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("alert_events_by_alert", "alert_id", "seq"),
)

# What has been applied already, so that a task that runs again changes nothing and sends nothing twice.
observations = Table(
    "observations",
    metadata,
    Column("observation_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("message_id", Text),
    Column("recorded_at", BigInteger, nullable=False),
    Index("observations_by_source", "model", "source", "at"),
)

# Warnings that wait for the next digest.
digest_entries = Table(
    "digest_entries",
    metadata,
    Column("entry_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("alert_id", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("message_id", Text),
    Index("digest_entries_by_model", "model", "at"),
)

# The outbox: messages, to whom each goes by which channel, and every try. follows: the deliveries that come first, of
# messages that this one answers to; in_order: whether it waits until they are finished, or only until each was tried.
messages = Table(
    "messages",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("message_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("tries", BigInteger, nullable=False),
    Column("next_try_at", BigInteger),
    Column("leased_until", BigInteger),
    Column("lease", Text),
    Column("follows", Text),
    Column("in_order", Boolean, nullable=False),
    Column("answer", Text),
    Column("reference", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    UniqueConstraint("message_id", "channel", "recipient"),
    Index("deliveries_by_state", "state", "next_try_at"),
)

delivery_tries = Table(
    "delivery_tries",
    metadata,
    Column("delivery_id", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("answer", Text, nullable=False),
    Column("milliseconds", BigInteger, nullable=False),
    PrimaryKeyConstraint("delivery_id", "number"),
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

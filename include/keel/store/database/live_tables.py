"""The tables of the live monitors. See `keel.store.live`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, LargeBinary, PrimaryKeyConstraint, Table, Text, false

from keel.store.database.tables import metadata

# How far a model's live monitors have read, and their state.
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

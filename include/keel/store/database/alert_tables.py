"""The tables of alerts and of the outbox."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from keel.store.database.tables import SEQUENCE, metadata

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
    Column("told_episode", Text),
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

# What has been applied already, so that a task that runs again changes nothing and sends nothing twice. kinds: what it
# found something of, or was able to judge, so that an older window does not speak of it again.
observations = Table(
    "observations",
    metadata,
    Column("observation_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kinds", Text, nullable=False),
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

# The outbox: messages, to whom each goes by which channel, and every try. follows: the deliveries for which this one
# waits, of messages that it answers to. tells: fingerprints of the alerts that an incident is kept of.
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
    Column("tells", Text),
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

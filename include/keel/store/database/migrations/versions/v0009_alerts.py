"""Alerts, their messages, and the references of accepted drifts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _text(name: str, *, nullable: bool = False, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable, primary_key=primary_key)


def _optional(name: str) -> sa.Column[str]:
    return _text(name, nullable=True)


def _whole(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def upgrade() -> None:
    """Create the tables."""
    _create_alerts()
    _create_outbox()
    op.create_table(
        "accepted_references",
        _text("model"),
        _whole("version"),
        _text("feature"),
        _whole("window_start"),
        _whole("window_end"),
        _text("grid_id"),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        _text("accepted_by"),
        _text("reason"),
        _whole("accepted_at"),
        sa.PrimaryKeyConstraint("model", "version", "feature", "window_end"),
    )


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        _text("alert_id", primary_key=True),
        *map(_text, ("fingerprint", "model", "kind", "subject", "severity", "state", "sentence", "evidence")),
        sa.Column("rank", sa.Double(), nullable=False),
        *map(_whole, ("first_seen", "last_seen", "seen", "clear")),
        _whole("cleared_at", nullable=True),
        _whole("fired_at", nullable=True),
        _whole("resolved_at", nullable=True),
        *map(_optional, ("resolution", "acknowledged_by", "inhibited_by", "silenced_by")),
        *map(_optional, ("told_severity", "told_episode")),
        _whole("told_at", nullable=True),
        _optional("message_id"),
        _whole("updated_at"),
    )
    op.create_index("alerts_by_model", "alerts", ["model", "first_seen"])
    is_open = sa.text("resolved_at IS NULL")
    op.create_index(
        "one_open_alert", "alerts", ["fingerprint"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_table(
        "alert_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        _text("alert_id"),
        _whole("at"),
        *map(_text, ("event", "actor", "detail")),
    )
    op.create_index("alert_events_by_alert", "alert_events", ["alert_id", "seq"])
    op.create_table(
        "observations",
        _text("observation_id", primary_key=True),
        *map(_text, ("model", "source")),
        _whole("at"),
        _text("kinds"),
        _optional("message_id"),
        _whole("recorded_at"),
    )
    op.create_index("observations_by_source", "observations", ["model", "source", "at"])
    op.create_table(
        "digest_entries",
        _text("entry_id", primary_key=True),
        *map(_text, ("model", "alert_id")),
        *map(_whole, ("at", "recorded_at")),
        _text("body"),
        _optional("message_id"),
    )
    op.create_index("digest_entries_by_model", "digest_entries", ["model", "at"])


def _create_outbox() -> None:
    op.create_table(
        "messages",
        _text("message_id", primary_key=True),
        *map(_text, ("model", "severity", "body")),
        _whole("created_at"),
    )
    op.create_table(
        "deliveries",
        _text("delivery_id", primary_key=True),
        *map(_text, ("message_id", "model", "channel", "recipient", "state")),
        _whole("tries"),
        _whole("next_try_at", nullable=True),
        _whole("leased_until", nullable=True),
        *map(_optional, ("lease", "follows", "tells", "answer", "reference")),
        _whole("created_at"),
        _whole("finished_at", nullable=True),
        sa.UniqueConstraint("message_id", "channel", "recipient"),
    )
    op.create_index("deliveries_by_state", "deliveries", ["state", "next_try_at"])
    op.create_table(
        "delivery_tries",
        _text("delivery_id"),
        _whole("number"),
        _whole("at"),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        _text("answer"),
        _whole("milliseconds"),
        sa.PrimaryKeyConstraint("delivery_id", "number"),
    )

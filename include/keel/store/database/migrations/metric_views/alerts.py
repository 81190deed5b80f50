"""Alerts, what happened to them, and what people were sent."""

from __future__ import annotations

from keel.store.database.migrations.metric_views.dialects import Dialect, View


def views(d: Dialect) -> dict[str, View]:
    """Return the views by name, without the prefix."""
    return {"alerts": _alerts(d), "alert_events": _alert_events(d), "deliveries": _deliveries(d)}


def _alerts(d: Dialect) -> View:
    columns = {
        "alert_id": "a.alert_id",
        "fingerprint": "a.fingerprint",
        "model": "a.model",
        "kind": "a.kind",
        "subject": "a.subject",
        "severity": "a.severity",
        "state": "a.state",
        "is_open": "(a.resolved_at IS NULL)",
        "sentence": "a.sentence",
        "first_seen": d.time("a.first_seen"),
        "last_seen": d.time("a.last_seen"),
        "fired_at": d.time("a.fired_at"),
        "told_at": d.time("a.told_at"),
        "resolved_at": d.time("a.resolved_at"),
        "open_hours": "CAST(coalesce(a.resolved_at, a.last_seen) - a.first_seen AS DOUBLE PRECISION) / 3.6e9",
        "times_seen": "a.seen",
        "acknowledged_by": "a.acknowledged_by",
        "is_silenced": "(a.silenced_by IS NOT NULL)",
        "explained_by": "a.inhibited_by",
        "resolution": "a.resolution",
    }
    return View(columns, "FROM alerts a")


def _alert_events(d: Dialect) -> View:
    columns = {
        "seq": "e.seq",
        "alert_id": "e.alert_id",
        "model": "a.model",
        "kind": "a.kind",
        "subject": "a.subject",
        "severity": "a.severity",
        "happened_at": d.time("e.at"),
        "event": "e.event",
        "actor": "e.actor",
    }
    return View(columns, "FROM alert_events e JOIN alerts a ON a.alert_id = e.alert_id")


def _deliveries(d: Dialect) -> View:
    body, json = d.body("m.body", "b")
    columns = {
        "delivery_id": "v.delivery_id",
        "message_id": "v.message_id",
        "model": "v.model",
        "topic": d.text(json, "topic"),
        "severity": "m.severity",
        "subject": d.text(json, "subject"),
        "channel": "v.channel",
        "state": "v.state",
        "tries": "v.tries",
        "created_at": d.time("v.created_at"),
        "finished_at": d.time("v.finished_at"),
        "seconds": "CAST(v.finished_at - v.created_at AS DOUBLE PRECISION) / 1e6",
        "answer": "v.answer",
    }
    return View(columns, f"FROM deliveries v JOIN messages m ON m.message_id = v.message_id {body}")

"""The live monitors: how far they have read, their evidence over time, and their alarms."""

from __future__ import annotations

from keel.store.database.migrations.metric_views.dialects import Dialect, View


def views(d: Dialect) -> dict[str, View]:
    """Return the views by name, without the prefix."""
    return {"live_monitors": _live_monitors(d), "live_evidence": _live_evidence(d), "live_alarms": _live_alarms(d)}


def _live_monitors(d: Dialect) -> View:
    columns = {
        "model": "m.model",
        "version": "m.version",
        "is_paused": "m.paused",
        "started_at": d.time("m.started_at"),
        "rows_read": "m.rows",
        "read_until": d.time("m.seen_until"),
        "last_block_at": d.time("m.last_block_at"),
        "open_alarms": "(SELECT count(*) FROM live_alarms a WHERE a.model = m.model AND a.judged_by IS NULL)",
    }
    return View(columns, "FROM live_monitors m")


def _live_evidence(d: Dialect) -> View:
    body, json = d.body("t.body", "b")
    columns = {
        "model": "t.model",
        "started_at": d.time("t.started_at"),
        "block": "t.block",
        "block_end": d.time("t.at"),
        "kind": d.before("f.key", ":"),
        "subject": d.after("f.key", ":"),
        "evidence": d.number("f.value"),
    }
    return View(columns, f"FROM live_trajectory t {body} {d.each(json, alias='f')}")


def _live_alarms(d: Dialect) -> View:
    columns = {
        "alarm_id": "a.alarm_id",
        "model": "a.model",
        "version": "a.version",
        "kind": "a.kind",
        "subject": "a.subject",
        "opened_at": d.time("a.opened_at"),
        "change_began_at": d.time("a.since"),
        "rows_since": "a.rows_since",
        "evidence": "a.evidence",
        "bound": "a.bound",
        "is_open": "(a.judged_by IS NULL)",
        "judged_by": "a.judged_by",
        "verdict": "a.verdict",
        "sentence": "a.sentence",
    }
    return View(columns, "FROM live_alarms a")

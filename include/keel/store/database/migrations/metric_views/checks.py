"""What the checks of a window measured: profile, drift, quality, labels, performance, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping

from keel.store.database.drift_tables import MEASURES, PROFILE, WINDOW_NUMBERS
from keel.store.database.migrations.metric_views.dialects import Dialect, View

WHOLE = "'all'"
"""The slice of what was measured on all rows of a window."""
Z = "1.959963984540054"
"""Standard errors from a value to the ends of its 95 % interval."""
DECIDED_BY_CHECK = "substr(d.decision_id, 1, 9) = 'decision-'"


def views(d: Dialect) -> dict[str, View]:
    """Return the views by name, without the prefix."""
    return {
        "checks": _checks(d),
        "decisions": _decisions(d),
        "drift": _drift(d),
        "drift_columns": _columns(d, "status", "severity", *MEASURES),
        "profile": _columns(d, *PROFILE),
        "quality": _quality(d),
        "quality_findings": _quality_findings(d),
        "labels": _labels(d),
        "performance": _performance(d),
        "performance_checks": _performance_checks(d),
        "hours": _hours(d),
        "quarantines": _quarantines(d),
    }


def report(d: Dialect) -> Mapping[str, str]:
    """Return the columns with which every view of a report begins; its table is ``r``."""
    return {
        "report_id": "r.report_id",
        "model": "r.model",
        "version": "r.version",
        "window_start": d.time("r.window_start"),
        "window_end": d.time("r.window_end"),
    }


def _checks(d: Dialect) -> View:
    kinds = ("quality", "labels", "drift", "performance")
    joins = " ".join(
        f"LEFT JOIN reports {kind} ON {kind}.model = d.model AND {kind}.kind = '{kind}'"
        f" AND {kind}.window_end = d.window_end AND {kind}.window_start = d.window_start"
        f" AND {kind}.version = d.version"
        for kind in kinds
    )
    outcome, json = d.body("d.outcome", "o")
    columns = {
        "decision_id": "d.decision_id",
        "model": "d.model",
        "version": "d.version",
        "window_start": d.time("d.window_start"),
        "window_end": d.time("d.window_end"),
        "checked_at": d.time("d.created_at"),
        "action": "d.action",
        "sentence": "d.sentence",
        "outcome": d.text(json, "outcome"),
        "run_id": "d.run_id",
        **{f"{kind}_status": f"{kind}.status" for kind in kinds},
    }
    return View(columns, f"FROM decisions d {outcome} {joins} WHERE {DECIDED_BY_CHECK}")


def _decisions(d: Dialect) -> View:
    body, json = d.body("d.body", "b")
    outcome, outcome_json = d.body("d.outcome", "o")
    columns = {
        "decision_id": "d.decision_id",
        "kind": d.before("d.decision_id", "-"),
        "model": "d.model",
        "version": "d.version",
        "window_start": d.time("d.window_start"),
        "window_end": d.time("d.window_end"),
        "decided_at": d.time("d.created_at"),
        "action": "d.action",
        "sentence": "d.sentence",
        "reason": d.text(json, "reason"),
        "requested_by": d.text(json, "requested_by"),
        "run_id": "d.run_id",
        "outcome": d.text(outcome_json, "outcome"),
        "outcome_sentence": d.text(outcome_json, "sentence"),
        "champion": d.whole(outcome_json, "champion"),
        "challenger": d.whole(outcome_json, "challenger"),
    }
    return View(columns, f"FROM decisions d {body} {outcome}")


AGAINST = "CASE w.kind WHEN 'consecutive' THEN 'previous' ELSE 'training' END"


def _drift_window(d: Dialect) -> Mapping[str, str]:
    return {
        "report_id": "w.report_id",
        "model": "w.model",
        "version": "w.version",
        "window_start": d.time("w.window_start"),
        "window_end": d.time("w.window_end"),
        "slice": WHOLE,
        "against": AGAINST,
    }


def _drift(d: Dialect) -> View:
    names = ("status", "n", *WINDOW_NUMBERS, "sentence")
    return View({**_drift_window(d), **{name: f"w.{name}" for name in names}}, "FROM drift_windows w")


def _columns(d: Dialect, *names: str) -> View:
    columns = {
        **_drift_window(d),
        "column_name": "c.column_name",
        "kind": "c.kind",
        "role": "c.role",
        "n": "w.n",
        **{name: f"c.{name}" for name in names},
    }
    return View(columns, "FROM drift_windows w JOIN drift_columns c ON c.report_id = w.report_id")


def _quality(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    columns = {
        **report(d),
        "status": "r.status",
        "n": d.whole(json, "n"),
        "quarantined_hours": d.whole(json, "quarantined", "hours"),
        "quarantined_rows": d.whole(json, "quarantined", "rows"),
        "sentence": d.text(json, "sentence"),
    }
    return View(columns, f"FROM reports r {body} WHERE r.kind = 'quality'")


def _quality_findings(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    columns = {
        **report(d),
        "column_name": d.text("f.value", "column"),
        "finding": d.text("f.value", "kind"),
        "status": d.text("f.value", "status"),
        "share": d.number("f.value", "share"),
        "q_value": d.number("f.value", "q_value"),
        "sentence": d.text("f.value", "sentence"),
    }
    return View(columns, f"FROM reports r {body} {d.items(json, 'findings', alias='f')} WHERE r.kind = 'quality'")


def _labels(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    columns = {
        **report(d),
        "status": "r.status",
        "n": d.whole(json, "n"),
        "due": d.whole(json, "due"),
        "coverage": d.number(json, "coverage"),
        "mean": d.number(json, "mean"),
        "mean_reference": d.number(json, "reference", "mean"),
        "late_share": d.number(json, "late_share"),
        "mean_delay_hours": d.number(json, "mean_delay_hours"),
    }
    return View(columns, f"FROM reports r {body} WHERE r.kind = 'labels'")


def _performance(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    value, error = d.number("m.value", "value"), d.number("m.value", "standard_error")
    # JSON paths are constants, so the holdout's value of the same metric is found by a join
    holdout = d.same(json, "reference", alias="h", key="m.key")
    columns = {
        **report(d),
        "slice": WHOLE,
        "metric": "m.key",
        "is_primary": f"(m.key = {d.text(json, 'metric')})",
        "status": "r.status",
        "value": value,
        "standard_error": error,
        "lower_95": f"{value} - {Z} * {error}",
        "upper_95": f"{value} + {Z} * {error}",
        "n": d.whole("m.value", "n"),
        "holdout": d.number("h.value", "value"),
        "holdout_standard_error": d.number("h.value", "standard_error"),
        "holdout_n": d.whole("h.value", "n"),
    }
    source = f"FROM reports r {body} {d.each(json, 'current', alias='m')} {holdout}"
    return View(columns, f"{source} WHERE r.kind = 'performance'")


def _performance_checks(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    numbers = ("increase", "standard_error", "p_value", "loss_change", "explained", "unexplained", "max_degradation")
    columns = {
        **report(d),
        "slice": WHOLE,
        "status": "r.status",
        "metric": d.text(json, "metric"),
        "n": d.whole(json, "n"),
        "due": d.whole(json, "due"),
        "label_rate": d.number(json, "label_rate"),
        **{name: d.number(json, name) for name in numbers},
        "long_run_value": d.number(json, "long_run", "value"),
        "long_run_increase": d.number(json, "long_run", "increase"),
        "long_run_lower_bound": d.number(json, "long_run", "lower_bound"),
        "long_run_n": d.whole(json, "long_run", "n"),
    }
    return View(columns, f"FROM reports r {body} WHERE r.kind = 'performance'")


def _hours(d: Dialect) -> View:
    # one grid a version: an accepted reference counts the same rows once more
    counted = "SELECT model, version, hour, max(n) AS n FROM counts GROUP BY model, version, hour"
    columns = {
        "model": "c.model",
        "version": "c.version",
        "hour": d.time("c.hour"),
        "predictions": "c.n",
        "labelled": "coalesce(s.n, 0)",
    }
    same = "s.model = c.model AND s.version = c.version AND s.hour = c.hour"
    return View(columns, f"FROM ({counted}) c LEFT JOIN realised s ON {same}")


def _quarantines(d: Dialect) -> View:
    columns = {
        "model": "q.model",
        "about": "q.about",
        "start_at": d.time("q.start_at"),
        "end_at": d.time("q.end_at"),
        "is_released": "q.released",
        "reason": "q.reason",
        "quarantined_at": d.time("q.created_at"),
    }
    return View(columns, "FROM quarantines q")

"""One row a model: what is deployed, what the last check found, and what is open."""

from __future__ import annotations

from keel.store.database.migrations.metric_views.checks import DECIDED_BY_CHECK
from keel.store.database.migrations.metric_views.dialects import Dialect, View


def views(d: Dialect) -> dict[str, View]:
    """Return the views by name, without the prefix."""
    return {"models": _models(d)}


def _last(kind: str) -> str:
    """Return a join with the newest report of a kind about the window of the last check."""
    same = " AND ".join(f"{kind}.{name} = d.{name}" for name in ("model", "version", "window_start", "window_end"))
    return f"LEFT JOIN reports {kind} ON {same} AND {kind}.kind = '{kind}'"


def _models(d: Dialect) -> View:
    check = (
        f"SELECT d.decision_id FROM decisions d WHERE d.model = m.model AND {DECIDED_BY_CHECK}"
        " ORDER BY d.created_at DESC LIMIT 1"
    )
    performance, performance_json = d.body("performance.body", "p")
    alerts = "SELECT count(*) FROM alerts a WHERE a.model = m.model AND a.state IN ('firing', 'acknowledged')"
    running = "SELECT e.experiment_id FROM experiments e WHERE e.model = m.model AND e.status = 'running'"
    columns = {
        "model": "m.model",
        "production_version": "m.production",
        "staging_version": "m.staging",
        "previous_version": "m.previous",
        "generation": "m.generation",
        "deployed_at": d.time("m.updated_at"),
        "last_check_at": d.time("d.created_at"),
        "last_window_start": d.time("d.window_start"),
        "last_window_end": d.time("d.window_end"),
        "last_action": "d.action",
        "last_sentence": "d.sentence",
        **{f"{kind}_status": f"{kind}.status" for kind in ("quality", "labels", "drift", "performance")},
        "share_drifted": "w.share_drifted",
        "impact": "w.impact",
        "metric": d.text(performance_json, "metric"),
        "performance_increase": d.number(performance_json, "increase"),
        "open_alerts": f"({alerts})",
        "open_errors": f"({alerts} AND a.severity IN ('error', 'critical'))",
        "running_experiment": f"({running})",
    }
    reports = " ".join(_last(kind) for kind in ("quality", "labels", "drift", "performance"))
    windows = "LEFT JOIN drift_windows w ON w.report_id = drift.report_id"
    source = f"FROM deployments m LEFT JOIN decisions d ON d.decision_id = ({check}) {reports} {windows} {performance}"
    return View(columns, source)

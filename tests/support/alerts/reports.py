"""Reports of a check, as they are stored, for the tests of what is found in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from keel.monitoring.records import (
    Action,
    DecisionRecord,
    StoredConsecutiveReport,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.window import Window

END = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(END - timedelta(days=7), END)
LEVEL = 0.004
"""The adjusted p-value from which the tests alert."""


def decision(action: str = Action.RAISE_ALERT, **changes: Any) -> DecisionRecord:
    values = {
        "decision_id": "decision-1",
        "model": "toy",
        "version": 3,
        "window": WINDOW,
        "action": action,
        "sentence": "Something is not as it was.",
    }
    return DecisionRecord.from_dict({**values, **changes})


def column(severity: str = "drift", *, q: float | None = 1e-9, role: str = "feature", **changes: Any) -> dict[str, Any]:
    excess = 0.01 if severity == "ok" else 0.31
    values = {
        "kind": "numeric",
        "role": role,
        "severity": severity,
        "status": severity,
        "q_value": q,
        "impact": 0.004,
        "measures": {"psi": {"value": excess + 0.02, "excess": excess}, "ks": {"statistic": 0.2}},
        "reasons": ["The distribution has changed."],
    }
    return {**values, **changes}


def drift(status: str = "ok", columns: dict[str, dict[str, Any]] | None = None, **changes: Any) -> StoredDriftReport:
    return StoredDriftReport.from_dict(_drift(status, columns, changes))


def against_previous(status: str, columns: dict[str, dict[str, Any]]) -> StoredConsecutiveReport:
    before = Window(WINDOW.start - timedelta(days=7), WINDOW.start)
    return StoredConsecutiveReport.from_dict(_drift(status, columns, {"previous": before, "n_previous": 900}))


def _drift(status: str, columns: dict[str, dict[str, Any]] | None, changes: dict[str, Any]) -> dict[str, Any]:
    features = {"wind": column("ok"), "score": column("ok", role="output")} if columns is None else columns
    values = {"n": 1_000, "share_drifted": 0.0, "psi_warn": 0.1, "psi_alert": 0.25, "alpha": 0.05}
    return {"status": status, "features": features, **values, **changes}


def fault(name: str = "wind", status: str = "broken", *, q: float | None = 1e-9, **changes: Any) -> dict[str, Any]:
    values = {"column": name, "status": status, "kind": "missing", "share": 0.6, "q_value": q}
    return {**values, "sentence": "60% of 1000 values are missing.", **changes}


def quality(status: str = "ok", *faults: dict[str, Any], quarantined: int = 0) -> StoredQualityReport:
    held = {"hours": quarantined, "rows": 20 * quarantined}
    return StoredQualityReport.from_dict({"status": status, "n": 1_000, "findings": faults, "quarantined": held})


def performance(status: str = "ok", **changes: Any) -> StoredPerformanceReport:
    judged = status in ("ok", "degraded")
    now = {"value": 0.2 if judged else None, "standard_error": 0.003, "n": 3_000}
    values = {
        "status": status,
        "metric": "brier",
        "n": 3_000 if judged else 0,
        "due": 3_100,
        "label_rate": 0.97,
        "current": {} if status in ("no_labels", "insufficient") else {"brier": now},
        "reference": {"brier": {"value": 0.15, "standard_error": 0.004, "n": 3_000}},
        "increase": 0.05 if judged else None,
        "p_value": 1e-6 if judged else None,
        "loss_change": 0.05 if judged else None,
        "explained": 0.01 if judged else None,
        "unexplained": 0.04 if judged else None,
        "max_degradation": 0.01,
        "alpha": 0.05,
    }
    return StoredPerformanceReport.from_dict({**values, **changes})


def long_run(**changes: Any) -> dict[str, Any]:
    values = {
        "since": "2026-01-01T00:00:00+00:00", "until": END.isoformat(), "n": 40_000, "value": 0.17, "increase": 0.02,
        "standard_error": 0.002, "lower_bound": 0.008, "level": 0.05, "unit": "day", "clusters": 59,
    }  # fmt: skip
    return {**values, **changes}


def label_fault(kind: str = "base_rate", status: str = "broken", **changes: Any) -> dict[str, Any]:
    span = {"start": "2026-02-22T00:00:00+00:00", "end": "2026-02-23T00:00:00+00:00"}
    return {"kind": kind, "status": status, **span, "n": 900, "sentence": "the base rate is 0.9", **changes}


def labels(status: str = "ok", *faults: dict[str, Any]) -> StoredLabelsReport:
    return StoredLabelsReport.from_dict({"status": status, "n": 3_000, "findings": faults})

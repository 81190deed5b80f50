"""The plain-dict forms of records and their storage, for callers that do not use records yet. Temporary."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keel.window import now_utc, times_of

if TYPE_CHECKING:
    from keel.monitoring.decision import Decision
    from keel.workspace import Workspace

Plain = dict[str, Any]
KINDS = ("quality", "drift", "performance")
"""The checks whose reports a decision rests on."""


def report_id(kind: str, counted: Mapping[str, Any]) -> str:
    """Return the identity of a report: the same model, version, kind and window give the same id."""
    parts = (counted["model"], str(counted["version"]), kind, counted["window"]["start"], counted["window"]["end"])
    return f"{kind}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"


def store_report(ws: Workspace, kind: str, counted: Mapping[str, Any], body: Plain, **summary: Any) -> Plain:
    """Store a report, and return its reference with what the next steps need of it."""
    identity = report_id(kind, counted)
    ws.store.reports.put(
        identity,
        counted["model"],
        counted["version"],
        kind,
        *times_of(counted["window"]),
        body["status"],
        body,
        now_utc(),
    )
    return {"report_id": identity, "kind": kind, "status": body["status"], **summary}


def request_id(model: str, what: str, run_id: str) -> str:
    """Return the identity of what a run asks for, whenever its tasks run."""
    return f"request-{hashlib.sha256('|'.join((model, what, run_id)).encode()).hexdigest()[:16]}"


def store_decision(
    ws: Workspace, identity: str, counted: Mapping[str, Any], decided: Decision, run_id: str, **more: Any
) -> Plain:
    """Store a decision with the run that made it, and ``more`` of what was asked for; return it."""
    decision = {
        "decision_id": identity, "model": counted["model"], "version": counted["version"],
        "window": dict(counted["window"]), "action": str(decided.action), "sentence": decided.sentence,
        "about": list(decided.about), **more,
    }  # fmt: skip
    ws.store.decisions.put(
        identity,
        counted["model"],
        counted["version"],
        *times_of(counted["window"]),
        decision["action"],
        decided.sentence,
        decision,
        run_id,
        now_utc(),
    )
    return decision


def outcome_of(name: str, decided: Mapping[str, Any], sentence: str, **more: Any) -> Plain:
    """Return what came of a decision, with the numbers of the comparison where there was one."""
    kept = ("decision_id", "model", "champion", "challenger", "metric", "champion_value", "challenger_value",
            "lower_bound", "improvement", "margin", "level", "n", "holdout", "prior_comparisons", "mlflow_run_id",
            "report_id", "verdict", "forced_by", "basis", "loss", "upper_bound", "experiment_id",
            "until")  # fmt: skip
    return {"outcome": name, "sentence": sentence, **{k: decided[k] for k in kept if k in decided}, **more}

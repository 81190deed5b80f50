"""The steps of a rollout as unit tests take them, and comparisons that are stored without comparing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel import rollout
from keel.window import now_utc
from tests.support.versions.cloned import NOW, TRAINED_UNTIL

if TYPE_CHECKING:
    from tests.support.versions.cloned import ClonedModel

BY = {"actor": "tests", "run_id": "run-1"}
"""Who takes the steps, in which run."""


def store_comparison(
    model: ClonedModel, verdict: str, *, champion: int | None = 1, challenger: int = 2, report_id: str = "", **more: Any
) -> str:
    """Store a comparison as `compare` does, and return its id."""
    report_id = report_id or f"comparison-{model.name}"
    improvement = {"pass": 0.04, "fail": -0.02}.get(verdict, 0.001)
    span = {"start": TRAINED_UNTIL.isoformat(), "end": NOW.isoformat()}
    body = {
        "decision_id": f"request-{model.name}",
        "model": model.name,
        "champion": champion,
        "challenger": challenger,
        "mlflow_run_id": None,
        "until": NOW.isoformat(),
        "forced_by": None,
        "requested_by": "requester",
        "verdict": verdict,
        "reason": f"improvement {improvement}",
        "sentence": f"Challenger {challenger}: {verdict}.",
        "metric": "brier",
        "n": 3_000,
        "n_left_out": {"total": 0},
        "champion_value": 0.2,
        "challenger_value": 0.2 - improvement,
        "improvement": improvement,
        "lower_bound": improvement - 0.01,
        "margin": 0.0,
        "level": 0.03,
        "alpha": 0.05,
        "holdout": span,
        "prior_comparisons": 0,
        "report_id": report_id,
        "champion_standard_error": 0.01,
        "challenger_standard_error": 0.01,
        "standard_error": 0.01,
        "also": {},
        "clusters": {"unit": "row"},
        "labels": {"newest": None, "balance": None},
        **more,
    }
    model.ws.store.reports.put(
        report_id, model.name, challenger, "comparison", TRAINED_UNTIL, NOW, verdict, body, now_utc()
    )
    return report_id


def promote(model: ClonedModel, report_id: str, **by: str) -> Any:
    return rollout.promote(model.ws, model.config, report_id, **{**BY, **by})


def stage(model: ClonedModel, report_id: str, **by: str) -> Any:
    return rollout.stage(model.ws, model.config, report_id, **{**BY, **by})

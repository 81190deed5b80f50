"""The result of a backtest of two policies, made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keel.reports.backtest.records import (
    BacktestComparison,
    BacktestCounts,
    BacktestDifference,
    BacktestEstimate,
    BacktestPolicy,
    BacktestResult,
    BacktestStep,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def step(number, **changes):
    """Return an uneventful step."""
    values = {
        "start": START + number * WEEK,
        "end": START + (number + 1) * WEEK,
        "version": 1,
        "rows": 700,
        "labels": 690,
        "action": "all_clear",
        "sentence": "All clear.",
        "quality": "ok",
        "drift": "ok",
        "performance": "ok",
        "production": 1,
    }
    return BacktestStep(**{**values, **changes})


def comparison(verdict="pass", **changes):
    values = {
        "champion": 1,
        "challenger": 2,
        "verdict": verdict,
        "improvement": 0.02,
        "lower_bound": 0.004 if verdict == "pass" else -0.004,
        "margin": 0.0,
        "n": 1_400,
        "sentence": "Challenger 2 against champion 1.",
    }
    return BacktestComparison(**{**values, **changes})


def policy(name, steps, *, value=0.2, differences=(), **counts):
    counted = dict.fromkeys(BacktestCounts.model_fields, 0) | {"steps": len(steps), **counts}
    estimate = BacktestEstimate(value=value, lower=value - 0.01, upper=value + 0.01, n=690)
    return BacktestPolicy(
        name=name,
        option=name,
        description=f"What {name} does.",
        steps=tuple(steps),
        intervals=(estimate,) * len(steps),
        metrics={"brier": estimate, "roc_auc": BacktestEstimate(value=None, n=0)},
        counts=BacktestCounts(**counted),
        differences=tuple(differences),
    )


def difference(value=0.012, *, lower=0.002, upper=0.022, against="never"):
    return BacktestDifference(
        against=against, value=value, lower=lower, upper=upper, n=2_070, clusters={"unit": "day", "count": 21}
    )


def result(*policies, **changes):
    """Return a result; without policies, of one that retrained twice and of one that never did."""
    kept = step(0, action="retrain", comparison=comparison("fail"), trained=True)
    promoted = step(1, action="retrain", comparison=comparison(), trained=True, promoted=2, production=2)
    default = policy(
        "default",
        [kept, promoted, step(2, version=2, production=2)],
        differences=[difference()],
        alerts=2,
        trainings=2,
        promotions=1,
        messages=2,
    )
    values = {
        "backtest_id": "0123456789ab",
        "model": "toy",
        "metric": "brier",
        "higher_is_better": False,
        "start": START,
        "end": START + 3 * WEEK,
        "every": "7d",
        "source": "the model's prediction log",
        "source_option": "store",
        "predictions": 2_100,
        "labelled": 2_070,
        "first_version": "Version 1 was trained on 4,800 rows.",
        "policies": policies or (default, policy("never", [step(0), step(1), step(2)], value=0.212)),
        "notes": ("Approvals are assumed.",),
        "release": "0.0.0",
    }
    return BacktestResult(**{**values, **changes})

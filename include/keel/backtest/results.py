"""Measure what policies did: each one's metric on the same rows, with all labels that are known today, and differences.

Decisions of a policy rest only on labels that were observed by then. Its result rests on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from keel.backtest.past import SOURCES
from keel.reports.backtest.records import (
    BacktestCounts,
    BacktestDifference,
    BacktestEstimate,
    BacktestPolicy,
    BacktestResult,
)
from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.losses import HIGHER_IS_BETTER, Scored, finite_rows
from keel.stats.metrics.paired import Clusters, Influence, improvement, influence, uncertainty
from keel.store.predictions.target_values import wanted

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from keel.backtest.past import Past, Recorded
    from keel.backtest.plan import Plan
    from keel.backtest.policies import Policy
    from keel.backtest.simulation import Scores
    from keel.reports.backtest.records import BacktestStep

    Times = NDArray[np.datetime64]
    Run = tuple[Sequence[BacktestStep], Sequence[Scores]]
    """The steps of a policy, and what it predicted in each."""

BASELINES = ("never", "always")
"""Policies that all others are compared with."""
LEVEL = 0.025
"""Of each side of an interval, which together has a confidence of 95 %."""
NOTES = (
    "A policy knows at each date only the labels that were observed by then. Its metric here rests on all labels that "
    "are known today.",
    "A row that was logged late counts at its own time.",
    "A version on probation is evaluated at the end of each step, and not every hour.",
    "Approvals are assumed to be given at once. Limits on latency and size do not decide, because the speed of this "
    "machine says nothing about the past.",
    "No person releases quarantined data or labels, reinstates a version or corrects a label.",
    "Predictions did not change what happened: the labels are those of the past under every policy.",
)


def measure(
    plan: Plan, past: Past, runs: Mapping[str, Run], *, backtest_id: str, recorded: Recorded, first_version: str
) -> BacktestResult:
    """Return the result of the runs of all policies, by name."""
    parts = [past.rows(start, end) for start, end in plan.steps]
    labels = [np.concatenate([np.empty(0), *(past.labels_of(each["id"]) for each in tables)]) for tables in parts]
    times = [_times(tables) for tables in parts]
    scored = {name: [_scored(*pair) for pair in zip(labels, run[1], strict=True)] for name, run in runs.items()}
    metric = plan.config.performance.metric
    everything = {name: _concatenated(parts) for name, parts in scored.items()}
    all_times = np.concatenate(times)
    policies = tuple(
        _policy(plan, policy, runs[policy.name][0], scored[policy.name], times, all_times, everything)
        for policy in plan.policies
    )
    return BacktestResult(
        backtest_id=backtest_id,
        model=plan.config.model,
        metric=metric,
        higher_is_better=metric in HIGHER_IS_BETTER,
        start=plan.start,
        end=plan.end,
        every=plan.shown_every,
        source=SOURCES[recorded.source],
        source_option=recorded.source,
        predictions=len(all_times),
        labelled=int(sum(np.isfinite(each).sum() for each in labels)),
        first_version=first_version,
        policies=policies,
        notes=_notes(plan, recorded),
        release=version("keel"),
    )


def _notes(plan: Plan, recorded: Recorded) -> tuple[str, ...]:
    count = recorded.impossible_labels
    if not count:
        return NOTES
    left_out = "1 label is" if count == 1 else f"{count:,} labels are"
    return (*NOTES, f"{left_out} left out, because a label is {wanted(plan.config.target.kind)}.")


def estimated(metric: str, rows: Scored, times: Times) -> BacktestEstimate:
    """Return a metric with its 95 % interval, by day-clustered errors, on the rows that have what it needs."""
    usable = finite_rows(metric, rows)
    n = int(usable.sum())
    found = influence(metric, rows.take(usable)) if n > 1 else Influence(float("nan"), np.empty(0))
    return BacktestEstimate(value=finite_or_none(found.value), n=n, **_interval(found, times[usable]))


def difference(metric: str, against: str, other: Scored, rows: Scored, times: Times) -> BacktestDifference:
    """Return how much better ``rows`` are than ``other``, the same rows under another policy."""
    usable = finite_rows(metric, rows) & finite_rows(metric, other)
    n = int(usable.sum())
    found = Influence(float("nan"), np.empty(0))
    if n > 1:
        found = improvement(metric, *(influence(metric, each.take(usable)) for each in (other, rows)))
        found = Influence(found.value + 0.0, found.contributions)  # not -0.0
    clusters = Clusters.of(times[usable]).to_dict() if n > 1 else {}
    interval = _interval(found, times[usable])
    return BacktestDifference(against=against, value=finite_or_none(found.value), n=n, clusters=clusters, **interval)


def _interval(found: Influence, times: Times) -> dict[str, float | None]:
    if not np.isfinite(found.contributions).all() or not np.isfinite(found.value):
        return {"lower": None, "upper": None}
    width = uncertainty(found.contributions, Clusters.of(times)).half_width(LEVEL)
    return {"lower": finite_or_none(found.value - width + 0.0), "upper": finite_or_none(found.value + width)}


def _policy(
    plan: Plan,
    policy: Policy,
    steps: Sequence[BacktestStep],
    scored: Sequence[Scored],
    times: Sequence[Times],
    all_times: Times,
    everything: Mapping[str, Scored],
) -> BacktestPolicy:
    performance = plan.config.performance
    mine = everything[policy.name]
    baselines = [name for name in BASELINES if name in everything and name != policy.name]
    return BacktestPolicy(
        name=policy.name,
        option=policy.option,
        description=policy.description,
        steps=tuple(steps),
        intervals=tuple(estimated(performance.metric, *pair) for pair in zip(scored, times, strict=True)),
        metrics={name: estimated(name, mine, all_times) for name in (performance.metric, *performance.extra_metrics)},
        counts=_counted(steps),
        differences=tuple(
            difference(performance.metric, name, everything[name], mine, all_times) for name in baselines
        ),
    )


def _counted(steps: Sequence[BacktestStep]) -> BacktestCounts:
    promotions = [step for step in steps if step.promoted is not None]
    return BacktestCounts(
        steps=len(steps),
        alerts=sum(step.action != "all_clear" for step in steps),
        messages=sum(step.messages for step in steps),
        trainings=sum(step.trained for step in steps),
        failed_trainings=sum(bool(step.failure) for step in steps),
        promotions=len(promotions),
        unproven=sum(step.comparison is not None and step.comparison.verdict != "pass" for step in promotions),
        rollbacks=sum(step.rolled_back is not None for step in steps),
    )


def _scored(label: NDArray[np.float64], scores: Scores) -> Scored:
    return Scored(label, scores.score, scores.prediction)


def _concatenated(parts: Sequence[Scored]) -> Scored:
    return Scored(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("label", "score", "prediction")))


def _times(tables: Sequence[pa.Table]) -> Times:
    each = (table["time"].to_numpy().astype("datetime64[us]") for table in tables)
    return np.concatenate([np.empty(0, "datetime64[us]"), *each])

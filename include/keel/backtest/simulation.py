"""One policy on the past, step by step: predict, observe labels, watch the new version, check, and act.

The steps are those of the DAGs ``<model>.watch_deployment``, ``<model>.drift_check`` and ``<model>.retrain``, in that
order, with the end of the interval as the present.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel import deployments, loop, rollout
from keel.alerts.digest import flush_digests
from keel.backtest.policies import ASSUMED
from keel.errors import InsufficientData, NotPromotable, TrainingFailed
from keel.monitoring.records import Action, DecisionRecord, Outcome, ProbationDecision
from keel.monitoring.storage import read_check_reports
from keel.reports.backtest.records import BacktestComparison, BacktestStep
from keel.stats.json_numbers import finite_or_none

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.backtest.past import Past
    from keel.backtest.policies import Policy
    from keel.config import ModelConfig
    from keel.monitoring.records import ComparisonRecord, TrainedVersion
    from keel.workspace import Workspace

ACTOR = "keel backtest"
CANNOT_TRAIN = (InsufficientData, TrainingFailed, NotPromotable)
"""Errors of one training, after which the model stays as it is, as when a task of Airflow fails."""


@dataclass(frozen=True)
class Scores:
    """What the version in production answered in one interval, in the order of `keel.backtest.past.Past.rows`."""

    score: NDArray[np.float64]
    prediction: NDArray[np.float64]


@dataclass
class Simulation:
    """A policy at work in a workspace of its own."""

    ws: Workspace
    config: ModelConfig
    """Under the policy."""
    policy: Policy
    past: Past
    training_seconds: float = field(default=0.0, init=False)
    _messages: int = field(default=0, init=False)

    def step(self, start: datetime, end: datetime, *, new_month: bool) -> tuple[BacktestStep, Scores]:
        """Take one step. Returns what happened, and what was predicted.

        new_month: whether this is the first step that ends in its calendar month.
        """
        self._messages, self.training_seconds = self._digests(end), 0.0
        version = self._production()
        scores, labels = self._predict(start, end, version), self._observe(start, end)
        run = f"{end:%Y-%m-%dT%H}"
        watched = self._watch(end, run) if self.policy.gate else None
        step = self._check(start, end, run, version=version, rows=len(scores.score), labels=labels)
        if self.policy.when == "step" or (self.policy.when == "month" and new_month):
            step = self._retrain_on_schedule(step, end, run)
        update: dict[str, Any] = {"production": self._production(), "messages": self._messages}
        if watched is not None and watched.branch != "no_action":
            update["probation"] = watched.sentence
            update["rolled_back"] = watched.version if watched.branch == "rollback" else None
        return step.model_copy(update=update), scores

    def _digests(self, now: datetime) -> int:
        """Write the digests that are due, and return their number."""
        return sum(bool(posted.deliveries) for posted in flush_digests(self.ws, [self.config], now=now))

    def _production(self) -> int:
        return deployments.production_version(self.ws.store, self.config.model)

    def _predict(self, start: datetime, end: datetime, version: int) -> Scores:
        """Store the predictions of an interval as the version in production answers them."""
        predictions, model = self.ws.predictions(self.config), self.ws.registry.load(self.config, version)
        found = [Scores(np.empty(0), np.empty(0))]
        for rows in self.past.rows(start, end):
            score, prediction = model.score(rows)
            found.append(Scores(score, prediction))
            predictions.append(
                rows.append_column("version", pa.array(np.full(rows.num_rows, version)))
                .append_column("score", pa.array(score, from_pandas=True))
                .append_column("prediction", pa.array(prediction, from_pandas=True))
            )
        return Scores(*(np.concatenate([getattr(each, name) for each in found]) for name in ("score", "prediction")))

    def _observe(self, start: datetime, end: datetime) -> int:
        """Store the labels that were observed in an interval, and return their number."""
        labels = self.past.observed(start, end)
        if labels.num_rows:
            self.ws.predictions(self.config).add_labels(labels)
        return labels.num_rows

    def _watch(self, end: datetime, run: str) -> ProbationDecision | None:
        """Evaluate a version on probation, as `keel.rollout.watch_deployment` does where no experiment runs."""
        decision = rollout.watch(self.ws, self.config, end=end, now=end, run_id=f"watch-{run}")
        outcome = None
        by = {"actor": ACTOR, "run_id": f"watch-{run}"}
        if decision.branch == "rollback":
            outcome = rollout.rollback(self.ws, self.config, decision.decision_id, now=end, **by)
        elif decision.branch == "confirm":
            outcome = rollout.confirm(self.ws, self.config, decision.decision_id, now=end, **by)
        if decision.branch != "no_action":
            self._notify(decision, outcome, now=end)
        return decision

    def _check(self, start: datetime, end: datetime, run: str, *, version: int, rows: int, labels: int) -> BacktestStep:
        """Check the window that ends now, decide and act."""
        ws = self.ws
        # Without its section ``retrain`` a model is only monitored, as one that is retrained by a calendar.
        config = self.config if self.policy.when == "check" else self.config.model_copy(update={"retrain": None})
        counted = loop.count_window(ws, config, loop.resolve_window(config, end=end, now=end))
        for check in (loop.check_data_quality, loop.check_data_drift, loop.check_performance):
            check(ws, config, counted)
        decision = loop.decide(ws, config, counted, run_id=f"check-{run}")
        reports = read_check_reports(ws, counted)
        step = BacktestStep(
            start=start,
            end=end,
            version=version,
            rows=rows,
            labels=labels,
            action=decision.action,
            sentence=decision.sentence,
            quality=reports.quality.status,
            drift=reports.drift.status,
            performance=reports.performance.status,
            drifted=tuple(reports.drift.names("drift")),
            production=version,
        )
        if decision.action is Action.RETRAIN:
            return self._retrain(step, decision, run)
        outcome = None
        if decision.action is Action.QUARANTINE:
            outcome = loop.quarantine(ws, config, decision, actor=ACTOR, run_id=f"check-{run}", now=end)
        self._notify(decision, outcome, now=end)
        return step

    def _retrain_on_schedule(self, step: BacktestStep, end: datetime, run: str) -> BacktestStep:
        window = loop.resolve_window(self.config, end=end, now=end)
        decision = loop.request_retrain(
            self.ws, self.config, window=window, reason=self.policy.description, run_id=f"retrain-{run}"
        )
        return self._retrain(step, decision, run)

    def _retrain(self, step: BacktestStep, decision: DecisionRecord, run: str) -> BacktestStep:
        """Train a challenger, compare it with the champion, and promote or reject it."""
        by = {"actor": ACTOR, "run_id": f"retrain-{run}"}
        began = time.monotonic()
        try:
            trained = loop.retrain(self.ws, self.config, decision, now=step.end, **by)
            self.training_seconds += time.monotonic() - began
            if self.policy.gate or trained.challenger == trained.champion:
                comparison = rollout.compare(self.ws, self.config, trained)
            else:
                comparison = self._force(trained, decision, by["run_id"])
            act = rollout.promote if comparison.next == "promote" else rollout.keep_champion
            outcome = act(self.ws, self.config, comparison.report_id, now=step.end, **by)
        except CANNOT_TRAIN as error:
            self._notify(decision, None, now=step.end)
            return step.model_copy(update={"failure": str(error)})
        self._notify(decision, outcome, now=step.end)
        promoted = comparison.challenger if comparison.next == "promote" else None
        return step.model_copy(update={"comparison": _shown(comparison), "promoted": promoted, "trained": True})

    def _force(self, trained: TrainedVersion, decision: DecisionRecord, run: str) -> ComparisonRecord:
        """Request the promotion of a trained version whatever its comparison shows."""
        request = rollout.request_promotion(
            self.ws,
            self.config,
            version=trained.challenger,
            reason=self.policy.description,
            force=True,
            end=decision.window.end,
            actor=ACTOR,
            run_id=run,
        )
        return rollout.compare(self.ws, self.config, request)

    def _notify(self, decision: DecisionRecord, outcome: Outcome | None, *, now: datetime) -> None:
        """Count the message about a decision, and record its outcome with the channels that it would leave by."""
        posted = loop.notify(self.ws, self.config, decision, outcome, now=now)
        self._messages += bool(posted.deliveries) and not posted.repeated
        channels = dict.fromkeys(each.channel for each in posted.deliveries)
        loop.record(self.ws, self.config, decision, outcome, channels=list(channels))


def train_first_version(ws: Workspace, config: ModelConfig, past: Past, *, start: datetime) -> TrainedVersion:
    """Train a version on the past before the start, by the model's own settings, and put it into production.

    Raises
    ------
    InsufficientData, TrainingFailed
        There is too little history, or the pipeline fails.

    """
    config = config.with_overrides(ASSUMED)
    predictions = ws.predictions(config)
    for rows in past.rows(None, start):
        predictions.append(rows)
    labels = past.observed(None, start)
    if labels.num_rows:
        predictions.add_labels(labels)
    by = {"actor": ACTOR, "run_id": "first-version"}
    decision = loop.request_retrain(
        ws,
        config,
        window=loop.resolve_window(config, end=start, now=start),
        reason="the first version of the backtest",
        run_id=by["run_id"],
    )
    trained = loop.retrain(ws, config, decision, now=start, **by)
    rollout.promote(ws, config, rollout.compare(ws, config, trained).report_id, now=start, **by)
    return trained


def _shown(comparison: ComparisonRecord) -> BacktestComparison:
    return BacktestComparison(
        champion=comparison.champion,
        challenger=comparison.challenger,
        verdict=comparison.verdict,
        improvement=finite_or_none(comparison.improvement),
        lower_bound=finite_or_none(comparison.lower_bound),
        margin=comparison.margin,
        n=comparison.n,
        forced=comparison.forced_by is not None,
        sentence=comparison.sentence,
    )

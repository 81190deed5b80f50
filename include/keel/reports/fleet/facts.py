"""Read the facts about many models from the store: a fixed number of queries, none of the registry.

What cannot be read of one model is that model's error, and hides no other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from keel.deployments.history import Deployment, Probation, fold, production_since
from keel.errors import KeelError, LedgerBroken, SchemaError
from keel.evaluation.experiment.report import with_current_names
from keel.ledger import entries as ledger
from keel.ledger.wording import as_mapping
from keel.monitoring import storage
from keel.monitoring.alarms import after_retraining, judge_alarms
from keel.monitoring.check_times import CheckTimes, next_times
from keel.monitoring.records import (
    DecisionRecord,
    LiveAlarm,
    Outcome,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.reports.check.data import CheckData
from keel.reports.check.history import LENGTH
from keel.reports.fleet.history import Measured, performance_histories
from keel.window import Window

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.ledger.entries import Entry
    from keel.monitoring.alarms import Judgement
    from keel.store import Store
    from keel.workspace import Workspace

Row = Mapping[str, Any]
Rows = Sequence[Row]
KINDS = (*storage.CHECKS, "labels", "experiment")
NEWEST_CHANGES = 6
"""Changes of a deployment that are read at first. Most models went into production within so many."""


@dataclass(frozen=True)
class RunningExperiment:
    """A running experiment: its plan as stored, and its newest evaluation."""

    plan: Row
    evaluation: Row = field(default_factory=dict)
    """Empty before the first."""


@dataclass(frozen=True)
class OpenAlarm:
    """A live alarm that no check has judged."""

    kind: str
    subject: str
    since: datetime


@dataclass(frozen=True)
class ModelFacts:
    """What the store has of one model now."""

    config: ModelConfig
    deployment: Deployment
    times: CheckTimes
    since: datetime | None = None
    """When the version in production went there."""
    probation: Probation | None = None
    staged: Row = field(default_factory=dict)
    """The evidence of the ledger row that staged the version in staging."""
    experiment: RunningExperiment | None = None
    check: CheckData | None = None
    """The stored check whose window ends last, without distributions and history."""
    checked_at: datetime | None = None
    """When that check was first stored."""
    history: tuple[Measured, ...] = ()
    """Performance in earlier windows, the newest last."""
    alerts: tuple[Row, ...] = ()
    """Open alerts, but for those that are not confirmed yet."""
    alarms: tuple[OpenAlarm, ...] = ()
    quarantined: tuple[str, ...] = ()
    """What each quarantine is about that nobody has released."""
    monitored_at: datetime | None = None
    """When the live monitors last stored their state; None without monitors, and while they are paused."""


def read(ws: Workspace, configs: Mapping[str, ModelConfig]) -> dict[str, ModelFacts | KeelError]:
    """Return the facts about each model, or the error that keeps them from being read, in the order of ``configs``.

    Raises
    ------
    StoreUnavailable
        The store cannot be read for any model.

    """
    stored = _Stored.read(ws.store, [config.model for config in configs.values()])
    found: dict[str, ModelFacts | KeelError] = {}
    for name, config in configs.items():
        try:
            found[name] = stored.facts(config)
        except KeelError as error:
            found[name] = error
    return found


@dataclass(frozen=True)
class _Stored:
    """Rows of the store, by model."""

    changes: Mapping[str, Sequence[Entry] | KeelError]
    reports: Mapping[str, Rows]
    decisions: Mapping[str, Row]
    judged_alarms: Mapping[str, Row]
    """By id: what the last decisions judged."""
    histories: Mapping[str, tuple[Measured, ...]]
    last_checks: Mapping[str, datetime]
    alerts: Mapping[str, Rows]
    alarms: Mapping[str, Rows]
    quarantined: Mapping[str, Sequence[str]]
    experiments: Mapping[str, Row]
    monitors: Mapping[str, datetime]

    @classmethod
    def read(cls, store: Store, models: Sequence[str]) -> _Stored:
        fleet = store.fleet
        reports = _by_model(fleet.newest_reports(models, KINDS, windows=LENGTH))
        checks = [key for rows in reports.values() if (key := _newest_check(rows))]
        decisions = fleet.decisions([_decision_id(key) for key in checks])
        alarm_ids = [each for row in decisions.values() for each in _alarms_of(row)]
        quarantined = defaultdict(list)
        for model, about in fleet.quarantined():
            quarantined[model].append(about)
        return cls(
            changes=_changes(store, models),
            reports=reports,
            decisions=decisions,
            judged_alarms={row["alarm_id"]: row for row in store.live.alarms_of(alarm_ids)} if alarm_ids else {},
            histories=performance_histories(
                store, [row for rows in reports.values() for row in rows if row["kind"] == "performance"]
            ),
            last_checks=fleet.last_checks(models),
            alerts=_by_model([row for row in fleet.open_alerts() if row["state"] != "pending"]),
            alarms=_by_model(fleet.open_alarms()),
            quarantined=quarantined,
            experiments={row["model"]: row["plan"] for row in fleet.experiments()},
            monitors=fleet.monitors(models),
        )

    def facts(self, config: ModelConfig) -> ModelFacts:
        model = config.model
        changes = self.changes.get(model, ())
        if isinstance(changes, KeelError):
            raise changes
        state = fold(model, changes)
        deployment = state.deployment
        deployed = max((row.at for row in changes if "to" in row.body), default=None)
        rows = self.reports.get(model, ())
        key = _newest_check(rows)
        plan = self.experiments.get(model)
        return ModelFacts(
            config=config,
            deployment=deployment,
            times=next_times(config, deployment.production, last=self.last_checks.get(model), deployed=deployed),
            since=production_since(changes),
            probation=state.probation,
            staged=_staged(changes, deployment.staging),
            experiment=RunningExperiment(plan, _evaluation(rows, plan)) if plan else None,
            check=self._check(config, rows, key) if key else None,
            checked_at=key["created_at"] if key else None,
            history=self.histories.get(model, ()),
            alerts=tuple(self.alerts.get(model, ())),
            alarms=tuple(OpenAlarm(row["kind"], row["subject"], row["since"]) for row in self.alarms.get(model, ())),
            quarantined=tuple(self.quarantined.get(model, ())),
            monitored_at=self.monitors.get(model) if config.live else None,
        )

    def _check(self, config: ModelConfig, rows: Rows, key: Row) -> CheckData:
        """Return the check of a window from its reports, its decision and the alarms that this judged."""
        same = ("version", "window_start", "window_end")
        of = {row["kind"]: row for row in rows if all(row[name] == key[name] for name in same)}
        check = CheckData(
            config=config,
            version=key["version"],
            window=Window(key["window_start"], key["window_end"]),
            quality=StoredQualityReport.from_dict(_body(row)) if (row := of.get("quality")) else None,
            drift=StoredDriftReport.from_dict(_body(row)) if (row := of.get("drift")) else None,
            performance=StoredPerformanceReport.from_dict(_body(row)) if (row := of.get("performance")) else None,
            labels=StoredLabelsReport.from_dict(_body(row)) if (row := of.get("labels")) else None,
        )
        stored = self.decisions.get(_decision_id(key))
        if stored is None:
            return check
        decision = DecisionRecord.from_dict(stored["body"])
        outcome = Outcome.from_dict(stored["outcome"]) if stored["outcome"] else None
        return replace(check, decision=decision, outcome=outcome, alarms=self._judgements(check, decision))

    def _judgements(self, check: CheckData, decision: DecisionRecord) -> tuple[Judgement, ...]:
        """Return what a decision made of its live alarms; nothing where a report that it judged them by is gone."""
        ids = (*decision.alarms, *decision.open_alarms)
        found = [row for each in ids if (row := self.judged_alarms.get(each))]
        if not found or check.quality is None or check.drift is None or check.performance is None:
            return ()
        judgements = judge_alarms(
            [LiveAlarm.from_dict(row) for row in found],
            check.version,
            check.window,
            quality=check.quality,
            drift=check.drift,
            performance=check.performance,
        )
        return after_retraining(judgements, decision.action)


def _changes(store: Store, models: Sequence[str]) -> dict[str, list[Entry] | KeelError]:
    """Return the ledger's rows by which the present deployments came about, oldest first.

    Few rows of each model are read at first. All are read of a model whose version went into production before them.
    """
    found = _entries(store, models, NEWEST_CHANGES)
    earlier = [model for model, rows in found.items() if isinstance(rows, list) and _begins_later(rows)]
    return found | _entries(store, earlier, None) if earlier else found


def _begins_later(rows: Sequence[Entry]) -> bool:
    """Whether the version in production may have gone there before the first of the newest rows."""
    moves = [row.body["to"]["production"] for row in rows if "to" in row.body]
    return len(moves) >= NEWEST_CHANGES and len(set(moves)) == 1


def _entries(store: Store, models: Sequence[str], newest: int | None) -> dict[str, list[Entry] | KeelError]:
    try:
        rows = store.fleet.deployment_rows(models, newest=newest)
    except UnicodeDecodeError as error:
        if len(models) == 1:
            return {models[0]: _unreadable(error)}
        each = [_entries(store, [model], newest) for model in models]
        return {model: read for part in each for model, read in part.items()}
    found: dict[str, list[Entry] | KeelError] = {}
    for model, mine in _by_model(rows).items():
        try:
            found[model] = [ledger.parse_entry(dict(row)) for row in mine]
        except (ArithmeticError, TypeError, ValueError) as error:
            found[model] = _unreadable(error)
    return found


def _unreadable(error: Exception) -> LedgerBroken:
    return LedgerBroken(f"the ledger cannot be read ({error}); to find the row: keel ledger verify")


def _staged(changes: Sequence[Entry], version: int | None) -> Row:
    """Return the evidence of the row that staged a version."""
    if version is None:
        return {}
    staged = (row for row in reversed(changes) if row.action == ledger.Action.STAGE)
    return next((as_mapping(row.body.get("evidence")) for row in staged), {})


def _newest_check(rows: Rows) -> Row | None:
    """Return the report that stands for the check whose window ends last; of several of one window, the latest."""
    checks = [row for row in rows if row["kind"] in storage.CHECKS and row["version"] is not None]
    return max(checks, key=lambda row: (row["window_end"], row["created_at"]), default=None)


def _decision_id(key: Row) -> str:
    window = Window(key["window_start"], key["window_end"])
    return storage.report_id("decision", key["model"], key["version"], window)


def _alarms_of(decision: Row) -> list[str]:
    body = decision["body"]
    return [str(each) for name in ("alarms", "open_alarms") for each in body.get(name) or ()]


def _evaluation(rows: Rows, plan: Row) -> Row:
    """Return the newest evaluation of a running experiment; empty before the first, and where it cannot be read."""
    for row in rows:
        if row["kind"] == "experiment":
            body = with_current_names(_body(row))
            if as_mapping(body.get("plan")).get("experiment_id") == plan.get("experiment_id"):
                return body
    return {}


def _body(row: Row) -> Row:
    try:
        body = json.loads(row["body"])
    except ValueError as error:
        raise SchemaError(f"report {row['report_id']}: its body cannot be read: {error}") from None
    if not isinstance(body, Mapping):
        raise SchemaError(f"report {row['report_id']}: its body is not an object")
    return body


def _by_model(rows: Rows) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["model"]].append(row)
    return found

"""The monitoring loop from top to bottom: count, check, decide, quarantine or retrain, notify, record.

    resolve_window         which window a run checks
    count_window           counts of the predictions that arrived since the last run
    check_data_quality     three reports on the window
    check_data_drift
    check_performance
    decide                 one action: all clear, alert, quarantine or retrain
    quarantine, retrain    what the decision asks for
    compose_message        what people are notified of
    record                 the outcome, stored with the decision

In a notebook, `check` takes the steps up to a decision at once, and does not act on it.

`keel.rollout` continues after a retrain: it compares, stages or promotes the new version, watches it and rolls it back.

Each step takes a workspace, a model's configuration and the record that an earlier step returned
(`keel.monitoring.records`), and returns a record. An Airflow operator, the command line and a notebook call the same
functions. A step that runs again for the same window leaves the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from keel import deployments
from keel.alerts.messages.decision import compose_alert
from keel.deployments.history import Status, production_since
from keel.errors import ConfigError, SchemaError, UnknownVersion
from keel.ledger import entries as ledger
from keel.monitoring import storage
from keel.monitoring.decision import LABELS, Policy, decide_action
from keel.monitoring.drift import detect, explained_change
from keel.monitoring.label_check import (
    about_held_labels,
    label_report,
    quarantine_broken_labels,
    quarantine_decided_labels,
)
from keel.monitoring.performance import LabelArrival, detect_degradation, measure_long_run
from keel.monitoring.performance_history import all_sums
from keel.monitoring.quality import QualityStatus, check_quality
from keel.monitoring.records import (
    Action,
    CountedWindow,
    DataSlice,
    DecisionRecord,
    DriftReportRecord,
    Message,
    Outcome,
    ReportRecord,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
    TrainedVersion,
)
from keel.monitoring.window_counts import (
    WindowCounts,
    broken_windows,
    count_dirty_hours,
    name_unseen,
    window_counts,
)
from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.losses import Estimate, have_same_loss, scored
from keel.store.quarantines import DATA
from keel.training.datasets import training_rows
from keel.training.training import Split, require_rows, retrain_plan, train, training_key, training_recipe
from keel.window import Window, ceil_hour, floor_hour, now_utc, parse_time

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid
    from keel.registry.registry import VersionInfo
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

__all__ = [
    "CheckResult",
    "check",
    "check_data_drift",
    "check_data_quality",
    "check_labels",
    "check_performance",
    "compose_message",
    "count_window",
    "decide",
    "quarantine",
    "record",
    "request_retrain",
    "resolve_window",
    "retrain",
]


def resolve_window(
    config: ModelConfig,
    *,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    interval_end: str | datetime | None = None,
    now: datetime,
) -> Window:
    """Return the window that a run checks, for scheduled, asset-triggered and manual runs alike.

    The window ends at ``end`` if given, else at the end of the schedule's interval, else now. It starts at ``start`` if
    given, else ``check.lookback`` before its end. Both are widened to full hours.
    """
    until = parse_time(end) or parse_time(interval_end) or parse_time(now)
    assert until is not None
    since = parse_time(start) or until - config.check.lookback
    return Window(floor_hour(since), ceil_hour(until))


def count_window(ws: Workspace, config: ModelConfig, window: Window) -> CountedWindow:
    """Count the hours up to the window's end that have new predictions. Hours without news keep their counts.

    The window is checked on the version in production. Hours of other versions are counted too, because rows expire
    only once they are counted, and the last hours of a replaced version belong to its history.
    """
    predictions = ws.predictions(config)
    production = deployments.production_version(ws.store, config.model)
    dirty: dict[int, dict[datetime, int]] = {production: {}}
    for version, hour, revision in predictions.dirty_hours(window.end):
        dirty.setdefault(version, {})[hour] = revision
    counted = count_dirty_hours(ws, config, production, dirty.pop(production))
    for version, hours in dirty.items():
        try:
            count_dirty_hours(ws, config, version, hours)
        except (UnknownVersion, ConfigError) as error:
            log.warning("%d hours of version %d stay uncounted: %s", len(hours), version, error)
    rows = predictions.count(window.start, window.end, production)
    log.info("counted %d hours with new predictions (%d rows); the window has %d", counted.hours, counted.rows, rows)
    return CountedWindow(
        model=config.model,
        version=production,
        window=window,
        rows=rows,
        counted_hours=counted.hours,
        counted_rows=counted.rows,
    )


def check_data_quality(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> ReportRecord:
    """Check whether the window's data has the form that the version was trained on, from its counts.

    Its rows are read only where unseen categories have to be named.
    """
    grid, counts = _grid_and_counts(ws, config, counted)

    def unseen(columns: Sequence[str]) -> dict[str, dict[str, int]]:
        window = counted.window
        return name_unseen(ws, config, counted.version, grid, window, columns, decided_before=window.end)

    report = check_quality(grid, counts.normal.counts, config=config.drift, name_unseen=unseen)
    if report.status is QualityStatus.EMPTY and counts.released.hours:  # a person released all there is
        report = replace(report, status=QualityStatus.OK)
    stored = StoredQualityReport.from_dict(
        {**report.to_dict(), "quarantined": counts.quarantined.size, "released": counts.released.size}
    )
    if stored.findings:
        sentence = stored.findings[0].sentence
    else:
        sentence = "The data is as expected." if counts.usable.n else report.sentence
    return _store_report(ws, "quality", counted, stored, f"{sentence}{counts.exclusion}")


def check_data_drift(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> DriftReportRecord:
    """Check whether features, score and prediction have moved, both significantly and materially."""
    grid, counts = _grid_and_counts(ws, config, counted)
    report = detect(grid, counts.usable, config.drift)
    stored = StoredDriftReport.from_dict({**report.to_dict(), "quarantined": counts.quarantined.size})
    drifted = stored.names("drift")
    outputs = stored.names("drift", role="output")
    also = f" Of the outputs: {', '.join(outputs)}." if outputs else ""
    sentence = f"{stored.count}.{also}{counts.exclusion}"
    reference = _store_report(ws, "drift", counted, stored, sentence)
    return DriftReportRecord.from_dict(
        {**reference.to_dict(), "share_drifted": stored.share_drifted, "drifted": drifted}
    )


def check_performance(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> ReportRecord:
    """Check whether the version does harm, on the labels of a window that is ``target.label_delay`` earlier.

    The labels themselves are checked first (`check_labels`).
    """
    check_labels(ws, config, counted)
    version = counted.version
    window = counted.window.earlier(config.target.label_delay)
    predictions = ws.predictions(config)
    rows = predictions.labelled(
        window.start, window.end, version=version, decided_before=counted.window.end, features=False
    )
    reference = ws.registry.reference(config.model, version)
    grid, counts = _grid_and_counts(ws, config, counted, window)
    metrics = {name: Estimate(**values) for name, values in reference["metrics"].items()}
    sums = all_sums(ws, config, version, until=window.end, decided_before=counted.window.end)
    metric = config.performance.metric
    report = detect_degradation(
        scored(rows),
        metrics,
        reference["loss"] if have_same_loss(reference["metric"], metric) else None,
        config.performance,
        explained=explained_change(grid, counts.usable) if counts.usable.n else None,
        arrival=LabelArrival(*predictions.label_counts(window.start, window.end, version)),
        long_run=measure_long_run(metric, *sums, metrics.get(metric), config.performance),
    )
    stored = StoredPerformanceReport.from_dict(
        {**report.to_dict(), "window": window, "quarantined": counts.quarantined.size}
    )
    sentence = f"{stored.metric} on {stored.n} labels: {stored.status}.{counts.exclusion}"
    return _store_report(ws, "performance", counted, stored, sentence)


def check_labels(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> ReportRecord:
    """Check the labels of the window that `check_performance` uses: values, spread, coverage and delay."""
    window = counted.window.earlier(config.target.label_delay)
    stored = label_report(ws, config, counted.version, window, decided_before=counted.window.end)
    found = stored.findings[0].sentence if stored.findings else f"{stored.n:,} labels without a fault."
    return _store_report(ws, "labels", counted, stored, found)


def _grid_and_counts(
    ws: Workspace, config: ModelConfig, counted: CountedWindow, window: Window | None = None
) -> tuple[ReferenceGrid, WindowCounts]:
    """Return the version's reference grid and the window's counts on it, without quarantined hours."""
    grid = ws.registry.grid(config.model, counted.version)
    # a window of its own is one whose labels are read
    counts = window_counts(
        ws,
        config,
        counted.version,
        grid,
        window or counted.window,
        decided_before=counted.window.end,
        about=DATA if window is None else None,
    )
    return grid, counts


def _store_report(
    ws: Workspace, kind: str, counted: CountedWindow, report: storage.StoredReport, sentence: str
) -> ReportRecord:
    return storage.store_report(ws, kind, counted.model, counted.version, counted.window, report, sentence=sentence)


def decide(ws: Workspace, config: ModelConfig, counted: CountedWindow, *, run_id: str) -> DecisionRecord:
    """Decide what the reports of a window lead to, and store the decision.

    Raises
    ------
    SchemaError
        A check has not stored its report for this window.

    """
    return storage.store_decision(ws, _decision(ws, config, counted), run_id=run_id)


def _decision(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> DecisionRecord:
    model, version, window = counted.model, counted.version, counted.window
    reports = storage.read_check_reports(ws, counted)
    decision_id = storage.report_id("decision", model, version, window)
    policy = Policy(
        can_retrain=config.retrain is not None,
        cooldown=config.retrain.cooldown if config.retrain else config.alerts.cooldown,
        window_end=window.end,
        last_retrain=ws.store.decisions.last_window_end(
            model, Action.RETRAIN, until=window.end, other_than=decision_id
        ),
        production_since=(
            production_since(ledger.entries(ws.store, model)) if reports.quality.status == "empty" else None
        ),
    )
    decision = decide_action(reports.quality, reports.drift, reports.performance, policy, reports.labels)
    log.info("%s: %s", decision.action, decision.sentence)
    return DecisionRecord(
        decision_id=decision_id,
        model=model,
        version=version,
        window=window,
        action=decision.action,
        sentence=decision.sentence,
        about=decision.about,
    )


def request_retrain(ws: Workspace, config: ModelConfig, *, window: Window, reason: str, run_id: str) -> DecisionRecord:
    """Store a person's request to retrain. What follows is the same as after a check that decided so.

    The same run makes the same decision, also when another version is in production by then. Another run makes another.
    """
    retrain_plan(config)
    decision = DecisionRecord(
        decision_id=storage.report_id("request", config.model, f"{run_id}/{reason}", window),
        model=config.model,
        version=deployments.read(ws.store, config.model).production,
        window=window,
        action=Action.RETRAIN,
        sentence=f"Requested: {reason}",
        reason=reason,
    )
    return storage.store_decision(ws, decision, run_id=run_id)


def retrain(ws: Workspace, config: ModelConfig, decision: DecisionRecord, *, actor: str, run_id: str) -> TrainedVersion:
    """Train a challenger on the labelled rows of the decision's window and before, and register it.

    The same decision or the same rows train once. A decision that is carried out again finds its version, also when
    labels arrived in between. Another pipeline or other settings are another training.
    """
    champion = deployments.read(ws.store, config.model).production
    same_decision = {"keel.decision_id": decision.decision_id, "keel.recipe": training_recipe(config)}
    version = ws.registry.find(config.model, same_decision)
    if version is None:
        used = Split.ending(decision.window.end, config)
        quarantine_broken_labels(ws, config, used.start, used.end, run_id=run_id)
        rows = training_rows(ws, config, decision.window)
        require_rows(config, rows, why=about_held_labels(ws, config, used.start, used.end))
        version = ws.registry.find(config.model, {"keel.training_key": training_key(config, rows)})
    if version is None:
        candidate = train(config, rows, reason=decision.sentence, parent=champion, decision_id=decision.decision_id)
        version = ws.registry.register(config, candidate, run_name=f"retrain to {rows.split.cut:%Y-%m-%d}")
        _pin_artifacts(ws, version, decision.sentence, actor=actor, run_id=run_id)
    reference = ws.registry.reference(config.model, version.version)
    training = DataSlice.from_dict(reference["training"])
    return TrainedVersion(
        decision_id=decision.decision_id,
        model=config.model,
        challenger=version.version,
        champion=champion,
        mlflow_run_id=version.run_id,
        until=decision.window.end,
        requested_by=actor,
        training=training,
        holdout=DataSlice.from_dict(reference["holdout"]),
        metrics={name: finite_or_none(values["value"]) for name, values in reference["metrics"].items()},
        sentence=f"Version {version.version} was trained on {training.rows:,} labelled rows.",
    )


def _pin_artifacts(ws: Workspace, version: VersionInfo, reason: str, *, actor: str, run_id: str) -> None:
    """Write the checksums of a registered version to the ledger. Nothing else is ever loaded."""
    artifacts = {
        "version": version.version,
        "run_id": version.run_id,
        "files": ws.registry.digests(version.model, version.version),
    }
    evidence = {"sentence": f"Version {version.version} was registered: {reason}", "tags": dict(version.tags)}
    deployments.append(
        ws.store,
        version.model,
        actor=actor,
        action=ledger.Action.REGISTER,
        now=now_utc(),
        body={"run_id": run_id, "artifacts": artifacts, "evidence": evidence},
        statuses={version.version: (Status.CANDIDATE, reason)},
    )


def quarantine(ws: Workspace, config: ModelConfig, decision: DecisionRecord, *, actor: str, run_id: str) -> Outcome:
    """Quarantine the broken hours of the decision's window, and write that to the ledger.

    No training and no later check uses them until a person releases them. Hours that a person released before are not
    quarantined again.
    """
    window, model = decision.window, config.model
    if decision.version is None:
        raise SchemaError(f"{model}: a decision to quarantine names the version whose predictions are broken")
    if decision.about == (LABELS,):
        return quarantine_decided_labels(ws, config, decision, actor=actor, run_id=run_id)
    broken = broken_windows(ws, config, decision.version, window)
    if not broken:
        sentence = f"No predictions of {model} were quarantined: a person released the broken hours before."
        return Outcome.of("released", decision, sentence)
    for part in broken:
        ws.store.quarantine(model, part.start, part.end, decision.sentence, now_utc(), decided_until=window.end)
    between = f"from {broken[0].start:%Y-%m-%d %H:%M} to {broken[-1].end:%Y-%m-%d %H:%M} UTC"
    spans = "" if len(broken) == 1 else f", in {len(broken)} spans"
    outcome = Outcome.of(
        "quarantined", decision, f"Quarantined predictions of {model} {between}{spans}.", quarantined=broken
    )
    evidence = {
        "decision_id": decision.decision_id,
        "sentence": outcome.sentence,
        "quarantined": [part.to_dict() for part in broken],
    }
    deployments.append_once(
        ws.store,
        model,
        actor=actor,
        action=ledger.Action.QUARANTINE,
        identity={"evidence": {name: evidence[name] for name in ("decision_id", "quarantined")}},
        body={"run_id": run_id, "evidence": evidence},
        now=now_utc(),
    )
    return outcome


def compose_message(
    ws: Workspace,
    config: ModelConfig,
    decision: DecisionRecord,
    outcome: Outcome | None = None,
    *,
    run_url: str | None = None,
) -> Message | None:
    """Compose the message about a decision and its outcome.

    None when all is clear, and when people were notified of the same causes within ``alerts.cooldown``.
    """
    about = decision.model, decision.version, decision.window
    return compose_alert(
        config,
        decision,
        outcome,
        quality=storage.read_report(ws, StoredQualityReport, *about),
        drift=storage.read_report(ws, StoredDriftReport, *about),
        performance=storage.read_report(ws, StoredPerformanceReport, *about),
        repeated=storage.notified_within_cooldown(ws, decision, config.alerts.cooldown),
        run_url=run_url,
    )


def record(
    ws: Workspace, config: ModelConfig, decision: DecisionRecord, outcome: Outcome | None, *, channels: Sequence[str]
) -> Outcome:
    """Store the outcome of a decision, and the channels by which people were notified."""
    found = outcome or Outcome.of(decision.action, decision, decision.sentence)
    found = found.model_copy(update={"notified": tuple(channels)})
    ws.store.decisions.set_outcome(decision.decision_id, found.to_dict())
    return found


@dataclass(frozen=True)
class CheckResult:
    """The result of `check`: the reports on a window, and the decision that they lead to."""

    quality: StoredQualityReport
    drift: StoredDriftReport
    performance: StoredPerformanceReport
    labels: StoredLabelsReport
    decision: DecisionRecord

    @property
    def action(self) -> Action:
        """What Keel would do: ``all_clear``, ``raise_alert``, ``quarantine`` or ``retrain``."""
        return self.decision.action

    @property
    def sentence(self) -> str:
        """Why."""
        return self.decision.sentence

    @property
    def window(self) -> Window:
        """The window that was checked."""
        return self.decision.window


def check(
    ws: Workspace,
    config: ModelConfig,
    *,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    now: datetime | None = None,
) -> CheckResult:
    """Check a window and decide, without acting: nothing is trained, quarantined or sent.

    Stores the counts and the reports, as the scheduled check does. The decision is not stored, because a stored
    one starts the cooldown of the next.

    Parameters
    ----------
    start, end
        The window, in ISO 8601 or aware. Its end is now if not given, its start ``check.lookback`` before the end.
    now
        The present. Default: the clock.

    Raises
    ------
    NoProductionVersion
        The model has no version in production.

    """
    window = resolve_window(config, start=start, end=end, now=now or now_utc())
    counted = count_window(ws, config, window)
    for step in (check_data_quality, check_data_drift, check_performance):
        step(ws, config, counted)
    reports = storage.read_check_reports(ws, counted)
    assert reports.labels is not None, "check_performance stores it"
    decision = _decision(ws, config, counted)
    return CheckResult(reports.quality, reports.drift, reports.performance, reports.labels, decision)

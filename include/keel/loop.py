"""Keel from top to bottom: count, check, decide, set aside or retrain, tell, record.

What a retrain has made goes on in `keel.rollout`: compare, offer or promote, watch, take back.

Each step is a plain function that takes plain values and gives back plain values (JSON-able dicts with references to
what lies in the store), so that an Airflow operator, the REST side, the command line and a notebook call the same
thing. Running a step again for the same window leaves the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.alerts.messages.decision import compose_alert
from keel.deployments.history import Status
from keel.errors import ConfigError, SchemaError, UnknownVersion
from keel.ledger import entries as ledger
from keel.monitoring.decision import Action, Decision, Policy, decide_action
from keel.monitoring.drift import detect, explained_change
from keel.monitoring.performance import LabelArrival, detect_degradation
from keel.monitoring.quality import QualityStatus, check_quality
from keel.monitoring.records import (
    KINDS,
    Plain,
    last_retrain_before,
    outcome_of,
    report_id,
    store_decision,
    store_report,
)
from keel.monitoring.window_counts import broken_stretches, count_dirty, window_counts
from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.losses import Estimate, scored
from keel.training.datasets import training_rows
from keel.training.training import retrain_plan, train, training_key, training_recipe
from keel.window import Window, ceil_hour, floor_hour, now_utc, parse_time

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.registry.registry import VersionInfo
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

__all__ = [
    "check_data_drift", "check_data_quality", "check_performance", "compose_message", "count_window", "decide",
    "parse_time", "quarantine", "record", "request_retrain", "resolve_window", "retrain",
]  # fmt: skip


def resolve_window(
    config: ModelConfig,
    *,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    interval_end: str | datetime | None = None,
    now: datetime,
) -> Window:
    """Say what a run judges, for scheduled, asset-triggered and manual runs alike.

    ``end`` if given, else the end of the schedule's interval, else now; ``start`` if given, else ``lookback``
    before the end. Both are widened to full hours.
    """
    until = parse_time(end) or parse_time(interval_end) or parse_time(now)
    assert until is not None
    since = parse_time(start) or until - config.check.lookback
    return Window(floor_hour(since), ceil_hour(until))


def count_window(ws: Workspace, config: ModelConfig, window: Window) -> Plain:
    """Count the hours of the window's past in which something is new; what was counted before stays counted.

    The window is judged on the version in production. Hours of other versions are counted too: rows expire only once
    they are counted, and what a version that was replaced did in its last hours is history like the rest.
    """
    predictions = ws.predictions(config)
    version = deployments.production_version(ws.store, config.model)
    dirty: dict[int, dict[datetime, int]] = {version: {}}
    for number, hour, revision in predictions.dirty_hours(window.end):
        dirty.setdefault(number, {})[hour] = revision
    counted = count_dirty(ws, config, version, dirty.pop(version))
    for number, hours in dirty.items():
        try:
            count_dirty(ws, config, number, hours)
        except (UnknownVersion, ConfigError) as error:
            log.warning("%d hours of version %d stay uncounted: %s", len(hours), number, error)
    total = predictions.count(window.start, window.end, version)
    log.info("counted %d new hours (%d rows); the window holds %d", counted.hours, counted.rows, total)
    return {
        "model": config.model, "version": version, "window": window.to_dict(),
        "rows": total, "counted_hours": counted.hours, "counted_rows": counted.rows,
    }  # fmt: skip


def check_data_quality(ws: Workspace, config: ModelConfig, counted: Mapping[str, Any]) -> Plain:
    """Ask whether the window's data is what the version was trained for, from its counts alone."""
    grid = ws.registry.grid(config.model, counted["version"])
    window = Window.from_dict(counted["window"])
    counts = window_counts(ws, config, counted["version"], grid, window, decided_before=window.end)
    found = check_quality(grid, counts.open.counts, config=config.drift)
    if found.status is QualityStatus.EMPTY and counts.released.hours:  # a person has said that all of it will do
        found = replace(found, status=QualityStatus.OK)
    report = found.to_dict()
    report |= {"set_aside": counts.set_aside.to_dict(), "released": counts.released.to_dict()}
    as_expected = "The data is as expected." if counts.usable.n else found.sentence
    sentence = report["findings"][0]["sentence"] if report["findings"] else as_expected
    return store_report(ws, "quality", counted, report, sentence=f"{sentence}{counts.remark}")


def check_data_drift(ws: Workspace, config: ModelConfig, counted: Mapping[str, Any]) -> Plain:
    """Ask whether inputs, score and prediction have moved, significantly and materially."""
    grid = ws.registry.grid(config.model, counted["version"])
    window = Window.from_dict(counted["window"])
    counts = window_counts(ws, config, counted["version"], grid, window, decided_before=window.end)
    report = detect(grid, counts.usable, config.drift).to_dict()
    report["set_aside"] = counts.set_aside.to_dict()
    drifted = [name for name, feature in report["features"].items() if feature["severity"] == "drift"]
    return store_report(
        ws, "drift", counted, report, share_drifted=report["share_drifted"], drifted=drifted,
        sentence=f"{len(drifted)} of {len(report['features'])} columns have drifted.{counts.remark}",
    )  # fmt: skip


def check_performance(ws: Workspace, config: ModelConfig, counted: Mapping[str, Any]) -> Plain:
    """Ask whether the version does harm, on the window's worth of predictions whose label delay has passed."""
    version = counted["version"]
    judged = Window.from_dict(counted["window"])
    window = judged.earlier(config.target.label_delay)
    predictions = ws.predictions(config)
    rows = predictions.labelled(window.start, window.end, version=version, decided_before=judged.end, features=False)
    reference = ws.registry.reference(config.model, version)
    grid = ws.registry.grid(config.model, version)
    counts = window_counts(ws, config, version, grid, window, decided_before=judged.end)
    report = detect_degradation(
        scored(rows),
        {name: Estimate(**values) for name, values in reference["metrics"].items()},
        reference["loss"],
        config.performance,
        explained=explained_change(grid, counts.usable) if counts.usable.n else None,
        arrival=LabelArrival(*predictions.label_counts(window.start, window.end, version)),
    ).to_dict()
    report |= {"window": window.to_dict(), "set_aside": counts.set_aside.to_dict()}
    sentence = f"{report['metric']} on {report['n']} labels: {report['status']}.{counts.remark}"
    return store_report(ws, "performance", counted, report, sentence=sentence)


def decide(ws: Workspace, config: ModelConfig, counted: Mapping[str, Any], *, run_id: str) -> Plain:
    """Decide what the three reports lead to, and keep the decision with its evidence."""
    window = Window.from_dict(counted["window"])
    reports = {kind: ws.store.reports.get(report_id(kind, counted)) for kind in KINDS}
    missing = [kind for kind, report in reports.items() if report is None]
    if missing:
        raise SchemaError(f"{config.model}: no {', '.join(missing)} report for this window: run that check first")
    bodies = {kind: report["body"] for kind, report in reports.items() if report}
    identity = report_id("decision", counted)
    policy = Policy(
        can_retrain=config.retrain is not None,
        cooldown=config.retrain.cooldown if config.retrain else config.alerts.cooldown,
        window_end=window.end,
        last_retrain=last_retrain_before(ws, config.model, before=window.end, other_than=identity),
    )
    decision = decide_action(bodies["quality"], bodies["drift"], bodies["performance"], policy)
    log.info("%s: %s", decision.action, decision.sentence)
    return store_decision(ws, identity, counted, decision, run_id)


def request_retrain(ws: Workspace, config: ModelConfig, *, window: Window, reason: str, run_id: str) -> Plain:
    """Record that somebody asked for a retrain; the rest of the loop is the same as after a check.

    A run that asks again, whatever is in production by then, makes the same decision; another run makes another.
    """
    retrain_plan(config)
    version = deployments.read(ws.store, config.model).production
    asked = {"model": config.model, "version": version, "window": window.to_dict()}
    identity = report_id("request", {**asked, "version": f"{run_id}/{reason}"})
    return store_decision(ws, identity, asked, Decision(Action.RETRAIN, f"Asked for: {reason}"), run_id)


def retrain(ws: Workspace, config: ModelConfig, decision: Mapping[str, Any], *, actor: str, run_id: str) -> Plain:
    """Train a challenger on the labelled rows before the cut and register it, with its artifacts pinned in the ledger.

    Neither one decision nor the same rows train twice. A decision that is carried out again finds its version though
    labels came in between; with another pipeline or other settings it is another training.
    """
    window = Window.from_dict(decision["window"])
    champion = deployments.read(ws.store, config.model).production
    made_before = {"keel.decision_id": decision["decision_id"], "keel.recipe": training_recipe(config)}
    version = ws.registry.find(config.model, made_before)
    if version is None:
        rows = training_rows(ws, config, window)
        version = ws.registry.find(config.model, {"keel.training_key": training_key(config, rows)})
    if version is None:
        candidate = train(
            config, rows, reason=decision["sentence"], parent=champion, decision_id=decision["decision_id"]
        )
        version = ws.registry.register(config, candidate, run_name=f"retrain to {rows.split.cut:%Y-%m-%d}")
        _pin(ws, version, decision["sentence"], actor=actor, run_id=run_id)
    reference = ws.registry.reference(config.model, version.version)
    return {
        "decision_id": decision["decision_id"], "model": config.model, "challenger": version.version,
        "champion": champion, "mlflow_run_id": version.run_id, "until": window.end.isoformat(), "requested_by": actor,
        "training": reference["training"], "holdout": reference["holdout"],
        "metrics": {name: finite_or_none(values["value"]) for name, values in reference["metrics"].items()},
        "sentence": f"Version {version.version} was trained on {reference['training']['rows']:,} labelled rows.",
    }  # fmt: skip


def _pin(ws: Workspace, version: VersionInfo, reason: str, *, actor: str, run_id: str) -> None:
    """Say in the ledger what was registered: only that is ever loaded."""
    artifacts = {
        "version": version.version, "run_id": version.run_id,
        "files": ws.registry.digests(version.model, version.version),
    }  # fmt: skip
    evidence = {"sentence": f"Version {version.version} was registered: {reason}", "tags": dict(version.tags)}
    deployments.append(
        ws.store, version.model, actor=actor, action=ledger.Action.REGISTER, now=now_utc(),
        body={"run_id": run_id, "artifacts": artifacts, "evidence": evidence},
        statuses={version.version: (Status.CANDIDATE, reason)},
    )  # fmt: skip


def quarantine(ws: Workspace, config: ModelConfig, decision: Mapping[str, Any], *, actor: str, run_id: str) -> Plain:
    """Set the broken stretches of the window aside: no training and no later check uses them, until they are released.

    What somebody has released already is not set aside again.
    """
    window = Window.from_dict(decision["window"])
    broken = broken_stretches(ws, config, decision["version"], window)
    if not broken:
        sentence = f"Set nothing of {config.model} aside: what is broken was released before."
        return outcome_of("released", decision, sentence, quarantined=[])
    for stretch in broken:
        ws.store.quarantine(
            config.model, stretch.start, stretch.end, decision["sentence"], now_utc(), decided_until=window.end
        )
    between = f"{broken[0].start:%Y-%m-%d %H:%M} to {broken[-1].end:%Y-%m-%d %H:%M} UTC"
    how = "from" if len(broken) == 1 else f"in {len(broken)} stretches from"
    sentence, stretches = f"Set {config.model} aside {how} {between}.", [stretch.to_dict() for stretch in broken]
    evidence = {"decision_id": decision["decision_id"], "sentence": sentence, "quarantined": stretches}
    deployments.append_once(
        ws.store, config.model, actor=actor, action="quarantine",
        identity={"evidence": {name: evidence[name] for name in ("decision_id", "quarantined")}},
        body={"run_id": run_id, "evidence": evidence}, now=now_utc(),
    )  # fmt: skip
    return outcome_of("quarantined", decision, sentence, quarantined=stretches)


def compose_message(
    ws: Workspace,
    config: ModelConfig,
    decision: Mapping[str, Any],
    outcome: Mapping[str, Any] | None = None,
    *,
    run_url: str | None = None,
) -> Plain:
    """Say what people must know, or nothing (``{}``) when all is clear or they were just told the same."""
    bodies: Plain = {}
    for kind in KINDS:
        report = ws.store.reports.get(report_id(kind, decision))
        bodies[kind] = report["body"] if report else None
    end = Window.from_dict(decision["window"]).end
    told = ws.store.decisions.notified(
        config.model,
        decision["version"],
        decision["action"],
        after=end - config.alerts.cooldown,
        until=end,
        other_than=decision["decision_id"],
    )
    return compose_alert(config, decision, outcome, bodies, told, run_url=run_url)


def record(
    ws: Workspace,
    config: ModelConfig,
    decision: Mapping[str, Any],
    outcome: Mapping[str, Any] | None,
    *,
    channels: Sequence[str],
) -> Plain:
    """Complete the decision's row with what came of it and who was told."""
    result = {**(outcome or {"outcome": decision["action"], "sentence": decision["sentence"]}), "told": list(channels)}
    ws.store.decisions.set_outcome(decision["decision_id"], result)
    return {**decision, "outcome": result}

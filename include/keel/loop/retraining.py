"""Train a challenger, register it and pin its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel import deployments
from keel.deployments.history import Status
from keel.ledger import entries as ledger
from keel.monitoring.label_check import about_held_labels, quarantine_broken_labels
from keel.monitoring.records import DataSlice, DecisionRecord, TrainedVersion
from keel.stats.json_numbers import finite_or_none
from keel.training.datasets import training_rows
from keel.training.training import Split, require_rows, train, training_key, training_recipe
from keel.window import now_utc

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.registry.registry import VersionInfo
    from keel.workspace import Workspace


def retrain(
    ws: Workspace,
    config: ModelConfig,
    decision: DecisionRecord,
    *,
    actor: str,
    run_id: str,
    now: datetime | None = None,
) -> TrainedVersion:
    """Train a challenger on the labelled rows of the decision's window and before, and register it.

    The same decision or the same rows train once. A decision that is carried out again finds its version, also when
    labels arrived in between. Another pipeline or other settings are another training.

    now: the time of the ledger's row. Default: the clock.
    """
    champion = deployments.read(ws.store, config.model).production
    same_decision = {"keel.decision_id": decision.decision_id, "keel.recipe": training_recipe(config)}
    version = ws.registry.find(config.model, same_decision)
    if version is None:
        used = Split.ending(decision.window.end, config)
        quarantine_broken_labels(ws, config, used.start, used.end, run_id=run_id, now=now)
        rows = training_rows(ws, config, decision.window)
        require_rows(config, rows, why=about_held_labels(ws, config, used.start, used.end))
        version = ws.registry.find(config.model, {"keel.training_key": training_key(config, rows)})
    if version is None:
        candidate = train(config, rows, reason=decision.sentence, parent=champion, decision_id=decision.decision_id)
        version = ws.registry.register(config, candidate, run_name=f"retrain to {rows.split.cut:%Y-%m-%d}")
        _pin_artifacts(ws, version, decision.sentence, actor=actor, run_id=run_id, now=now or now_utc())
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


def _pin_artifacts(ws: Workspace, version: VersionInfo, reason: str, *, actor: str, run_id: str, now: datetime) -> None:
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
        now=now,
        body={"run_id": run_id, "artifacts": artifacts, "evidence": evidence},
        statuses={version.version: (Status.CANDIDATE, reason)},
    )

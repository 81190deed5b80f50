"""What is done every night for all models: prove the ledger, sign what it is, delete what nobody needs any more."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.config.loading import shown_duration
from keel.deployments import version_retention as retention
from keel.deployments.consistency import find_disagreements
from keel.deployments.history import history
from keel.errors import ArtifactChanged, ConfigError, LedgerBroken, StoreDamaged, UnknownVersion
from keel.ledger import entries as ledger
from keel.ledger.checkpoints import CHECKPOINTS, SIGNING_KEY, VERIFY_KEY, check, write
from keel.ledger.signing_keys import private_key, public_keys
from keel.monitoring.performance_history import refresh
from keel.monitoring.window_counts import contiguous_spans, count_dirty_hours
from keel.window import floor_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


def verify_ledger(ws: Workspace, *, now: datetime, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Prove the chain and that the deployments follow from it; sign a checkpoint where a key and a place are set.

    environment: ``KEEL_SIGNING_KEY`` names the private key's file, ``KEEL_CHECKPOINTS`` the place, ``KEEL_VERIFY_KEY``
    a file of public keys whose earlier checkpoints count too.

    Raises
    ------
    LedgerBroken
        The ledger does not hold, or the deployments are not what it adds up to; nothing was signed.

    """
    environ = os.environ if environment is None else environment
    found = ledger.verify(ws.store)
    if found.broken_at is not None:
        raise LedgerBroken(f"row {found.broken_at} of the ledger: {found.reason}")
    if contradictions := find_disagreements(ws.store):
        raise LedgerBroken("; ".join(contradictions))
    key, place = environ.get(SIGNING_KEY), environ.get(CHECKPOINTS)
    trusted = public_keys(Path(environ[VERIFY_KEY])) if environ.get(VERIFY_KEY) else []
    if place and trusted and not key:  # somebody else signs, where no task can read the key
        checked = check(ws.store, place, trusted)
        if checked.broken_at is not None:
            raise LedgerBroken(f"row {checked.broken_at} of the ledger: {checked.reason}")
    if not (key and place):
        return {"entries": found.entries, "signed": None}
    signed = write(ws.store, place, private_key(Path(key)), now, trusted=trusted)
    return {"entries": found.entries, "signed": signed.name if signed else None}


def prune(ws: Workspace, config: ModelConfig, *, now: datetime, actor: str, run_id: str) -> dict[str, Any]:
    """Delete the versions of a model that are deployed nowhere and were kept as long as its policy wants."""
    deleted = retention.prune(ws.store, ws.registry, config, now=now, actor=actor, run_id=run_id)
    return {"model": config.model, "deleted": [each.to_dict() for each in deleted]}


def expire_rows(ws: Workspace, config: ModelConfig, *, now: datetime) -> dict[str, Any]:
    """Sum what labels have said of a model, then delete its rows and labels older than `retention.rows`.

    What is deleted was counted and summed before, and that is kept for ever; only rows of a version that the registry
    has lost go uncounted, as nobody knows by which grid to count them. What a running experiment or a probation is
    judged by stays until that has ended, and so do rows that cannot be counted for now. Labels that have found no
    prediction go as the rows do, and when they are older than `retention.unmatched_labels`. Interrupted or run
    again, it does the rest; a second time there is nothing to do.

    Returns ``summed_hours``, ``counted_hours``, ``deleted`` (rows), ``never_counted`` (of the hours given up, rows),
    ``unmatched_deleted`` (labels), ``before`` (ISO 8601; None: no row expires), ``kept_for`` (why rows older than
    `retention.rows` were kept) and a ``sentence``.
    """
    done: dict[str, Any] = {
        "model": config.model, "before": None, "deleted": 0, "never_counted": 0, "unmatched_deleted": 0,
        "summed_hours": 0, "counted_hours": 0, "kept_for": [],
    }  # fmt: skip
    done["summed_hours"] = refresh(ws, config)
    if config.retention.rows is None:
        said = [f"Rows of {config.model} are kept for ever (retention.rows is not set)."]
        horizon = None
    else:
        horizon, reasons = _horizon(ws, config, now - config.retention.rows)
        done |= _count_all(ws, config, horizon)
        done |= {"before": horizon.isoformat(), "kept_for": [*reasons, *done["kept_for"]]}
        done["deleted"] = ws.predictions(config).expire(horizon)
        said = _said(done, config, horizon)
    done["unmatched_deleted"] = _delete_unmatched_labels(ws, config, horizon, now)
    if done["unmatched_deleted"]:
        said.append(f"Deleted {done['unmatched_deleted']:,} labels that found no prediction.")
    return {**done, "sentence": " ".join(said)}


def _said(done: dict[str, Any], config: ModelConfig, horizon: datetime) -> list[str]:
    """Return in sentences what became of the rows."""
    assert config.retention.rows is not None
    span = f"{done['deleted']:,} rows of {config.model} from before {horizon:%Y-%m-%d %H:%M} UTC"
    log.info("deleted %s", span)
    said = [f"Deleted {span} (retention.rows {shown_duration(config.retention.rows)})."]
    if done["never_counted"]:
        said.append(f"{done['never_counted']:,} are of versions that the registry has lost, and were never counted.")
    return [*said, f"Kept though older: {'; '.join(done['kept_for'])}."] if done["kept_for"] else said


def _delete_unmatched_labels(ws: Workspace, config: ModelConfig, horizon: datetime | None, now: datetime) -> int:
    """Delete labels that have found no prediction and are older than rows or orphans are kept."""
    ends = [horizon] if horizon else []
    if config.retention.unmatched_labels is not None:
        ends.append(now - config.retention.unmatched_labels)
    return ws.predictions(config).delete_unmatched_labels(max(ends)) if ends else 0


def compact(ws: Workspace) -> dict[str, Any]:
    """Give the space of what was deleted back; return the store's size before and after, in bytes."""
    before, after = ws.store.compact()
    return {"bytes_before": before, "bytes_after": after}


def verify_store(ws: Workspace) -> dict[str, Any]:
    """Look whether rows, marks, counts and sums fit together, and on SQLite whether the file is whole.

    Raises
    ------
    StoreDamaged
        With a sentence for each fault.

    """
    if faults := ws.store.verify():
        raise StoreDamaged("; ".join(faults))
    return {"faults": 0}


def _horizon(ws: Workspace, config: ModelConfig, wanted: datetime) -> tuple[datetime, list[str]]:
    """Return the full hour before which rows may go, and what keeps it from being later."""
    state = history(ws.store, config.model)
    needs = []
    if state.probation is not None:
        needs.append((state.probation.since, f"version {state.probation.version} is on probation"))
    if state.experiment is not None:
        needs.append((state.experiment.started_at, f"the experiment {state.experiment.experiment_id} runs"))
    earlier = [(since, why) for since, why in needs if since < wanted]
    reasons = [f"rows from {since:%Y-%m-%d %H:%M} UTC on, as {why}" for since, why in earlier]
    return floor_hour(min([wanted, *(since for since, _ in earlier)])), reasons


def _count_all(ws: Workspace, config: ModelConfig, before: datetime) -> dict[str, Any]:
    """Count what is not counted yet of the hours before a time: ``counted_hours, never_counted, kept_for``.

    Hours of a version that the registry has lost are given up, so that their rows can go; but not where it has no
    version of the model at all, as then it is more likely another registry.
    """
    predictions = ws.predictions(config)
    hours: dict[int, dict[datetime, int]] = {}
    for version, hour, revision in predictions.dirty_hours(before):
        hours.setdefault(version, {})[hour] = revision
    registered = {each.version for each in ws.registry.versions(config.model)} if hours else set()
    counted, given_up, reasons = 0, 0, []
    for version, dirty in hours.items():
        if registered and version not in registered:
            given_up += sum(predictions.count(*span, version) for span in contiguous_spans(dirty))
            predictions.mark_counted(version, list(dirty.items()))
            continue
        try:
            counted += count_dirty_hours(ws, config, version, dirty).hours
        except (UnknownVersion, ConfigError, ArtifactChanged) as error:
            log.warning("%d hours of version %d cannot be counted: %s", len(dirty), version, error)
            reasons.append(f"{len(dirty):,} hours of version {version}, which cannot be counted ({error})")
    if given_up:
        log.warning("%d rows of versions of %s that the registry has lost are never counted", given_up, config.model)
    return {"counted_hours": counted, "never_counted": given_up, "kept_for": reasons}

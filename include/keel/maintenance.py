"""The nightly maintenance of all models: verify and sign the ledger, prune versions, expire rows, compact the store."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from keel.alerts.acknowledging import end_removed
from keel.alerts.records import ALL_MODELS
from keel.config.loading import shown_duration
from keel.deployments import version_retention as retention
from keel.deployments.consistency import find_disagreements
from keel.deployments.history import history
from keel.errors import ArtifactChanged, ConfigError, LedgerBroken, StoreDamaged, UnknownVersion
from keel.ledger import entries as ledger
from keel.ledger.checkpoints import CHECKPOINTS, SIGNING_KEY, VERIFY_KEY, check, write
from keel.ledger.signing_keys import private_key, public_keys
from keel.monitoring.performance_history import refresh
from keel.monitoring.records import Record, Time
from keel.monitoring.window_counts import contiguous_spans, count_dirty_hours
from keel.window import floor_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


class VerifiedLedger(Record):
    """A ledger whose chain and deployments were verified."""

    entries: int
    """Its rows."""
    signed: str | None = None
    """File of the checkpoint; None where no key and no place are configured."""


class PrunedVersion(Record):
    """A version that was deleted, and why."""

    version: int
    status: str | None
    """Its status before; None for a version that the ledger does not know."""
    reason: str
    begun: bool = False
    """Whether an earlier run recorded the deletion and was interrupted."""


class PrunedVersions(Record):
    """The versions of a model that were deleted."""

    model: str
    deleted: tuple[PrunedVersion, ...] = ()


class ExpiredRows(Record):
    """The rows and labels of a model that were deleted, and what was counted before."""

    model: str
    before: Time | None = None
    """Rows older than this were deleted; None where rows never expire."""
    deleted: int = 0
    """Rows."""
    never_counted: int = 0
    """Rows among them whose version the registry has lost, so that they were never counted."""
    unmatched_deleted: int = 0
    """Labels that matched no prediction."""
    alerts_deleted: int = 0
    """Alerts that were over."""
    messages_deleted: int = 0
    """With their deliveries and tries."""
    summed_hours: int = 0
    counted_hours: int = 0
    kept_for: tuple[str, ...] = ()
    """Why rows older than `retention.rows` were kept."""
    sentence: str = ""


class StoreSize(Record):
    """The size of the store before and after it was compacted, in bytes."""

    bytes_before: int
    bytes_after: int


class VerifiedStore(Record):
    """A store that is consistent."""

    faults: int = 0


def verify_ledger(ws: Workspace, *, now: datetime, environment: Mapping[str, str] | None = None) -> VerifiedLedger:
    """Verify the chain and the deployments that follow from it; sign a checkpoint where a key and a place are set.

    environment: ``KEEL_SIGNING_KEY`` names the file of the private key, ``KEEL_CHECKPOINTS`` the place of checkpoints,
    ``KEEL_VERIFY_KEY`` a file of public keys whose earlier checkpoints are trusted too.

    Raises
    ------
    LedgerBroken
        The chain is broken, or the deployments do not follow from the ledger. Nothing was signed.

    """
    environ = os.environ if environment is None else environment
    found = ledger.verify(ws.store)
    if found.broken_at is not None:
        raise LedgerBroken(f"row {found.broken_at} of the ledger: {found.reason}")
    if contradictions := find_disagreements(ws.store):
        raise LedgerBroken("; ".join(contradictions))
    key, place = environ.get(SIGNING_KEY), environ.get(CHECKPOINTS)
    trusted = public_keys(Path(environ[VERIFY_KEY])) if environ.get(VERIFY_KEY) else []
    if place and trusted and not key:  # another process signs, with a key that tasks cannot read
        checked = check(ws.store, place, trusted)
        if checked.broken_at is not None:
            raise LedgerBroken(f"row {checked.broken_at} of the ledger: {checked.reason}")
    if not (key and place):
        return VerifiedLedger(entries=found.entries)
    signed = write(ws.store, place, private_key(Path(key)), now, trusted=trusted)
    return VerifiedLedger(entries=found.entries, signed=signed.name if signed else None)


def prune(ws: Workspace, config: ModelConfig, *, now: datetime, actor: str, run_id: str) -> PrunedVersions:
    """Delete the versions of a model that are not deployed and older than `promotion.keep_versions`."""
    deleted = retention.prune(ws.store, ws.registry, config, now=now, actor=actor, run_id=run_id)
    versions = tuple(PrunedVersion.from_dict(each.to_dict()) for each in deleted)
    return PrunedVersions(model=config.model, deleted=versions)


def expire_rows(ws: Workspace, config: ModelConfig, *, now: datetime) -> ExpiredRows:
    """Sum a model's performance by the hour, then delete its rows and labels older than `retention.rows`.

    Its alerts and messages older than `retention.alerts` are deleted too, see `expire_alerts`.

    Counts and sums of the deleted rows are kept for ever. Only rows of a version that the registry has lost are deleted
    uncounted, because its grid is lost too. Rows that a running experiment or a probation still needs are kept until
    that has ended, and so are rows that cannot be counted now. Labels without a prediction are deleted with the rows of
    their time, and once they are older than `retention.unmatched_labels`. An interrupted run is completed by the next;
    a second run has nothing to do.
    """
    summed = refresh(ws, config)
    if config.retention.rows is None:
        horizon, done = None, ExpiredRows(model=config.model)
        sentence = f"Rows of {config.model} are kept for ever (retention.rows is not set)."
    else:
        horizon, reasons = _horizon(ws, config, now - config.retention.rows)
        counted = _count_all(ws, config, horizon)
        done = ExpiredRows(
            model=config.model,
            before=horizon,
            deleted=ws.predictions(config).expire(horizon),
            never_counted=counted.never_counted,
            counted_hours=counted.hours,
            kept_for=(*reasons, *counted.kept_for),
        )
        sentence = _sentence(done, horizon, config.retention.rows)
    unmatched = _delete_unmatched_labels(ws, config, horizon, now)
    if unmatched:
        sentence += f" Deleted {unmatched:,} labels that matched no prediction."
    forgotten = expire_alerts(ws, config, now=now)
    if any(forgotten.values()):
        number, messages = forgotten.values()
        sentence += f" Deleted {number:,} alerts and {messages:,} messages older than retention.alerts."
    counted_labels = {"unmatched_deleted": unmatched, "summed_hours": summed}
    return done.model_copy(update={**counted_labels, **forgotten, "sentence": sentence})


def expire_alerts(ws: Workspace, config: ModelConfig, *, now: datetime) -> dict[str, int]:
    """Delete what is older than `retention.alerts`: alerts that are over, observations, and messages with their tries.

    Kept is what is still on its way, and the message about an alert that is not over: later ones answer to it. What
    concerns no single model goes at the default age, and so does what is left of a model whose configuration is gone:
    its alerts are over. Returns the numbers, by field of `ExpiredRows`.
    """
    others = (ALL_MODELS, *end_removed(ws.store, but=config.model, now=now))
    ages = {config.model: config.retention.alerts, **dict.fromkeys(others, type(config.retention)().alerts)}
    horizons = {model: now - age for model, age in ages.items() if age is not None}
    return {
        "alerts_deleted": sum(ws.store.alerts.expire(model, before) for model, before in horizons.items()),
        "messages_deleted": sum(ws.store.outbox.expire(model, before) for model, before in horizons.items()),
    }


def compact(ws: Workspace) -> StoreSize:
    """Free the space of deleted rows, and return the store's size before and after."""
    before, after = ws.store.compact()
    return StoreSize(bytes_before=before, bytes_after=after)


def verify_store(ws: Workspace) -> VerifiedStore:
    """Verify rows, marks, counts and sums against each other, alerts against messages, and an SQLite file's integrity.

    Raises
    ------
    StoreDamaged
        With a sentence for each fault.

    """
    if faults := ws.store.verify():
        raise StoreDamaged("; ".join(faults))
    return VerifiedStore()


def _sentence(done: ExpiredRows, horizon: datetime, age: timedelta) -> str:
    deleted = f"{done.deleted:,} rows of {done.model} from before {horizon:%Y-%m-%d %H:%M} UTC"
    log.info("deleted %s", deleted)
    sentences = [f"Deleted {deleted} (retention.rows {shown_duration(age)})."]
    if done.never_counted:
        sentences.append(f"{done.never_counted:,} are of versions that the registry has lost, and were never counted.")
    if done.kept_for:
        sentences.append(f"Kept though older: {'; '.join(done.kept_for)}.")
    return " ".join(sentences)


def _delete_unmatched_labels(ws: Workspace, config: ModelConfig, horizon: datetime | None, now: datetime) -> int:
    """Delete labels without a prediction that are older than the rows, or than `retention.unmatched_labels`."""
    ends = [horizon] if horizon else []
    if config.retention.unmatched_labels is not None:
        ends.append(now - config.retention.unmatched_labels)
    return ws.predictions(config).delete_unmatched_labels(max(ends)) if ends else 0


def _horizon(ws: Workspace, config: ModelConfig, wanted: datetime) -> tuple[datetime, list[str]]:
    """Return the full hour before which rows may be deleted, and the reasons why it is not later."""
    state = history(ws.store, config.model)
    needs = []
    if state.probation is not None:
        needs.append((state.probation.since, f"version {state.probation.version} is on probation"))
    if state.experiment is not None:
        needs.append((state.experiment.started_at, f"the experiment {state.experiment.experiment_id} is running"))
    earlier = [(since, why) for since, why in needs if since < wanted]
    reasons = [f"rows from {since:%Y-%m-%d %H:%M} UTC on, because {why}" for since, why in earlier]
    return floor_hour(min([wanted, *(since for since, _ in earlier)])), reasons


class _Counted(NamedTuple):
    """What was counted before rows expire."""

    hours: int
    never_counted: int
    kept_for: list[str]


def _count_all(ws: Workspace, config: ModelConfig, before: datetime) -> _Counted:
    """Count all uncounted hours before a time.

    Hours of a version that the registry has lost are given up, so that their rows can be deleted. But if the registry
    has no version of the model at all, it is more likely another registry, and they are kept.
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
    return _Counted(counted, given_up, reasons)

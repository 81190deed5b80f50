"""Start a run of a model's live monitors, or go on with the stored one.

The monitors start afresh when another version goes into production, or the same one again, when their settings have
changed, and when their saved state cannot be read. Only the first of these is a new question. In the same term of a
version the columns go on where they stopped, and the mean loss behind its last judged alarm, else at the promotion, so
that weeks which each show nothing add up. A new run is then restarted for each alarm that a check has judged, as the
run was that had opened it: what was judged alarms no second time. The store has all that this takes, so a state that
cannot be read is a start like the others.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keel.deployments.history import Term, production_term
from keel.errors import SchemaError
from keel.grid.contexts import ContextReference
from keel.ledger import entries as ledger
from keel.monitoring.live.audit import AuditMonitor
from keel.monitoring.live.groups import Judged, ReadTimes
from keel.monitoring.live.harm import HarmMonitor
from keel.monitoring.live.loss_plan import plan_losses, why_untested
from keel.monitoring.live.promise import promise_of
from keel.monitoring.live.run import LiveRun
from keel.monitoring.live.shifts import ShiftMonitors, ShiftPlan, key_of
from keel.monitoring.live.state import RunHeader, SavedState
from keel.monitoring.records import LiveAlarm
from keel.monitoring.storage import derived_id

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.deployments import Deployment
    from keel.monitoring.live.groups import Arrays, MonitorGroup
    from keel.store.live import StoredMonitors
    from keel.workspace import Workspace

_LOSSES: dict[str, type[HarmMonitor] | type[AuditMonitor]] = {"harm": HarmMonitor, "audit": AuditMonitor}
"""The monitors of the mean loss, by their kind."""
_NOTHING: Mapping[str, Arrays] = MappingProxyType({})
_KEPT = "What checks have judged stays judged, except a mean loss that another performance.metric measures."


@dataclass(frozen=True)
class Started:
    """A run, and what must be stored with its first step."""

    run: LiveRun
    reference: bytes | None = None
    """What the run compares with; None where it is stored."""
    fault: LiveAlarm | None = None
    """Why the last run could not go on, where that was nobody's wish."""
    is_new: bool = False
    """Whether there is anything to store."""


def continue_or_start(
    ws: Workspace, config: ModelConfig, stored: StoredMonitors | None, deployment: Deployment, now: datetime
) -> Started:
    """Return the stored run if it is about the version in production and the settings of now, else a new one.

    Raises
    ------
    RegistryUnavailable, ArtifactChanged, UnknownVersion
        A new run needs the version's reference, and the registry does not have it now.

    """
    assert deployment.production is not None, "the caller asks only where a version is in production"
    if stored is None or stored.state is None:
        return _start(ws, config, deployment.production, now)
    fault, earlier = None, _NOTHING
    try:
        saved = SavedState.from_bytes(stored.state)
        ended = _why_ended(ws, config, saved.header, stored, deployment)
        if ended is None:
            return Started(restored(ws, saved), is_new=stored.generation != deployment.generation)
        remark, earlier = ended, saved.groups
    except SchemaError as error:
        since = f" since {stored.started_at:%Y-%m-%d %H:%M} UTC" if stored.started_at else ""
        remark = (
            f"The saved state of the live monitors could not be used: {error}. They started afresh on "
            f"{now:%Y-%m-%d %H:%M} UTC behind prediction {stored.predictions_until:,}; what they had gathered{since} "
            f"is lost. {_KEPT}"
        )
        fault = fault_alarm(config.model, deployment.production, "state", remark, now)
    after = stored.predictions_until if stored.version == deployment.production else 0
    started = _start(ws, config, deployment.production, now, after=after, earlier=earlier, remark=remark)
    return Started(started.run, started.reference, fault, is_new=True)


def restored(ws: Workspace, saved: SavedState) -> LiveRun:
    """Return the run that was saved; SchemaError where its parts do not fit each other."""
    digest = saved.header.reference
    reference = _REFERENCES.get(digest)
    if reference is None:
        body = ws.store.live.reference(saved.header.model)
        if body is None or hashlib.sha256(body).hexdigest() != digest:
            raise SchemaError("the reference that belongs to it is missing or damaged")
        reference = ContextReference.from_bytes(body)
        _REFERENCES.put(digest, reference)
    try:
        shifts = ShiftMonitors.from_arrays(_plan(reference, saved.header), saved.groups["shift"])
        others = [_LOSSES[kind].from_arrays(arrays) for kind, arrays in saved.groups.items() if kind in _LOSSES]
        return LiveRun(shifts, others, saved)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise SchemaError(f"its parts do not fit each other: {type(error).__name__}") from error


def fault_alarm(model: str, version: int, subject: str, sentence: str, now: datetime) -> LiveAlarm:
    """Return an alarm about the monitoring itself."""
    return LiveAlarm(
        alarm_id=f"live-{derived_id(model, str(version), 'fault', subject, now.isoformat())}",
        model=model,
        version=version,
        kind="fault",
        subject=subject,
        opened_at=now,
        since=now,
        sentence=sentence,
    )


def settings_of(config: ModelConfig) -> dict[str, Any]:
    """Return the settings that decide what the monitors compute, as plain JSON."""
    found = {
        "live": config.live.model_dump(mode="json") if config.live else None,
        "labels": config.labels.model_dump(mode="json"),
        "features": dict(config.features),
        "target": {"kind": config.target.kind, "label_delay": config.target.label_delay.total_seconds()},
        "performance": {
            "metric": config.performance.metric,
            "max_degradation": config.performance.max_degradation,
        },
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _why_ended(
    ws: Workspace, config: ModelConfig, header: RunHeader, stored: StoredMonitors, deployment: Deployment
) -> str | None:
    """Return why a new run begins, empty where its version has come into production; None: the stored one goes on."""
    if header.version != deployment.production or stored.generation != deployment.generation:
        term = _term(ws, config.model)
        if header.version != deployment.production or term is None or term.since != header.since:
            return ""
    changed = _changed(header.settings, settings_of(config))
    if changed:
        return f"The monitors started afresh because settings changed: {', '.join(changed)}. {_KEPT}"
    return None


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names of settings that differ."""
    found = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _changed(before, after, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def _term(ws: Workspace, model: str) -> Term | None:
    return production_term(ledger.entries(ws.store, model))


def _start(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    now: datetime,
    *,
    after: int = 0,
    earlier: Mapping[str, Arrays] = _NOTHING,
    remark: str = "",
) -> Started:
    """Return a new run.

    after: the arrival number up to which an earlier run of the version has read the columns. earlier: the groups of the
    last run, by kind, where its state can be read.
    """
    assert config.live is not None, "the caller asks only where the model is monitored"
    log, term = ws.predictions(config), _term(ws, config.model) or Term(version, now, 0)
    reference = _reference(ws, config, version)
    body = reference.to_bytes()
    digest = hashlib.sha256(body).hexdigest()
    others, why_not = _start_losses(ws, config, version, after=term.arrival, last=log.last_arrival(), earlier=earlier)
    header = RunHeader(
        model=config.model,
        version=version,
        started_at=now,
        since=term.since,
        settings=settings_of(config),
        promise=promise_of(config.live, len(reference.names) + len(others), log, start=term.since),
        reference=digest,
        remarks=tuple(text for text in (remark, *reference.remarks, why_not) if text),
    )
    shifts = ShiftMonitors.start(_plan(reference, header), after=max(term.arrival, after))
    _REFERENCES.put(digest, reference)
    _restart_judged(ws, header, (shifts, *others), behind=term.arrival)
    return Started(LiveRun(shifts, others, SavedState(header, {})), body, is_new=True)


def _restart_judged(ws: Workspace, header: RunHeader, groups: Sequence[MonitorGroup], *, behind: int) -> None:
    """Restart each monitor whose alarm a check has judged, if it had read beyond the arrival number ``behind``."""
    monitors = {(group.kind, subject): (group, i) for group in groups for i, subject in enumerate(group.subjects)}
    for alarm in ws.store.live.judged(header.model, header.version):
        judged, monitor = Judged.of(alarm), monitors.get((alarm["kind"], alarm["subject"]))
        if monitor is not None and judged.until > behind:
            group, i = monitor
            group.restart(i, judged)


def _start_losses(
    ws: Workspace, config: ModelConfig, version: int, *, after: int, last: int, earlier: Mapping[str, Arrays]
) -> tuple[list[MonitorGroup], str]:
    """Return the monitors of the mean loss, and why there are none; empty where they are, or are not wanted."""
    assert config.live is not None, "the caller asks only where the model is monitored"
    if not config.live.harm:
        return [], ""
    stored = ws.registry.reference(config.model, version)
    plan = plan_losses(config, stored)
    if plan is None:
        return [], why_untested(config, stored)
    size, thinning = config.live.block_size, config.live.thinning
    delay, due = config.target.label_delay, config.labels.audit_delay
    harm = HarmMonitor.start(plan, after=after, last=last, delay=delay, block_size=size, thinning=thinning)
    found: list[HarmMonitor | AuditMonitor] = [harm]
    if (share := config.labels.audit_share) is not None:
        audit = AuditMonitor.start(plan, after=after, share=share, delay=due, block_size=size, thinning=thinning)
        found.append(audit)
    for monitor in found:
        # else a row dated ahead would hold up for a whole delay what is read again
        if (arrays := earlier.get(monitor.kind)) is not None:
            monitor.read.go_on(ReadTimes.from_arrays(arrays))
    return [*found], ""


def _plan(reference: ContextReference, header: RunHeader) -> ShiftPlan:
    promise = header.promise
    key = key_of(header.model, header.version, header.started_at)
    return ShiftPlan(reference, promise.block_size, promise.thinning, key)


def _reference(ws: Workspace, config: ModelConfig, version: int) -> ContextReference:
    """Return the reference of the columns that are monitored."""
    assert config.live is not None, "the caller asks only where the model is monitored"
    reference = ws.registry.context_reference(config.model, version)
    if reference is None or reference.context != config.live.context:
        reference = ContextReference.of_grid(ws.registry.grid(config.model, version), config.live.context)
    known = {*config.features, "score", "prediction"} - ({"score"} if config.target.kind == "regression" else set())
    return reference.select(known if config.live.columns is None else known & set(config.live.columns))


class _References:
    """The references that this process has read lately, by digest: parsing one takes longer than a block."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._held: OrderedDict[str, ContextReference] = OrderedDict()

    def get(self, digest: str) -> ContextReference | None:
        with self._lock:
            if digest in self._held:
                self._held.move_to_end(digest)
            return self._held.get(digest)

    def put(self, digest: str, reference: ContextReference) -> None:
        with self._lock:
            self._held[digest] = reference
            while len(self._held) > self._most:
                self._held.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._held.clear()


_REFERENCES = _References(most=64)


def forget_references() -> None:
    """Forget the references that this process has read, as a new process would."""
    _REFERENCES.clear()

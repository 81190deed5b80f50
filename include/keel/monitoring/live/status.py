"""What is known of a model's live monitors, read from the store: for the command line, pages and metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from keel import deployments
from keel.deployments.history import production_term
from keel.errors import SchemaError
from keel.ledger import entries as ledger
from keel.monitoring.alarms import HARM_KINDS
from keel.monitoring.live.run import LOG_10, LiveRun, monitor_name, time_of
from keel.monitoring.live.starting import restored
from keel.monitoring.live.state import SavedState
from keel.monitoring.records import AlarmStatus, LiveAlarm, LiveState, LiveStatus, MonitorStatus

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.deployments import Deployment
    from keel.store.live import StoredMonitors, TrajectoryPoint
    from keel.workspace import Workspace

STALLED_AFTER = timedelta(minutes=5)
"""A whole block that waits for longer has no reader: the triggerer polls every few seconds."""
JUDGED = 10
"""Judged alarms that are shown."""


def live_status(ws: Workspace, config: ModelConfig, *, now: datetime, trajectories: bool = True) -> LiveStatus:
    """Return the status of a model's live monitors. Reads the store alone, and changes nothing.

    trajectories: without them less is read, for metrics that are refreshed often.

    Raises
    ------
    StoreUnavailable
        The store cannot be reached.

    """
    deployment = deployments.read(ws.store, config.model)
    stored = ws.store.live.read(config.model)
    run, fault = _run(ws, stored) if config.live is not None else (None, "")
    points = ws.store.live.trajectory(config.model, run.header.started_at) if run and trajectories else []
    alarms = ws.store.live.alarms(config.model)
    still_open = ws.store.live.open_alarms(config.model)
    judged = [LiveAlarm.from_dict(each) for each in reversed(alarms) if each["judged_by"] is not None][:JUDGED]
    unjudged = tuple(
        AlarmStatus(alarm=LiveAlarm.from_dict(each), rings=each["rings"], last_ring_at=each["last_ring_at"])
        for each in still_open
    )
    situation = _Situation(ws, config, deployment, stored, run, now)
    state = situation.state
    return LiveStatus(
        model=config.model,
        state=state,
        sentence=situation.sentence(state),
        production=deployment.production,
        version=stored.version if stored else None,
        started_at=stored.started_at if stored else None,
        paused=bool(stored and stored.paused),
        block_size=situation.block_rows,
        rows=stored.rows if stored else 0,
        blocks=run.shifts.blocks if run else 0,
        seen_until=stored.seen_until if stored else None,
        last_block_at=stored.last_block_at if stored else None,
        waiting=situation.waiting[0],
        waiting_labels=situation.waiting[1],
        times=tuple(point.at for point in points),
        monitors=_monitors(run, points, [each.alarm for each in unjudged]) if run else (),
        alarms=unjudged,
        judged=tuple(judged),
        promise=run.header.promise.sentence if run else "",
        notes=run.notes if run else (),
        fault=fault,
    )


def _run(ws: Workspace, stored: StoredMonitors | None) -> tuple[LiveRun | None, str]:
    """Return the stored run, and why it cannot be read."""
    if stored is None or stored.state is None:
        return None, ""
    try:
        return restored(ws, SavedState.from_bytes(stored.state)), ""
    except SchemaError as error:
        return None, f"The saved state of the live monitors cannot be used: {error}. The next block starts them afresh."


def _monitors(
    run: LiveRun, points: Sequence[TrajectoryPoint], alarms: Sequence[LiveAlarm]
) -> tuple[MonitorStatus, ...]:
    """Return each monitor. One whose alarm was judged starts anew with its next block, and has no evidence until then.

    alarms: the open ones.
    """
    mine = {f"{alarm.kind}:{alarm.subject}": alarm for alarm in alarms if alarm.version == run.header.version}
    evidence, bound = run.evidence(), run.header.promise.log_bound / LOG_10
    found = []
    for group in run.groups:
        starts = group.estimated_starts()
        for i, subject in enumerate(group.subjects):
            name = monitor_name(group, i)
            judged = run.is_judged(name, mine.get(name))
            blocks = 0 if judged else run.blocks_of(group, i)
            status = MonitorStatus(
                kind=group.kind,
                subject=subject,
                evidence=None if judged else evidence.get(name),
                bound=bound,
                blocks=blocks,
                since=time_of(starts[i]) if blocks else None,
                trajectory=tuple(point.evidence.get(name) for point in points),
            )
            found.append(status)
    return tuple(found)


@dataclass(frozen=True)
class _Situation:
    """Whether anything reads the model's rows."""

    ws: Workspace
    config: ModelConfig
    deployment: Deployment
    stored: StoredMonitors | None
    run: LiveRun | None
    now: datetime

    @property
    def production(self) -> int | None:
        return self.deployment.production

    @property
    def block_rows(self) -> int:
        live = self.config.live
        return live.block_size * live.thinning if live else 100

    @cached_property
    def waiting(self) -> tuple[int, int]:
        """How many predictions of the version in production, and how many labels, wait for a monitor."""
        if self.production is None or self.config.live is None:
            return 0, 0
        rows, labels = self._after
        labels_after = labels if self._reads_labels else None
        return self.ws.predictions(self.config).waiting(self.production, after=rows, labels_after=labels_after)

    @property
    def _reads_labels(self) -> bool:
        """Whether the mean loss is monitored, or may be by the run that is about to start."""
        if self.run is not None and self.run.header.version == self.production:
            return any(group.kind in HARM_KINDS for group in self.run.groups)
        return self.config.live is not None and self.config.live.harm

    @cached_property
    def _after(self) -> tuple[int, int]:
        """The arrival numbers up to which rows and labels are read: those of the present term only."""
        stored, read = self.stored, (0, 0)
        if stored is not None and stored.version == self.production:
            read = stored.predictions_until, stored.labels_until
            if stored.generation == self.deployment.generation:
                return read
        term = production_term(ledger.entries(self.ws.store, self.config.model))
        return read if term is None else (max(read[0], term.arrival), max(read[1], term.arrival))

    @property
    def state(self) -> LiveState:
        if self.config.live is None:
            return "off"
        if self.production is None:
            return "no version"
        if self.stored is not None and self.stored.paused:
            return "paused"
        if self.waiting[0] >= self.block_rows and self._is_idle:
            return "stalled"
        return "reading" if self.stored is not None and self.stored.version == self.production else "starting"

    @property
    def _is_idle(self) -> bool:
        """Whether nothing was read for longer than any poll takes, though there was something to read.

        A block that arrives after a quiet night has not waited since the evening, and one that has waited for the end
        of a pause is read with the next look at the model.
        """
        assert self.production is not None, "the caller asks only where a version is in production"
        if self.stored is not None and self.now - self.stored.updated_at <= STALLED_AFTER:
            return False
        rows = self.ws.predictions(self.config).arrived(self.production, after=self._after[0], limit=1)
        if not rows.num_rows:
            return False
        # not `as_py`, which imports pandas, in the API server, too
        arrived = datetime.fromtimestamp(rows["time"][0].value / 1e6, UTC)
        return self.now - arrived > STALLED_AFTER

    def sentence(self, state: LiveState) -> str:
        model, waiting = self.config.model, self.waiting[0]
        wait = f"{waiting:,} prediction{' waits' if waiting == 1 else 's wait'}"
        if state == "off":
            return f"{model}: live is null in the configuration, so nothing is monitored between checks."
        if state == "no version":
            return f"{model} has no version in production, so nothing is monitored."
        if state == "paused":
            return f"The monitors are paused. {wait} and will be read after: keel live {model} --resume"
        if state == "stalled":
            return f"{wait} and {self._last_block()}: is the DAG {model}.drift_check paused, or the triggerer down?"
        if state == "starting":
            block = f"the first whole block of {self.block_rows:,} of version {self.production}"
            return f"{wait}. The monitors start with {block}."
        return f"{wait} for a whole block of {self.block_rows:,}."

    def _last_block(self) -> str:
        last = self.stored.last_block_at if self.stored else None
        return "no block was read yet" if last is None else f"the last block was read {_ago(self.now - last)} ago"


def _ago(time: timedelta) -> str:
    """Return a time as a whole number of its largest unit.

    >>> _ago(timedelta(hours=3, minutes=40)), _ago(timedelta(seconds=-5))
    ('3 h', '0 s')
    """
    seconds = max(0, math.floor(time.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length or (seconds >= length and unit != "d"):
            return f"{seconds // length} {unit}"
    return f"{seconds} s"

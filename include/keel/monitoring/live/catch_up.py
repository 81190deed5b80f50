"""Bring a model's live monitors up to date with the store: each prediction and each label exactly once.

A step reads a page of rows after the stored watermarks, updates the monitors, and stores state, watermarks, alarms and
trajectory in one transaction, if no other process was first. So a process may be killed anywhere, and any number of
processes may do the same at once. A backlog of any length takes the memory of a page.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.monitoring.live.groups import Feed, Judged
from keel.monitoring.live.starting import Started, continue_or_start
from keel.monitoring.records import LiveAlarm, LiveProgress
from keel.store.live import StoredMonitors

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.live.run import LiveRun, OpenAlarms, Step
    from keel.workspace import Workspace

MAX_BLOCKS = 1_000
"""Blocks of one call: a few seconds of work, after which the caller can turn to other models."""


def catch_up(
    ws: Workspace, config: ModelConfig, *, now: datetime, max_blocks: int = MAX_BLOCKS, max_steps: int | None = None
) -> LiveProgress:
    """Read a model's new predictions and labels in blocks, update its monitors, and open alarms.

    The monitors are started where there are none, and started afresh where they cannot go on (`starting`). Nothing is
    read while they are paused, without a version in production, and where ``live`` is null.

    Parameters
    ----------
    now
        The present. Labels mature by it and by the end of the last block of predictions, whichever is earlier.
    max_blocks
        About as many blocks are read at most; see `LiveProgress.behind`.
    max_steps
        As many pages of rows and labels are read at most: labels that complete no block take time as well.

    Returns
    -------
    What this call has stored. Where another process stored the same rows first, it ends without them.

    Raises
    ------
    StoreUnavailable, RegistryUnavailable
        The next call does what this one could not.

    """
    stored, deployment = ws.store.live.read(config.model), deployments.read(ws.store, config.model)
    done = _Done(config.model, deployment.production)
    if config.live is None or deployment.production is None or (stored is not None and stored.paused):
        return done.progress()
    started = continue_or_start(ws, config, stored, deployment, now)
    feed = Feed(
        log=ws.predictions(config),
        config=config,
        version=deployment.production,
        now=now,
        horizon=None,
        last_arrival=ws.predictions(config).last_arrival(),
        excluded=tuple((each["start"], each["end"]) for each in ws.store.quarantines(config.model)),
    )
    new: Started | None = started if started.is_new else None
    while True:
        open_alarms, come_to = _open_alarms(ws, config, feed.version)
        step = started.run.step(
            feed,
            blocks=max_blocks - done.blocks,
            open_alarms=open_alarms,
            judged={**come_to, **_judged(ws, started.run, open_alarms)},
        )
        if not step.changed and new is None:
            break
        state = _to_store(started.run, step, stored, deployment.generation, now)
        if not _commit(ws, state, stored, step, new):
            break
        done.add(step, new.fault if new else None)
        stored, new = replace(state, revision=_revision(stored) + 1), None
        if not step.more or done.blocks >= max_blocks or done.steps == max_steps:
            break
    return done.progress()


def _open_alarms(ws: Workspace, config: ModelConfig, version: int) -> tuple[OpenAlarms, dict[str, Judged]]:
    """Return the open alarms of a version's monitors, by monitor, and what these had come to, by the alarms' ids."""
    found = [each for each in ws.store.live.open_alarms(config.model) if each["version"] == version]
    alarms = {f"{each['kind']}:{each['subject']}": LiveAlarm.from_dict(each) for each in found}
    return alarms, {each["alarm_id"]: Judged.of(each) for each in found}


def _judged(ws: Workspace, run: LiveRun, open_alarms: OpenAlarms) -> dict[str, Judged]:
    """Return the alarms that a run follows and that checks have judged, by their ids. Read after the open ones."""
    still_open = {alarm.alarm_id for alarm in open_alarms.values()}
    judged = [alarm_id for alarm_id in run.followed if alarm_id not in still_open]
    return {each["alarm_id"]: Judged.of(each) for each in ws.store.live.alarms_of(judged)} if judged else {}


def _to_store(
    run: LiveRun, step: Step, before: StoredMonitors | None, generation: int, now: datetime
) -> StoredMonitors:
    header, saved = run.header, run.save()
    same = before is not None and before.started_at == header.started_at
    return StoredMonitors(
        model=header.model,
        version=header.version,
        generation=generation,
        started_at=header.started_at,
        predictions_until=run.shifts.until,
        labels_until=int(saved.groups["harm"]["labels"]) if "harm" in saved.groups else 0,
        rows=run.rows,
        seen_until=run.seen_until,
        last_block_at=now if step.blocks else before.last_block_at if before is not None and same else None,
        state=saved.to_bytes(),
        updated_at=now,
    )


def _commit(
    ws: Workspace, state: StoredMonitors, before: StoredMonitors | None, step: Step, new: Started | None
) -> bool:
    """Store a step if no other process was first."""
    alarms = [*step.opened, *step.updated, *([new.fault] if new and new.fault else [])]
    return ws.store.live.commit(
        state.model,
        _revision(before),
        state,
        alarms=[_alarm_to_store(alarm, step) for alarm in alarms],
        withdrawn=step.withdrawn,
        trajectory=step.trajectory,
        reference=new.reference if new else None,
    )


def _alarm_to_store(alarm: LiveAlarm, step: Step) -> dict[str, Any]:
    resume = step.resume.get(alarm.alarm_id)
    return alarm.to_dict() if resume is None else {**alarm.to_dict(), "resume": resume}


def _revision(stored: StoredMonitors | None) -> int:
    return 0 if stored is None else stored.revision


@dataclass
class _Done:
    """What the steps of a call have stored."""

    model: str
    version: int | None
    steps: int = 0
    blocks: int = 0
    rows: int = 0
    labels: int = 0
    more: bool = False
    opened: list[LiveAlarm] = field(default_factory=list)

    def add(self, step: Step, fault: LiveAlarm | None) -> None:
        self.steps += 1
        self.blocks += step.blocks
        self.rows += step.rows
        self.labels += step.labels
        self.more = step.more
        self.opened += [*step.opened, *([fault] if fault else [])]

    def progress(self) -> LiveProgress:
        return LiveProgress(
            model=self.model,
            version=self.version,
            blocks=self.blocks,
            rows=self.rows,
            labels=self.labels,
            behind=self.more,
            opened=tuple(self.opened),
        )

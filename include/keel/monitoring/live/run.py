"""One run of a model's live monitors: let every group advance, and follow the alarms they open.

An alarm opens when a monitor's evidence reaches its bound. While it is open the monitor goes on and opens no second
one. When a check has judged it, the monitor starts anew, and a loss that was real is tolerated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.monitoring.alarms import HARM_KINDS
from keel.monitoring.live.groups import Judged
from keel.monitoring.live.state import Mark, RunHeader, SavedState
from keel.monitoring.records import LiveAlarm
from keel.monitoring.storage import derived_id
from keel.store.live import TrajectoryPoint

if TYPE_CHECKING:
    from keel.monitoring.live.groups import Advance, Feed, MonitorGroup
    from keel.monitoring.live.shifts import ShiftMonitors

LOG_10 = math.log(10)
OpenAlarms = Mapping[str, LiveAlarm]
"""By monitor, such as ``shift:distance``."""


@dataclass
class Step:
    """What the groups read in one step."""

    blocks: int = 0
    """Whole blocks of predictions or labels."""
    rows: int = 0
    labels: int = 0
    more: bool = False
    """Whether more rows may be waiting."""
    changed: bool = False
    """Whether there is anything to store."""
    opened: list[LiveAlarm] = field(default_factory=list)
    updated: list[LiveAlarm] = field(default_factory=list)
    """Alarms of earlier steps with their evidence now."""
    withdrawn: list[str] = field(default_factory=list)
    """Ids of alarms of an earlier run that this one does not find."""
    resume: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the id of an alarm, what a later run takes over once it is judged."""
    trajectory: list[TrajectoryPoint] = field(default_factory=list)


class LiveRun:
    """The monitors of one version from one start on."""

    def __init__(self, shifts: ShiftMonitors, others: Sequence[MonitorGroup], saved: SavedState) -> None:
        self.shifts = shifts
        self.groups: tuple[MonitorGroup, ...] = (shifts, *others)
        self._saved = saved

    @property
    def header(self) -> RunHeader:
        """What is fixed for the run."""
        return self._saved.header

    @property
    def rows(self) -> int:
        """Predictions read since the start."""
        return self._saved.rows

    def save(self) -> SavedState:
        """Return the whole state."""
        self._saved.groups = {group.kind: group.to_arrays() for group in self.groups}
        return self._saved

    def evidence(self) -> dict[str, float]:
        """Return the decimal logarithm of each monitor's evidence; a monitor without a block yet is missing."""
        return {
            monitor_name(group, i): value / LOG_10
            for group in self.groups
            for i, value in enumerate(group.evidence().tolist())
            if value > -math.inf
        }

    def blocks_of(self, group: MonitorGroup, i: int) -> int:
        """Return a monitor's blocks since its own start."""
        return group.blocks - self._saved.restarted.get(monitor_name(group, i), 0)

    def is_judged(self, name: str, alarm: LiveAlarm | None) -> bool:
        """Whether a monitor's alarm has been judged since its last block: it starts anew with the next one.

        alarm: its open alarm.
        """
        mark = self._saved.marks.get(name)
        return mark is not None and (alarm is None or alarm.alarm_id != mark.alarm_id)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is monitored with less power, or not at all, and why."""
        return (*self.header.remarks, *(group.note for group in self.groups if group.note))

    @property
    def followed(self) -> tuple[str, ...]:
        """Ids of the alarms that its monitors follow, as far as they know."""
        return tuple(mark.alarm_id for mark in self._saved.marks.values())

    def step(self, feed: Feed, *, blocks: int, open_alarms: OpenAlarms, judged: Mapping[str, Judged]) -> Step:
        """Let every group read up to about this many blocks, and return what became of it. Stores nothing.

        Parameters
        ----------
        feed
            Its horizon and its blocks are replaced by the run's own.
        open_alarms
            Those of this version.
        judged
            What the monitors of the open alarms, and of those of the `followed` ones that checks have judged, had come
            to, by the ids of the alarms.

        """
        step = Step(changed=self._follow(open_alarms, judged))
        for group in self.groups:
            # The rows that the columns have just read are the present for the labels.
            horizon = None if self.seen_until is None else min(feed.now, self.seen_until)
            advance = group.advance(replace(feed, horizon=horizon), blocks=blocks)
            if advance is None:
                continue
            if group is self.shifts:
                feed = replace(feed, ends=advance.ends, numbers=advance.numbers)
            self._count(step, group, advance)
            for i in range(len(group.subjects)):
                self._judge(step, group, i, advance, open_alarms)
                self._withdraw(step, group, i)
            if group is self.shifts:
                step.trajectory = self._points(advance)
        others = {name: round(value, 3) for name, value in self.evidence().items() if not name.startswith("shift:")}
        step.trajectory = [replace(point, evidence={**point.evidence, **others}) for point in step.trajectory]
        return step

    def _follow(self, open_alarms: OpenAlarms, judged: Mapping[str, Judged]) -> bool:
        """Restart the monitors whose alarms were judged, and take over open alarms of an earlier run."""
        marks, changed = self._saved.marks, False
        for group in self.groups:
            for i in range(len(group.subjects)):
                name = monitor_name(group, i)
                alarm = open_alarms.get(name)
                if self.is_judged(name, alarm):
                    group.restart(i, judged.get(marks[name].alarm_id, Judged()))
                    self._saved.restarted[name] = group.blocks
                    del marks[name]
                    changed = True
                if name not in marks and alarm is not None:
                    # a column goes on where the earlier run stopped, and reads none of its rows again
                    until = judged.get(alarm.alarm_id, Judged()).until if group.kind in HARM_KINDS else 0
                    marks[name] = Mark(alarm.alarm_id, group.blocks, alarm.rows_since, until)
                    changed = True
        return changed

    def _count(self, step: Step, group: MonitorGroup, advance: Advance) -> None:
        step.changed = True
        step.blocks += len(advance.ends)
        step.more |= advance.more
        if group is self.shifts:
            step.rows += advance.rows
            self._saved.rows += advance.rows
        elif group.kind == "harm":  # the rows of an audit are predictions, and its labels are among those of harm
            step.labels += advance.rows

    def _judge(self, step: Step, group: MonitorGroup, i: int, advance: Advance, open_alarms: OpenAlarms) -> None:
        """Open an alarm at the first block above the bound, or follow the open one."""
        evidence, first = advance.evidence[:, i] / LOG_10, group.blocks - len(advance.ends)
        if not len(evidence):
            return
        name = monitor_name(group, i)
        mark = self._saved.marks.get(name)
        if mark is None:
            above = np.flatnonzero(advance.evidence[:, i] >= self.header.promise.log_bound)
            if not len(above):
                return
            at = int(above[0])
            alarm = self._open(group, i, advance, at)
            mark = Mark(alarm.alarm_id, first + at + 1, int(advance.rows_since[at, i]))
            self._saved.marks[name] = mark
            step.opened.append(self._as_of_now(alarm, group, mark, float(evidence[-1])))
            step.resume[mark.alarm_id] = group.resume(i)
        else:
            step.updated.append(self._as_of_now(open_alarms[name], group, mark, float(evidence[-1])))
            if np.any(advance.evidence[:, i] >= self.header.promise.log_bound):
                mark.until = 0
            # below its bound a run that took the alarm over may not have come to the change yet
            if advance.evidence[-1, i] >= self.header.promise.log_bound:
                step.resume[mark.alarm_id] = group.resume(i)

    def _withdraw(self, step: Step, group: MonitorGroup, i: int) -> None:
        """Close an alarm of an earlier run if this one, under its own settings, has read all of it and finds none.

        Its evidence stays: the rows to come may still show a harm, which is another alarm.
        """
        name = monitor_name(group, i)
        mark = self._saved.marks.get(name)
        if mark is None or not mark.until or not group.blocks or group.resume(i)["until"] < mark.until:
            return
        step.withdrawn.append(mark.alarm_id)
        del self._saved.marks[name]

    def _as_of_now(self, alarm: LiveAlarm, group: MonitorGroup, mark: Mark, evidence: float) -> LiveAlarm:
        promise = self.header.promise
        rows_of_block = promise.block_rows if group is self.shifts else promise.block_size
        rows = mark.rows + (group.blocks - mark.block) * rows_of_block
        return alarm.model_copy(update={"evidence": evidence, "rows_since": rows})

    def _open(self, group: MonitorGroup, i: int, advance: Advance, at: int) -> LiveAlarm:
        header, name = self.header, monitor_name(group, i)
        first = group.blocks - len(advance.ends)
        block = first + at + 1 - self._saved.restarted.get(name, 0)
        since = time_of(advance.since[at, i])
        evidence, bound = float(advance.evidence[at, i]) / LOG_10, header.promise.log_bound / LOG_10
        return LiveAlarm(
            alarm_id=f"live-{derived_id(header.model, header.started_at.isoformat(), name, str(first + at))}",
            model=header.model,
            version=header.version,
            kind=group.kind,
            subject=group.subjects[i],
            opened_at=time_of(advance.ends[at]),
            block=block,
            since=since,
            run_started_at=header.started_at,
            rows_since=int(advance.rows_since[at, i]),
            evidence=evidence,
            bound=bound,
            sentence=(
                f"{group.sentence(i)} The change probably began about {since:%Y-%m-%d %H:%M} UTC. The alarm opened at "
                f"evidence of 10^{evidence:.1f} in block {block:,}; its bound is 10^{bound:.1f}."
            ),
        )

    def _points(self, advance: Advance) -> list[TrajectoryPoint]:
        first = self.shifts.blocks - len(advance.ends)
        names = [monitor_name(self.shifts, i) for i in range(len(self.shifts.subjects))]
        values = np.round(advance.evidence / LOG_10, 3).tolist()
        return [
            TrajectoryPoint(first + i + 1, time_of(end), dict(zip(names, each, strict=True)))
            for i, (end, each) in enumerate(zip(advance.ends, values, strict=True))
        ]

    @property
    def seen_until(self) -> datetime | None:
        """The data's present: the end of the last block of predictions."""
        seen = self.shifts.seen_until
        return None if np.isnat(seen) else time_of(seen)


def monitor_name(group: MonitorGroup, i: int) -> str:
    """Return the name of a group's monitor in the state and the trajectory, such as ``shift:distance``."""
    return f"{group.kind}:{group.subjects[i]}"


def time_of(moment: np.datetime64) -> datetime:
    """Return a time of numpy, which is in UTC, as an aware one."""
    found: datetime = moment.astype("datetime64[us]").item()
    return found.replace(tzinfo=UTC)

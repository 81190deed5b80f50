"""What the live monitors keep: how far they have read, their state, their alarms and a thinned trajectory.

A commit stores all of it in one transaction, and only if the state is still the one that was read: of two processes
that have read the same rows one commits. So each row counts once, and a process that is killed leaves nothing half
done.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.live_tables import live_alarms, live_monitors, live_references, live_trajectory
from keel.store.database.tables import arrivals
from keel.store.database.times import from_micros, to_micros
from keel.store.records import as_json, insert

if TYPE_CHECKING:
    from keel.store.database.connections import Database

LONGEST_TRAJECTORY = 512
"""Points of one run. When there are more, every second is deleted, and from then on every second is not stored."""
RUNS_KEPT = 5
"""Runs of a model's monitors whose trajectories are kept."""
_TIMES = frozenset(
    {
        "started_at", "seen_until", "last_block_at", "updated_at", "opened_at", "since", "run_started_at",
        "last_ring_at",
    }
)  # fmt: skip
_OF_STORE = frozenset({"judged_by", "verdict", "rings", "last_ring_at", "ring_evidence", "ring_rows"})
"""Columns of an alarm that the monitors do not write."""


@dataclass(frozen=True, kw_only=True)
class StoredMonitors:
    """The monitors of one model: what they have read, in arrival numbers, and their state.

    state: None if they have never run, and were only paused. predictions_until: the last prediction read.
    labels_until: L of `keel.store.predictions.arrivals`. rows: predictions read since the start. seen_until: end of
    the last block of predictions. last_block_at: when the last block was evaluated. updated_at: when they last read
    something, or were last paused or resumed. revision: counts the commits; `LiveTable.commit` sets it.
    """

    model: str
    version: int | None
    generation: int
    started_at: datetime | None
    predictions_until: int
    labels_until: int
    rows: int
    seen_until: datetime | None
    last_block_at: datetime | None
    state: bytes | None
    updated_at: datetime
    revision: int = 0
    paused: bool = False


@dataclass(frozen=True)
class TrajectoryPoint:
    """The evidence of each monitor after a block. at: its end, in the data's own time."""

    block: int
    at: datetime
    evidence: Mapping[str, float]


class LiveTable:
    """The live monitors of all models."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def arrivals(self) -> dict[str, int]:
        """Return the last arrival number of each model that has one. A poll of all models is this one query."""
        with self._database.connect() as connection:
            found = connection.execute(sa.select(arrivals.c.model, arrivals.c.last)).all()
        return {model: int(last) for model, last in found}

    def read(self, model: str) -> StoredMonitors | None:
        """Return what is stored of a model's monitors; None if nothing is."""
        columns = [live_monitors.c[name] for name in StoredMonitors.__dataclass_fields__]
        with self._database.connect() as connection:
            found = connection.execute(sa.select(*columns).where(live_monitors.c.model == model)).one_or_none()
        if found is None:
            return None
        values = _with_times(found._mapping)
        state = None if values["state"] is None else bytes(values["state"])
        return StoredMonitors(**{**values, "state": state, "paused": bool(values["paused"])})

    def commit(
        self,
        model: str,
        expected_revision: int,
        stored: StoredMonitors,
        *,
        alarms: Iterable[Mapping[str, Any]] = (),
        withdrawn: Collection[str] = (),
        trajectory: Sequence[TrajectoryPoint] = (),
        reference: bytes | None = None,
    ) -> bool:
        """Store what a model's monitors have come to. False, with nothing stored, if another process was first.

        expected_revision: of the state that was read; 0 if there was none. It is one higher afterwards.
        stored: ``revision`` and ``paused`` are ignored; `set_paused` writes the latter.
        alarms: fields of `keel.monitoring.records.live.LiveAlarm`, and ``resume``, plain JSON for `judged`. New ones
        are opened, known ones that are open are updated. A monitor has one open alarm; a second is ignored.
        withdrawn: ids of open alarms that their monitor does not find under new settings, which closes them.
        reference: what a new run compares with; None leaves the stored one.
        """
        with self._database.begin() as connection:
            stride = self._replace(connection, model, expected_revision, stored)
            if stride is None:
                return False
            for alarm in alarms:
                _put_alarm(connection, alarm)
            if withdrawn:
                _withdraw(connection, withdrawn)
            if stored.started_at is not None:
                _put_trajectory(connection, model, to_micros(stored.started_at), stride, trajectory)
            if reference is not None:
                put = insert(connection, live_references).values(model=model, body=reference)
                set_ = {"body": put.excluded.body}
                connection.execute(put.on_conflict_do_update(index_elements=["model"], set_=set_))
        return True

    def reference(self, model: str) -> bytes | None:
        """Return what the present run of a model's monitors compares with; None before the first."""
        query = sa.select(live_references.c.body).where(live_references.c.model == model)
        with self._database.connect() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else bytes(found)

    def _replace(self, connection: sa.Connection, model: str, expected: int, stored: StoredMonitors) -> int | None:
        """Store the state in place of that of the expected revision. Returns the stride; None if there is another."""
        mine = sa.and_(live_monitors.c.model == model, live_monitors.c.revision == expected)
        query = sa.select(live_monitors.c.started_at, live_monitors.c.stride).where(mine).with_for_update()
        found = connection.execute(query).one_or_none()
        values = {name: value for name, value in asdict(stored).items() if name not in ("revision", "paused")}
        values = _with_micros(values) | {"model": model, "revision": expected + 1}
        if found is not None:
            stride = int(found.stride) if found.started_at == values["started_at"] else 1
            connection.execute(sa.update(live_monitors).where(mine).values(**values, stride=stride))
            return stride
        if expected:
            return None
        new = insert(connection, live_monitors).values(**values, stride=1).on_conflict_do_nothing()
        return 1 if connection.execute(new).rowcount else None

    def set_paused(self, model: str, paused: bool, *, now: datetime) -> None:
        """Pause or resume a model's monitors, whether they have run or not."""
        row = {
            "model": model, "revision": 0, "paused": paused, "generation": 0, "predictions_until": 0,
            "labels_until": 0, "rows": 0, "updated_at": to_micros(now), "stride": 1,
        }  # fmt: skip
        changed = {"paused": paused, "updated_at": to_micros(now)}
        with self._database.begin() as connection:
            statement = insert(connection, live_monitors).values(**row)
            connection.execute(statement.on_conflict_do_update(index_elements=["model"], set_=changed))

    def open_alarms(self, model: str) -> list[dict[str, Any]]:
        """Return the alarms that no check has judged, by the time they were opened: see `alarms`."""
        return self._alarms(live_alarms.c.model == model, live_alarms.c.judged_by.is_(None))

    def alarms(self, model: str, *, limit: int = 100) -> list[dict[str, Any]]:
        """Return a model's latest alarms, open and judged, by the time they were opened.

        The fields of `keel.monitoring.records.live.LiveAlarm`, and ``rings`` (how often it rang), ``last_ring_at``,
        ``ring_evidence`` and ``ring_rows`` (its evidence and rows when it last rang), ``resume`` (see `judged`).
        """
        return self._alarms(live_alarms.c.model == model, limit=limit)

    def alarms_of(self, alarm_ids: Collection[str]) -> list[dict[str, Any]]:
        """Return the alarms of these ids, by the time they were opened: see `alarms`."""
        return self._alarms(live_alarms.c.alarm_id.in_(list(alarm_ids)))

    def judged(self, model: str, version: int) -> list[dict[str, Any]]:
        """Return all alarms about a version that checks have judged, by the time they were opened.

        ``kind``, ``subject``, ``verdict``, and ``resume``: what the monitor had come to, empty where it said nothing.
        """
        key = live_alarms.c
        query = sa.select(key.kind, key.subject, key.verdict, key.resume)
        query = query.where(key.model == model, key.version == version, key.judged_by.is_not(None))
        with self._database.connect() as connection:
            found = connection.execute(query.order_by(key.opened_at, key.alarm_id)).all()
        return [_with_resume(row._mapping) for row in found]

    def _alarms(self, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[dict[str, Any]]:
        key = live_alarms.c.opened_at, live_alarms.c.alarm_id
        query = sa.select(live_alarms).where(*conditions).order_by(*(column.desc() for column in key)).limit(limit)
        with self._database.connect() as connection:
            found = connection.execute(query).all()
        return [_with_resume(_with_times(row._mapping)) for row in reversed(found)]

    def add_fault(self, alarm: Mapping[str, Any]) -> bool:
        """Open an alarm about the monitoring itself. False if one about the same is open already."""
        with self._database.begin() as connection:
            return _open_alarm(connection, alarm)

    def reword_fault(self, model: str, subject: str, sentence: str) -> int:
        """Let the open alarms about a fault of a model's monitoring say something else. Returns how many there are."""
        key = live_alarms.c
        mine = sa.and_(key.model == model, key.kind == "fault", key.subject == subject, key.judged_by.is_(None))
        with self._database.begin() as connection:
            return connection.execute(sa.update(live_alarms).where(mine).values(sentence=sentence)).rowcount

    def judge(self, model: str, verdicts: Mapping[str, str], decision_id: str) -> int:
        """Close open alarms, by the decision of the check that judged them. Returns how many were open.

        verdicts: what the check made of each, by the alarm's id.
        """
        is_open = sa.and_(live_alarms.c.model == model, live_alarms.c.judged_by.is_(None))
        with self._database.begin() as connection:
            return sum(
                connection.execute(
                    sa.update(live_alarms)
                    .where(is_open, live_alarms.c.alarm_id == alarm_id)
                    .values(judged_by=decision_id, verdict=verdict)
                ).rowcount
                for alarm_id, verdict in verdicts.items()
            )

    def rang(self, alarm_ids: Collection[str], at: datetime) -> None:
        """Note that these alarms rang at a time, with the evidence and the rows that they have now."""
        values: dict[Any, Any] = {
            live_alarms.c.rings: live_alarms.c.rings + 1,
            live_alarms.c.last_ring_at: to_micros(at),
            live_alarms.c.ring_evidence: live_alarms.c.evidence,
            live_alarms.c.ring_rows: live_alarms.c.rows_since,
        }
        with self._database.begin() as connection:
            if alarm_ids:
                mine = live_alarms.c.alarm_id.in_(list(alarm_ids))
                connection.execute(sa.update(live_alarms).where(mine).values(values))

    def trajectory(self, model: str, started_at: datetime | None = None) -> list[TrajectoryPoint]:
        """Return the thinned trajectory of one run of a model's monitors, by default the latest."""
        key = live_trajectory.c
        if started_at is None:
            latest = sa.select(sa.func.max(key.started_at)).where(key.model == model).scalar_subquery()
            mine = key.started_at == latest
        else:
            mine = key.started_at == to_micros(started_at)
        query = sa.select(key.block, key.at, key.body).where(key.model == model, mine).order_by(key.block)
        with self._database.connect() as connection:
            found = connection.execute(query).all()
        return [TrajectoryPoint(int(block), from_micros(at), json.loads(body)) for block, at, body in found]


def close_earlier(connection: sa.Connection, model: str, version: int, *, by: str) -> None:
    """Close the open alarms about an earlier time of a version in production: the monitors of the next start anew.

    Called when the version goes there, in the same transaction. by: what stands in place of a check's decision.
    """
    key = live_alarms.c
    mine = sa.and_(key.model == model, key.version == version, key.kind != "fault", key.judged_by.is_(None))
    connection.execute(sa.update(live_alarms).where(mine).values(judged_by=by, verdict="obsolete"))


def _withdraw(connection: sa.Connection, alarm_ids: Collection[str]) -> None:
    mine = sa.and_(live_alarms.c.alarm_id.in_(list(alarm_ids)), live_alarms.c.judged_by.is_(None))
    # without resume: no later run starts behind it
    closed = {"judged_by": "the live monitors", "verdict": "not_confirmed", "resume": None}
    connection.execute(sa.update(live_alarms).where(mine).values(closed))


def _put_alarm(connection: sa.Connection, alarm: Mapping[str, Any]) -> None:
    if _open_alarm(connection, alarm):
        return
    values = {name: value for name, value in _alarm_row(alarm).items() if name not in _OF_STORE}
    mine = sa.and_(live_alarms.c.alarm_id == values.pop("alarm_id"), live_alarms.c.judged_by.is_(None))
    connection.execute(sa.update(live_alarms).where(mine).values(**values))


def _open_alarm(connection: sa.Connection, alarm: Mapping[str, Any]) -> bool:
    # without a target: neither an id nor an open alarm of the same monitor is there twice
    new = insert(connection, live_alarms).values(**_alarm_row(alarm), rings=0).on_conflict_do_nothing()
    return bool(connection.execute(new).rowcount)


def _alarm_row(alarm: Mapping[str, Any]) -> dict[str, Any]:
    written = [column.name for column in live_alarms.c if column.name not in _OF_STORE]
    row = _with_micros({name: alarm[name] for name in written if name in alarm})
    return {**row, "resume": as_json(row["resume"])} if "resume" in row else row


def _put_trajectory(
    connection: sa.Connection, model: str, started_at: int, stride: int, points: Sequence[TrajectoryPoint]
) -> None:
    """Store every ``stride``-th point. Where that makes too many, delete every second and double the stride."""
    kept = {point.block: point for point in points if point.block % stride == 0}
    key, fields = {"model": model, "started_at": started_at}, live_trajectory.c
    rows = [
        {**key, "block": point.block, "at": to_micros(point.at), "body": as_json(point.evidence)}
        for point in kept.values()
    ]
    if not rows:
        return
    mine = sa.and_(fields.model == model, fields.started_at == started_at)
    count = sa.select(sa.func.count()).select_from(live_trajectory).where(mine)
    connection.execute(insert(connection, live_trajectory).on_conflict_do_nothing(), rows)
    thinned = stride
    while connection.execute(count).scalar_one() > LONGEST_TRAJECTORY:
        thinned *= 2
        connection.execute(sa.delete(live_trajectory).where(mine, fields.block % thinned != 0))
    if thinned != stride:
        connection.execute(sa.update(live_monitors).where(live_monitors.c.model == model).values(stride=thinned))
    runs = sa.select(fields.started_at).where(fields.model == model).distinct().order_by(fields.started_at.desc())
    oldest = runs.limit(1).offset(RUNS_KEPT - 1).scalar_subquery()
    connection.execute(sa.delete(live_trajectory).where(fields.model == model, fields.started_at < oldest))


def _with_resume(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {**row, "resume": json.loads(row["resume"] or "{}")}


def _with_times(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(n): from_micros(value) if n in _TIMES and value is not None else value for n, value in row.items()}


def _with_micros(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _micros(value) if name in _TIMES and value is not None else value for name, value in values.items()}


def _micros(moment: datetime | str) -> int:
    """Return microseconds of a time, as a record has it or as its dict has it."""
    return to_micros(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)

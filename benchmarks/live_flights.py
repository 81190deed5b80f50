"""Which live alarms the unshifted first weeks of real flights open, by context, and what a check says of each.

    PYTHONPATH=include:. python -m benchmarks.live_flights

A version is trained on January to March, as ``make demo`` does. April's flights then go through the real prediction log
and `keel.monitoring.live.catch_up`, day by day. Every column is monitored, and harm.

What alarms because flights depend on each other, and what because April differs from the winter, is told apart by a
second experiment. A random half of January to March becomes history. The other half of the rows that the version is
trained on is replayed, once in a random order and once in its own: nothing has changed in either, and only in the
second do neighbours share their weather.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from keel import loop, rollout
from keel.cli.standalone.replay import labelled_history
from keel.config import LiveConfig, ModelConfig, get_model
from keel.monitoring.live.catch_up import catch_up
from keel.monitoring.live.state import SavedState
from keel.monitoring.records import LiveAlarm, StoredDriftReport
from keel.monitoring.storage import report_id
from keel.training.history import between
from keel.workspace import Workspace

START, WEEKS, WEEK, DAY = datetime(2013, 4, 1, tzinfo=UTC), 4, timedelta(weeks=1), timedelta(days=1)
SHIFT = 13 * WEEK
"""From January to April, in whole weeks."""
CONTEXTS: tuple[tuple[str, ...], ...] = ((), ("hour",), ("hour", "weekday"))
"""``hour`` is a feature of the flights, the hour of departure in local time, and comes before the hour in UTC."""
BY = {"actor": "benchmarks", "run_id": "live-flights"}


@dataclass(frozen=True)
class Found:
    """What one replay opened: alarms by monitor, the bound, the greatest evidence by monitor, and rows."""

    context: tuple[str, ...]
    rows: int
    promise: str
    alarms: Mapping[str, LiveAlarm]
    greatest: Mapping[str, float]
    report: StoredDriftReport | None = None
    """Of the first week, as a scheduled check sees it."""


def configured(context: tuple[str, ...], columns: tuple[str, ...] | None = None) -> ModelConfig:
    """Return the example's configuration under a context, with all columns monitored, or these columns alone."""
    live = LiveConfig(context=context, columns=columns, harm=columns is None)
    return get_model("flight_delay").model_copy(update={"live": live})


def first_version(ws: Workspace, config: ModelConfig, history: pa.Table) -> int:
    """Train on rows from before `START` and put the version into production."""
    nothing = pa.nulls(history.num_rows)
    columns = {"version": pa.int64(), "score": pa.float64(), "prediction": pa.float64()}
    log = ws.predictions(config)
    rows = history.drop_columns(["label"])
    for name, kind in columns.items():
        rows = rows.append_column(name, nothing.cast(kind))
    log.append(rows)
    log.add_labels(observed(config, history))
    window = loop.resolve_window(config, end=START, now=START)
    decision = loop.request_retrain(ws, config, window=window, reason="the first version", run_id=BY["run_id"])
    trained = loop.retrain(ws, config, decision, now=START, **BY)
    rollout.promote(ws, config, rollout.compare(ws, config, trained).report_id, now=START, **BY)
    return trained.challenger


def observed(config: ModelConfig, rows: pa.Table) -> pa.Table:
    """Return the labels of rows."""
    known = rows.filter(pc.is_valid(rows["label"]))
    seen = pc.add(known["time"], config.target.label_delay)
    return pa.table({"id": known["id"], "label": known["label"], "observed_at": seen})


def replay(ws: Workspace, config: ModelConfig, version: int, parts: Sequence[pa.Table]) -> list[LiveAlarm]:
    """Store each part as predictions with their labels, and let the monitors read it; return the alarms opened."""
    model, log, opened = ws.registry.load(config, version), ws.predictions(config), []
    for rows in parts:
        score, prediction = model.score(rows)
        stored = rows.drop_columns(["label"]).append_column("version", pa.array([version] * rows.num_rows))
        stored = stored.append_column("score", pa.array(score, from_pandas=True))
        log.append(stored.append_column("prediction", pa.array(prediction, from_pandas=True)))
        log.add_labels(observed(config, rows))
        now = pc.max(rows["time"]).as_py()
        while True:
            progress = catch_up(ws, config, now=now)
            opened += progress.opened
            if not progress.behind:
                break
    return opened


def days(rows: pa.Table, start: datetime, end: datetime) -> list[pa.Table]:
    """Return the rows of each day."""
    n = (end - start) // DAY
    parts = [between(rows, start + i * DAY, start + (i + 1) * DAY) for i in range(n)]
    return [part for part in parts if part.num_rows]


def april(context: tuple[str, ...]) -> Found:
    """Replay the first weeks after the training."""
    config = configured(context)
    flights = labelled_history(config)
    with workspace() as ws:
        version = first_version(ws, config, between(flights, START - SHIFT, START))
        parts = days(flights, START, START + WEEKS * WEEK)
        opened = replay(ws, config, version, parts)
        counted = loop.count_window(ws, config, loop.resolve_window(config, end=START + WEEK, now=START + WEEK))
        loop.check_data_drift(ws, config, counted)
        stored = ws.store.reports.get(report_id("drift", config.model, version, counted.window))
        report = StoredDriftReport.from_dict(stored["body"]) if stored else None
        return found(ws, config, opened, context, report)


def hidden_half(context: tuple[str, ...], *, shuffled: bool) -> Found:
    """Train on a random half of the rows, and replay the other half of the training rows.

    Nothing distinguishes the two halves. The rows of the holdout are left out, as the features of a version are
    compared with those of its training rows. So are score and loss, which are compared with the holdout's.
    """
    config, rng = configured(context, columns=tuple(get_model("flight_delay").features)), np.random.default_rng(0)
    flights = between(labelled_history(config), START - SHIFT, START)
    hidden = rng.random(flights.num_rows) < 0.5
    with workspace() as ws:
        version = first_version(ws, config, flights.filter(pa.array(~hidden)))
        cut = datetime.fromisoformat(ws.registry.reference(config.model, version)["training"]["end"])
        rows = between(flights.filter(pa.array(hidden)), START - SHIFT, cut)
        later = pc.add(rows["time"], pa.scalar(SHIFT, pa.duration("us")))
        rows = rows.set_column(rows.schema.get_field_index("time"), "time", later.cast(rows["time"].type))
        parts = days(rows, START, cut + SHIFT)
        if shuffled:
            order = rng.permutation(rows.num_rows)
            parts = [rows.take(pa.array(part)) for part in np.array_split(order, len(parts))]
        return found(ws, config, replay(ws, config, version, parts), context)


def workspace() -> Workspace:
    """Open an installation in a new folder below the temporary one."""
    return Workspace.open(home=Path(tempfile.mkdtemp(prefix="live-flights-")), environment={})


def found(
    ws: Workspace,
    config: ModelConfig,
    opened: Sequence[LiveAlarm],
    context: tuple[str, ...],
    report: StoredDriftReport | None = None,
) -> Found:
    """Return what is stored after a replay."""
    stored, points = ws.store.live.read(config.model), ws.store.live.trajectory(config.model)
    assert stored is not None
    assert stored.state is not None
    names = {name for point in points for name in point.evidence}
    greatest = {short(name): max(point.evidence.get(name, 0.0) for point in points) for name in names}
    alarms = {short(f"{alarm.kind}:{alarm.subject}"): alarm for alarm in opened if alarm.kind != "fault"}
    promise = SavedState.from_bytes(stored.state).header.promise.sentence
    return Found(context, stored.rows, promise, alarms, greatest, report)


def short(monitor: str) -> str:
    """Return a monitor's column, or what else it is about."""
    kind, _, subject = monitor.partition(":")
    return subject if kind == "shift" else "mean loss"


def main() -> None:
    """Print the tables of docs/live.md."""
    weeks = [april(context) for context in CONTEXTS]
    print(f"April, {WEEKS} weeks of {weeks[0].rows:,} flights:\n")
    print("\n".join(april_table(weeks)))
    for each in weeks:
        print(f"\n{name_of(each.context)}: {each.promise}")
    print("\nThe hidden half of January to March:\n")
    halves = [hidden_half(CONTEXTS[-1], shuffled=shuffled) for shuffled in (True, False)]
    print("\n".join(half_table(halves)))


def april_table(weeks: Sequence[Found]) -> Iterator[str]:
    """Yield a line a monitor: when its alarm opened in each context, and what the check of the first week says."""
    yield f"| monitor | {' | '.join(name_of(each.context) for each in weeks)} | check of the first week |"
    yield "|---" * (len(weeks) + 2) + "|"
    report = weeks[0].report
    assert report is not None
    for name in sorted({name for each in weeks for name in each.greatest}, key=lambda name: _order(weeks, name)):
        cells = [_cell(each, name) for each in weeks]
        column = report.features.get(name)
        measures = getattr(column, "measures", {}) if column else {}
        said = (
            f"{column.status.replace('_', ' ')}, PSI {measures['psi']['value']:.2f}"
            if column and "psi" in measures
            else ""
        )
        yield f"| {name} | {' | '.join(cells)} | {said} |"


def _order(weeks: Sequence[Found], name: str) -> tuple[int, datetime, str]:
    alarms = [each.alarms[name] for each in weeks if name in each.alarms]
    return -len(alarms), min((alarm.opened_at for alarm in alarms), default=START), name


def _cell(each: Found, name: str) -> str:
    if name not in each.greatest:
        return "is the context"
    if name not in each.alarms:
        return f"none, at most {max(each.greatest[name], 0.0):.1f}"
    alarm = each.alarms[name]
    return f"{alarm.opened_at:%-d April %H:%M}, block {alarm.block:,}"


def half_table(halves: Sequence[Found]) -> Iterator[str]:
    """Yield a line a monitor: in a random order and in its own."""
    yield "| monitor | in a random order | in its own order |"
    yield "|---|---|---|"
    for name in sorted(halves[0].greatest):
        cells = [
            f"alarm in block {each.alarms[name].block:,}"
            if name in each.alarms
            else f"none, at most {max(each.greatest[name], 0.0):.1f}"
            for each in halves
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def name_of(context: tuple[str, ...]) -> str:
    """Return a context as a title."""
    return " and ".join(f"`{name}`" for name in context) or "no context"


if __name__ == "__main__":
    main()

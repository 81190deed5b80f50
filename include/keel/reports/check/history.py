"""What came before a check: the columns' drift in earlier windows, performance over time, changes of the version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.ledger.wording import as_mapping, as_number
from keel.monitoring.records import StoredDriftReport
from keel.window import DAY, HOUR, ceil_hour, floor_hour

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.ledger.entries import Entry
    from keel.monitoring.performance_history import Bucket
    from keel.monitoring.records import StoredPerformanceReport
    from keel.store.records import ReportKey
    from keel.window import Window
    from keel.workspace import Workspace

LENGTH = 20
"""Windows in a column's history, and about as many buckets of performance."""
MIN_SEPARATE = 5
"""With fewer windows that do not overlap, overlapping ones are shown."""


@dataclass(frozen=True)
class ColumnHistory:
    """What the checks of some windows said of a column, the newest last."""

    ends: tuple[datetime, ...]
    """Of the windows."""
    versions: tuple[int | None, ...]
    excess: tuple[float | None, ...]
    """PSI above chance; the PSI where an earlier release stored no other."""


@dataclass(frozen=True)
class Measured:
    """The performance of one version in an interval of time, by the configured metric."""

    start: datetime
    end: datetime
    version: int
    value: float | None
    lower: float | None
    upper: float | None
    """Of the 95% interval, which allows for dependent rows."""
    n: int
    coverage: float | None = None
    holdout: float | None = None
    """The metric on the version's holdout."""


@dataclass(frozen=True)
class Deployed:
    """A change of the version in production."""

    time: datetime
    """In the data's time where the ledger has it."""
    version: int | None
    before: int | None
    action: str
    seq: int


def column_histories(ws: Workspace, model: str, window: Window) -> dict[str, ColumnHistory]:
    """Return the drift of each column in earlier windows and this one, at about the same spacing."""
    length = window.end - window.start
    keys = ws.store.reports.keys(model, [StoredDriftReport.CHECK], since=window.end - LENGTH * length, until=window.end)
    chosen = spaced(keys, length)
    # One body at a time, and as plain values: twenty reports of thousands of columns are large.
    read = [_measures(ws.store.reports.bodies([key.report_id]).get(key.report_id)) for key in chosen]
    names = dict.fromkeys(name for measures in read for name in measures)
    ends, versions = tuple(key.end for key in chosen), tuple(key.version for key in chosen)
    found = {}
    for name in names:
        found[name] = ColumnHistory(ends, versions, tuple(measures.get(name) for measures in read))
    return found


def spaced(keys: Sequence[ReportKey], length: timedelta) -> list[ReportKey]:
    """Return windows of about the length, as far apart as they are long, or closer where there are few; newest last.

    keys: the latest end first. Windows of another length are left out, because their measures are of other size.
    """
    alike = [key for key in keys if 2 * (key.end - key.start) > length and key.end - key.start < 2 * length]
    if not alike:
        return []
    span = alike[0].end - alike[-1].end
    gap = length if span >= (MIN_SEPARATE - 1) * length else span / (LENGTH - 1)
    chosen = [alike[0]]
    for key in alike[1:]:
        if chosen[-1].end - key.end >= max(gap, HOUR):
            chosen.append(key)
    return chosen[:LENGTH][::-1]


def _measures(body: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Return each column's PSI above chance from a stored report; what cannot be read is left out."""
    columns = as_mapping(as_mapping(body).get("features"))
    return {name: _excess(as_mapping(column)) for name, column in columns.items()}


def _excess(column: Mapping[str, Any]) -> float | None:
    """Return the PSI above chance; the PSI itself where an earlier release stored no other."""
    psi = as_mapping(as_mapping(column.get("measures")).get("psi"))
    excess = as_number(psi.get("excess"))
    return as_number(psi.get("value")) if excess is None else excess


def bucket_of(window: Window) -> tuple[Bucket, timedelta]:
    """Return the calendar bucket that is nearest to a window's length, and its length."""
    length = window.end - window.start
    if length <= 6 * HOUR:
        return "hour", HOUR
    if length <= 3 * DAY:
        return "day", DAY
    return ("week", 7 * DAY) if length <= 14 * DAY else ("month", 31 * DAY)


def measured_series(ws: Workspace, config: ModelConfig, until: Window) -> tuple[Measured, ...]:
    """Return performance until the end of a window, in buckets of about its length."""
    from keel.monitoring.performance_history import series

    bucket, length = bucket_of(until)
    found = series(ws, config, until.end - (LENGTH + 6) * length, until.end, bucket=bucket)
    measured = [measured_of(part) for part in found if part["metric"] in part["metrics"]]
    return tuple(each for each in measured if each.n)


def measured_window(
    ws: Workspace, config: ModelConfig, version: int, window: Window, performance: StoredPerformanceReport | None
) -> Measured | None:
    """Return the performance in the window of a report; None where other labels are there than it was made of."""
    from keel.monitoring.performance_history import rolling

    if performance is None or not performance.n:
        return None
    parts = rolling(ws, config, end=window.end, windows=[window.end - window.start])
    found = [measured_of(part) for part in parts if part["version"] == version]
    return next((each for each in found if each.n == performance.n), None)


def measured_of(part: Mapping[str, Any]) -> Measured:
    """Return a part of `keel.monitoring.performance_history.series` as the configured metric measures it."""
    values = part["metrics"][part["metric"]]
    holdout = values.get("holdout") or {}
    return Measured(
        start=datetime.fromisoformat(part["start"]),
        end=datetime.fromisoformat(part["end"]),
        version=part["version"],
        value=values["value"],
        lower=values["lower"],
        upper=values["upper"],
        n=values["n"],
        coverage=part["coverage"],
        holdout=holdout.get("value"),
    )


def deployments_of(rows: Iterable[Entry]) -> tuple[Deployed, ...]:
    """Return the changes of the version in production, from a model's ledger rows, oldest first."""
    found: list[Deployed] = []
    for row in rows:
        after = row.body.get("to") or {}
        before = found[-1].version if found else None
        if "production" not in after or after["production"] == before:
            continue
        probation = row.body.get("probation")
        since = datetime.fromisoformat(str(probation["since"])) if probation and row.action == "promote" else row.at
        found.append(Deployed(since, after["production"], before, row.action, row.seq))
    return tuple(found)


def version_series(ws: Workspace, config: ModelConfig, version: int) -> tuple[Measured, ...]:
    """Return the performance of one version on all of its labels, in about `LENGTH` buckets or fewer."""
    from keel.monitoring.performance_history import series

    times = ws.predictions(config).times()
    if times is None:
        return ()
    span = times[1] - times[0]
    bucket: Bucket = "day" if span <= LENGTH * DAY else "week" if span <= 7 * LENGTH * DAY else "month"
    found = series(ws, config, floor_hour(times[0]), ceil_hour(times[1]) + HOUR, bucket=bucket, version=version)
    measured = [measured_of(part) for part in found if part["metric"] in part["metrics"]]
    return tuple(each for each in measured if each.n)

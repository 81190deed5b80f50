"""Realised performance over time: hourly sums of what labels have said, which outlive the rows.

    refresh(ws, config)   sums the hours that labels have come for; the others here do so first
    series(ws, config, start, end, bucket="day")   each bucket's metrics with intervals, beside the holdout's
    rolling(ws, config, end=now)                   the last 24 h and 7 d whose labels are due, by version

An hour is that of the prediction's time. Sums are of all its labelled rows; hours that are set aside are left out
where sums are added up, as a whole if they are so in part, so that a release needs no rows. Nothing of this is kept
beside the sums: every number follows from them at any time, also when the rows are gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from keel.errors import KeelError
from keel.measures.plain import finite_or_none
from keel.measures.realised import of_holdout, realise
from keel.measures.sums import COLUMNS, Sums
from keel.rows import Standing, prediction_log, scored, standing_of, stretches
from keel.sections import METRICS_OF_KIND
from keel.window import DAY, HOUR, floor_hour

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.workspace import Workspace

__all__ = ["BUCKETS", "WINDOWS", "Bucket", "refresh", "rolling", "series"]

Bucket = Literal["hour", "day", "week", "month"]
BUCKETS: tuple[Bucket, ...] = ("hour", "day", "week", "month")
WINDOWS = (timedelta(hours=24), timedelta(days=7))
_HOUR_MICROS = HOUR // timedelta(microseconds=1)


def refresh(ws: Workspace, config: ModelConfig, *, start: datetime | None = None, end: datetime | None = None) -> int:
    """Sum the hours, start ≤ hour < end where given, for which labels have come since; return how many.

    Idempotent, and safe with several at once: sums are stored as of the revision their hour had when its rows were
    read, and labels that come meanwhile keep it stale. An hour whose rows have expired is never stale.
    """
    log, metrics = prediction_log(ws, config), METRICS_OF_KIND[config.target.kind]
    by_version: dict[int, dict[datetime, int]] = defaultdict(dict)
    for version, hour, revision in ws.store.realised.stale(config.model, start, end):
        by_version[version][hour] = revision
    summed = 0
    for version, revisions in by_version.items():
        for first, until in stretches(revisions):
            rows = log.labelled(first, until, version=version, exclude_quarantined=False, features=False)
            hourly = [(hour, part) for hour, part in _by_hour(rows) if hour in revisions]
            made = [(hour, Sums.measure(scored(part), sorted(metrics))) for hour, part in hourly]
            ws.store.realised.put_hours(
                config.model, version, [(hour, sums.n, sums.to_json(), revisions[hour]) for hour, sums in made]
            )
            summed += len(made)
    return summed


def _by_hour(rows: pa.Table) -> list[tuple[datetime, pa.Table]]:
    """Split rows, which are in order of time, into their hours."""
    import pyarrow as pa

    hours, starts = np.unique(rows["time"].cast(pa.int64()).to_numpy() // _HOUR_MICROS, return_index=True)
    sizes = np.diff(starts, append=rows.num_rows)
    spans = zip(hours.tolist(), starts.tolist(), sizes.tolist(), strict=True)
    return [(datetime.fromtimestamp(0, UTC) + hour * HOUR, rows.slice(start, n)) for hour, start, n in spans]


@dataclass
class _Part:
    """What is known of one version in one stretch of time."""

    predictions: int = 0
    labelled: int = 0
    times: list[datetime] = field(default_factory=list)
    hours: list[Sums] = field(default_factory=list)
    set_aside: list[int] = field(default_factory=list)
    """Labelled rows of each hour that is left out."""

    def to_dict(self, config: ModelConfig) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        times = np.array([hour.replace(tzinfo=None) for hour in self.times], "datetime64[s]")
        whole = Sums.sum(self.hours)
        metrics = {
            name: realise(name, self.hours, times).to_dict() for name in sorted(METRICS_OF_KIND[config.target.kind])
        }
        means = {f"mean_{name}": finite_or_none(whole.mean(name)) for name in COLUMNS}
        return {
            "metric": config.performance.metric, "predictions": self.predictions, "labelled": self.labelled,
            "coverage": self.labelled / self.predictions if self.predictions else None,
            "n": whole.n, "hours": len(self.hours), **means, "metrics": metrics,
            "set_aside": {"hours": len(self.set_aside), "rows": sum(self.set_aside)},
        }  # fmt: skip


def series(
    ws: Workspace,
    config: ModelConfig,
    start: datetime,
    end: datetime,
    *,
    bucket: Bucket = "day",
    version: int | None = None,
) -> list[dict[str, Any]]:
    """Return each bucket's performance, by time and version, of the hours that begin in start ≤ hour < end.

    Buckets are hours, calendar days, weeks from Monday on or calendar months, all UTC; only those with predictions are
    there. Each has ``start, end, version, metric`` (the configured one), ``predictions``, ``labelled`` and ``coverage``
    (the one of the other; None where how many there were is not known any more), ``n`` (labelled rows that were not
    set aside), ``hours``, ``set_aside``, ``mean_label``, ``mean_score``, ``mean_prediction``, and by metric ``value,
    lower, upper, standard_error, n, clusters, bin_error`` (`keel.measures.realised.Realised`) and ``holdout``: the same
    of the version's training holdout, None where that was not measured or the registry does not say.
    """
    refresh(ws, config, start=start, end=end)
    parts: dict[tuple[datetime, int], _Part] = defaultdict(_Part)
    for (number, hour), part in _hourly(ws, config, start, end, version).items():
        _add(parts[_floor(hour, bucket), number], part)
    holdouts = {number: _holdout(ws, config, number) for number in sorted({number for _, number in parts})}
    found = []
    for (begin, number), part in sorted(parts.items(), key=lambda item: item[0]):
        report = _header(begin, _end(begin, bucket), number) | part.to_dict(config)
        for name, values in report["metrics"].items():
            values["holdout"] = of_holdout(holdouts[number], name)
        found.append(report)
    return found


def rolling(
    ws: Workspace, config: ModelConfig, *, end: datetime, windows: Sequence[timedelta] = WINDOWS
) -> list[dict[str, Any]]:
    """Return the performance in the last full hours whose labels are due, by window and version.

    The windows end ``target.label_delay`` before ``end``, rounded down to an hour: before that there are only the
    labels that come early, and those are seldom like the others. Each result has ``window`` (such as ``24h``) and what
    `series` gives, but for the holdout: nothing is asked of the registry, so a scrape costs a read of the store.
    """
    until = floor_hour(end - config.target.label_delay)
    first = until - max(windows)
    refresh(ws, config, start=first, end=until)
    hourly = _hourly(ws, config, first, until, None)
    found = []
    for window in windows:
        parts: dict[int, _Part] = defaultdict(_Part)
        for (number, hour), part in hourly.items():
            if hour >= until - window:
                _add(parts[number], part)
        for number, part in sorted(parts.items()):
            header = {"window": _named(window), **_header(until - window, until, number)}
            found.append(header | part.to_dict(config))
    return found


def _hourly(
    ws: Workspace, config: ModelConfig, start: datetime, end: datetime, version: int | None
) -> dict[tuple[int, datetime], _Part]:
    """Return what is known of each version's hours, in order of time."""
    quarantines = ws.store.quarantines(config.model, with_released=True)
    rows = prediction_log(ws, config).hourly_rows(start, end, version)
    found = {key: _Part(predictions=n) for key, n in rows.items()}
    for number, hour, n, body in ws.store.realised.get(config.model, start, end, version):
        part = found.setdefault((number, hour), _Part())
        part.labelled = n
        if standing_of(hour, quarantines) is Standing.SET_ASIDE:
            part.set_aside.append(n)
        else:
            part.times.append(hour)
            part.hours.append(Sums.from_json(body))
    return dict(sorted(found.items(), key=lambda item: (item[0][1], item[0][0])))


def _add(whole: _Part, part: _Part) -> None:
    whole.predictions += part.predictions
    whole.labelled += part.labelled
    whole.times += part.times
    whole.hours += part.hours
    whole.set_aside += part.set_aside


def _header(start: datetime, end: datetime, version: int) -> dict[str, Any]:
    return {"start": start.isoformat(), "end": end.isoformat(), "version": version}


def _holdout(ws: Workspace, config: ModelConfig, version: int) -> Mapping[str, Any]:
    """Return a version's metrics on its holdout; none for one that is deleted, or whose registry does not answer."""
    try:
        return ws.registry.reference(config.model, version)["metrics"]
    except KeelError:
        return {}


_LENGTH: Mapping[str, timedelta] = {"hour": HOUR, "day": DAY, "week": 7 * DAY}


def _floor(hour: datetime, bucket: Bucket) -> datetime:
    """Return the beginning of the bucket that an hour (UTC) is in."""
    if bucket == "hour":
        return hour
    midnight = hour.replace(hour=0)
    if bucket == "month":
        return midnight.replace(day=1)
    return midnight if bucket == "day" else midnight - midnight.weekday() * DAY


def _end(begin: datetime, bucket: Bucket) -> datetime:
    """Return the end of the bucket that begins at ``begin``."""
    if bucket == "month":
        return _floor(begin + 31 * DAY, bucket)
    return begin + _LENGTH[bucket]


def _named(window: timedelta) -> str:
    """Name a window as configuration files do.

    >>> [_named(window) for window in (*WINDOWS, timedelta(minutes=90))]
    ['24h', '7d', '5400s']
    """
    if window % DAY == timedelta(0) and window > DAY:
        return f"{window // DAY}d"
    return f"{window // HOUR}h" if window % HOUR == timedelta(0) else f"{window.total_seconds():g}s"

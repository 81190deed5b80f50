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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from keel.config.sections import METRICS_OF_KIND
from keel.errors import KeelError
from keel.monitoring.window_counts import HourStatus, standing_of, stretches
from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.hourly_sums import COLUMNS, Sums
from keel.stats.metrics.hourly_table import HourlyTable
from keel.stats.metrics.intervals import of_holdout, realise
from keel.stats.metrics.losses import scored
from keel.window import DAY, HOUR, floor_hour

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

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
    log, metrics = ws.predictions(config), METRICS_OF_KIND[config.target.kind]
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


@dataclass(frozen=True)
class _Hour:
    """What is known of one version in one hour."""

    version: int
    hour: datetime
    predictions: int
    labelled: int
    place: int | None
    """Where its sums are among those of all; None: it is left out, as nothing was summed or as it is set aside."""


@dataclass(frozen=True)
class _History:
    """What is known of versions over time, by version and hour."""

    hours: list[_Hour]
    sums: HourlyTable
    times: NDArray[np.datetime64]
    """The beginnings of the hours whose sums these are."""

    def parts(self, key: Callable[[datetime], datetime | None]) -> dict[tuple[datetime, int], list[_Hour]]:
        """Return the hours of each version that have a key in common, in order of key and version; none without key."""
        found: dict[tuple[datetime, int], list[_Hour]] = defaultdict(list)
        for hour in self.hours:
            if (begin := key(hour.hour)) is not None:
                found[begin, hour.version].append(hour)
        return dict(sorted(found.items()))

    def report(self, part: Sequence[_Hour], config: ModelConfig) -> dict[str, Any]:
        """Return what is known of hours of one version that follow each other, as JSON-able values."""
        places = [each.place for each in part if each.place is not None]
        first, end = (places[0], places[-1] + 1) if places else (0, 0)
        whole, times = self.sums.between(first, end), self.times[first:end]
        metrics = {name: realise(name, whole, times).to_dict() for name in sorted(METRICS_OF_KIND[config.target.kind])}
        means = {f"mean_{name}": finite_or_none(whole.mean(name)) for name in COLUMNS}
        predictions, labelled = sum(each.predictions for each in part), sum(each.labelled for each in part)
        set_aside = [each.labelled for each in part if each.labelled and each.place is None]
        return {
            "metric": config.performance.metric, "predictions": predictions, "labelled": labelled,
            "coverage": labelled / predictions if predictions else None,
            "n": sum(whole.rows), "hours": len(whole), **means, "metrics": metrics,
            "set_aside": {"hours": len(set_aside), "rows": sum(set_aside)},
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
    lower, upper, standard_error, n, clusters, bin_error`` (`keel.stats.metrics.intervals.Realised`) and ``holdout``:
    the same
    of the version's training holdout, None where that was not measured or the registry does not say.
    """
    refresh(ws, config, start=start, end=end)
    history = _history(ws, config, start, end, version)
    holdouts = {number: _holdout(ws, config, number) for number in {each.version for each in history.hours}}
    found = []
    for (begin, number), part in history.parts(partial(_floor, bucket)).items():
        report = _header(begin, _end(begin, bucket), number) | history.report(part, config)
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
    history = _history(ws, config, first, until, None)
    found = []
    for window in windows:
        parts = history.parts(partial(_since, until - window))
        for (begin, number), part in parts.items():
            header = {"window": _named(window), **_header(begin, until, number)}
            found.append(header | history.report(part, config))
    return found


def _history(ws: Workspace, config: ModelConfig, start: datetime, end: datetime, version: int | None) -> _History:
    """Read what is known of each version's hours."""
    quarantines = ws.store.quarantines(config.model, with_released=True)
    predictions = ws.predictions(config).hourly_rows(start, end, version)
    summed = {(number, hour): (n, body) for number, hour, n, body in
              ws.store.realised.get(config.model, start, end, version)}  # fmt: skip
    hours: list[_Hour] = []
    bodies: list[str] = []
    times: list[datetime] = []
    for key in sorted(predictions.keys() | summed.keys()):
        number, hour = key
        labelled, body = summed.get(key, (0, None))
        place = None
        if body is not None and standing_of(hour, quarantines) is not HourStatus.SET_ASIDE:
            place = len(bodies)
            bodies.append(body)
            times.append(hour.replace(tzinfo=None))
        hours.append(_Hour(number, hour, predictions.get(key, 0), labelled, place))
    return _History(hours, HourlyTable.read(bodies), np.array(times, "datetime64[s]"))


def _header(start: datetime, end: datetime, version: int) -> dict[str, Any]:
    return {"start": start.isoformat(), "end": end.isoformat(), "version": version}


def _holdout(ws: Workspace, config: ModelConfig, version: int) -> Mapping[str, Any]:
    """Return a version's metrics on its holdout; none for one that is deleted, or whose registry does not answer."""
    try:
        return ws.registry.reference(config.model, version)["metrics"]
    except KeelError:
        return {}


_LENGTH: Mapping[str, timedelta] = {"hour": HOUR, "day": DAY, "week": 7 * DAY}


def _floor(bucket: Bucket, hour: datetime) -> datetime:
    """Return the beginning of the bucket that an hour (UTC) is in."""
    if bucket == "hour":
        return hour
    midnight = hour.replace(hour=0)
    if bucket == "month":
        return midnight.replace(day=1)
    return midnight if bucket == "day" else midnight - midnight.weekday() * DAY


def _since(since: datetime, hour: datetime) -> datetime | None:
    """Return the beginning of a window that an hour is in, if it is."""
    return since if hour >= since else None


def _end(begin: datetime, bucket: Bucket) -> datetime:
    """Return the end of the bucket that begins at ``begin``."""
    if bucket == "month":
        return _floor(bucket, begin + 31 * DAY)
    return begin + _LENGTH[bucket]


def _named(window: timedelta) -> str:
    """Name a window as configuration files do.

    >>> [_named(window) for window in (*WINDOWS, timedelta(minutes=90))]
    ['24h', '7d', '5400s']
    """
    if window % DAY == timedelta(0) and window > DAY:
        return f"{window // DAY}d"
    return f"{window // HOUR}h" if window % HOUR == timedelta(0) else f"{window.total_seconds():g}s"

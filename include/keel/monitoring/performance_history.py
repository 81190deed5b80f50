"""Measure performance over time from hourly sums of losses, which outlive the rows.

    refresh(ws, config)                            sum the hours that new labels arrived for; the others do so first
    series(ws, config, start, end, bucket="day")   metrics of each bucket with intervals, beside the holdout's
    stored_series(ws, config, start, end, bucket)  the configured metric, as far as it is summed
    rolling(ws, config, end=now)                   metrics of the last 24 h and 7 d of matured labels, by version

A label belongs to the hour of its prediction. Sums are of all labelled rows of an hour. Quarantined hours are excluded
when sums are added up, as a whole also where they are quarantined in part, so that a release needs no rows. Only the
sums are stored. Every number follows from them, also when the rows have expired.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from keel.config.sections import METRICS_OF_KIND
from keel.errors import KeelError
from keel.monitoring.window_counts import HourStatus, contiguous_spans, hour_status
from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.hourly_sums import COLUMNS, Sums
from keel.stats.metrics.hourly_table import HourlyTable
from keel.stats.metrics.intervals import holdout_interval, interval_estimate
from keel.stats.metrics.losses import scored
from keel.window import DAY, HOUR, floor_hour

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from keel.config import ModelConfig
    from keel.workspace import Workspace

__all__ = ["BUCKETS", "WINDOWS", "Bucket", "all_sums", "refresh", "rolling", "series", "stored_series"]

Bucket = Literal["hour", "day", "week", "month"]
BUCKETS: tuple[Bucket, ...] = ("hour", "day", "week", "month")
EVER = datetime(1, 1, 1, tzinfo=UTC)
WINDOWS = (timedelta(hours=24), timedelta(days=7))
_HOUR_MICROS = HOUR // timedelta(microseconds=1)


def refresh(ws: Workspace, config: ModelConfig, *, start: datetime | None = None, end: datetime | None = None) -> int:
    """Sum the hours, start ≤ hour < end where given, that labels arrived for since; return how many.

    Idempotent, and safe in several processes at once: sums are stored as of the revision that their hour had when its
    rows were read, and a label that arrives meanwhile keeps the hour stale. An hour whose rows expired is never stale.
    """
    summed = 0
    for version, hours in _stale_sums(ws, config, start, end):
        ws.store.performance.put_hours(config.model, version, hours)
        summed += len(hours)
    return summed


def _stale_sums(
    ws: Workspace, config: ModelConfig, start: datetime | None, end: datetime | None
) -> Iterator[tuple[int, list[tuple[datetime, int, str, int]]]]:
    """Yield a version with (hour, n, sums, revision) of hours that labels arrived for since; nothing is stored."""
    log, metrics = ws.predictions(config), METRICS_OF_KIND[config.target.kind]
    by_version: dict[int, dict[datetime, int]] = defaultdict(dict)
    for version, hour, revision in ws.store.performance.stale(config.model, start, end):
        by_version[version][hour] = revision
    for version, revisions in by_version.items():
        for first, until in contiguous_spans(revisions):
            rows = log.labelled(first, until, version=version, exclude_quarantined=False, features=False)
            hourly = [(hour, part) for hour, part in _by_hour(rows) if hour in revisions]
            made = [(hour, Sums.measure(scored(part), sorted(metrics))) for hour, part in hourly]
            yield version, [(hour, sums.n, sums.to_json(), revisions[hour]) for hour, sums in made]


def _by_hour(rows: pa.Table) -> list[tuple[datetime, pa.Table]]:
    """Split rows, which are sorted by time, into their hours."""
    import pyarrow as pa

    hours, starts = np.unique(rows["time"].cast(pa.int64()).to_numpy() // _HOUR_MICROS, return_index=True)
    sizes = np.diff(starts, append=rows.num_rows)
    spans = zip(hours.tolist(), starts.tolist(), sizes.tolist(), strict=True)
    return [(datetime.fromtimestamp(0, UTC) + hour * HOUR, rows.slice(start, n)) for hour, start, n in spans]


@dataclass(frozen=True)
class _Hour:
    """One version in one hour."""

    version: int
    hour: datetime
    predictions: int
    labelled: int
    index: int | None
    """Of its sums in `_History.sums`; None where the hour has no sums or is quarantined."""


@dataclass(frozen=True)
class _History:
    """Versions over time, by version and hour."""

    hours: list[_Hour]
    sums: HourlyTable
    times: NDArray[np.datetime64]
    """The starts of the hours that were summed."""

    def groups(self, key: Callable[[datetime], datetime | None]) -> dict[tuple[datetime, int], list[_Hour]]:
        """Group the hours by key and version, in this order. Hours whose key is None are in no group."""
        found: dict[tuple[datetime, int], list[_Hour]] = defaultdict(list)
        for hour in self.hours:
            if (begin := key(hour.hour)) is not None:
                found[begin, hour.version].append(hour)
        return dict(sorted(found.items()))

    def report(self, group: Sequence[_Hour], config: ModelConfig, names: Iterable[str] = ()) -> dict[str, Any]:
        """Return the performance of one version in consecutive hours, as JSON values. names: of metrics; empty: all."""
        indexes = [each.index for each in group if each.index is not None]
        first, end = (indexes[0], indexes[-1] + 1) if indexes else (0, 0)
        whole, times = self.sums.between(first, end), self.times[first:end]
        metrics = {
            name: interval_estimate(name, whole, times).to_dict()
            for name in (names or sorted(METRICS_OF_KIND[config.target.kind]))
        }
        means = {f"mean_{name}": finite_or_none(whole.mean(name)) for name in COLUMNS}
        predictions, labelled = sum(each.predictions for each in group), sum(each.labelled for each in group)
        quarantined = [each.labelled for each in group if each.labelled and each.index is None]
        return {
            "metric": config.performance.metric,
            "predictions": predictions,
            "labelled": labelled,
            "coverage": labelled / predictions if predictions else None,
            "n": sum(whole.rows),
            "hours": len(whole),
            **means,
            "metrics": metrics,
            "quarantined": {"hours": len(quarantined), "rows": sum(quarantined)},
        }


def series(
    ws: Workspace,
    config: ModelConfig,
    start: datetime,
    end: datetime,
    *,
    bucket: Bucket = "day",
    version: int | None = None,
) -> list[dict[str, Any]]:
    """Return the performance of each bucket and version, of the hours that begin in start ≤ hour < end.

    Parameters
    ----------
    ws, config
        The workspace and the model.
    start, end
        Full hours, UTC.
    bucket
        Hours, calendar days, weeks from Monday or calendar months, all UTC.
    version
        Only this version; all versions where None.

    Returns
    -------
    list of dict
        By time and version, only buckets with predictions. Each has ``start``, ``end``, ``version``, ``metric`` (the
        configured one), ``predictions``, ``labelled`` and ``coverage`` (the share of predictions that are labelled;
        None where the number of predictions is not known any more), ``n`` (labelled rows that are not quarantined),
        ``hours``, ``quarantined``, ``mean_label``, ``mean_score`` and ``mean_prediction``. Under ``metrics``, each
        metric has ``value, lower, upper, standard_error, n, clusters, bin_error``
        (`keel.stats.metrics.intervals.IntervalEstimate`) and ``holdout``: the same of the version's training holdout,
        None where it was not measured or the registry does not have it.

    """
    refresh(ws, config, start=start, end=end)
    history = _history(ws, config, start, end, version)
    holdouts = {number: _holdout(ws, config, number) for number in {each.version for each in history.hours}}
    found = []
    for (begin, number), group in history.groups(partial(_floor, bucket)).items():
        report = _header(begin, _end(begin, bucket), number) | history.report(group, config)
        for name, values in report["metrics"].items():
            values["holdout"] = holdout_interval(holdouts[number], name)
        found.append(report)
    return found


def stored_series(
    ws: Workspace, config: ModelConfig, start: datetime, end: datetime, *, bucket: Bucket
) -> list[dict[str, Any]]:
    """Return what `series` returns, of the configured metric alone, without its coverage and the holdout.

    It is read from what is summed already: nothing is written, and no row and no registry is asked, so that a page can
    show a year at once.
    """
    history = _history(ws, config, start, end, None, predictions={})
    return [
        _header(begin, _end(begin, bucket), number) | history.report(group, config, (config.performance.metric,))
        for (begin, number), group in history.groups(partial(_floor, bucket)).items()
    ]


def rolling(
    ws: Workspace, config: ModelConfig, *, end: datetime, windows: Sequence[timedelta] = WINDOWS
) -> list[dict[str, Any]]:
    """Return the performance in the last full hours whose labels have matured, by window and version.

    The windows end ``target.label_delay`` before ``end``, rounded down to an hour. Later hours have only labels that
    arrive early, which are seldom like the others. Each result has ``window`` (such as ``24h``) and the values of
    `series` without the holdout: the registry is not asked, so that a scrape costs one read of the store.
    """
    until = floor_hour(end - config.target.label_delay)
    first = until - max(windows)
    refresh(ws, config, start=first, end=until)
    history = _history(ws, config, first, until, None)
    found = []
    for window in windows:
        groups = history.groups(partial(_since, until - window))
        for (begin, number), group in groups.items():
            header = {"window": _named(window), **_header(begin, until, number)}
            found.append(header | history.report(group, config))
    return found


def all_sums(
    ws: Workspace, config: ModelConfig, version: int, *, until: datetime, decided_before: datetime, keep: bool = True
) -> tuple[HourlyTable, NDArray[np.datetime64]]:
    """Return the sums of a version's labels up to an hour, and the hours, without those that are quarantined.

    decided_before: only quarantines count that a window with an earlier end decided on.
    keep: whether the sums of hours that labels arrived for are stored.
    """
    fresh: dict[datetime, str] = {}
    if keep:
        refresh(ws, config, end=until)
    else:
        for number, hours in _stale_sums(ws, config, None, until):
            fresh.update((hour, body) for hour, _, body, _ in hours if number == version)
    stored = {hour: body for _, hour, _, body in ws.store.performance.get(config.model, EVER, until, version)}
    quarantines = ws.store.quarantines(config.model, with_released=True, decided_before=decided_before)
    used = [
        (hour.replace(tzinfo=None), body)
        for hour, body in sorted({**stored, **fresh}.items())
        if hour_status(hour, quarantines) is not HourStatus.QUARANTINED
    ]
    return HourlyTable.read([body for _, body in used]), np.array([hour for hour, _ in used], "datetime64[s]")


def _history(
    ws: Workspace,
    config: ModelConfig,
    start: datetime,
    end: datetime,
    version: int | None,
    predictions: Mapping[tuple[int, datetime], int] | None = None,
) -> _History:
    """Read the hours of each version from the store. predictions: their number; None: they are counted."""
    quarantines = ws.store.quarantines(config.model, with_released=True)
    if predictions is None:
        predictions = ws.predictions(config).hourly_rows(start, end, version)
    stored = ws.store.performance.get(config.model, start, end, version)
    summed = {(number, hour): (n, body) for number, hour, n, body in stored}
    hours: list[_Hour] = []
    bodies: list[str] = []
    times: list[datetime] = []
    for key in sorted(predictions.keys() | summed.keys()):
        number, hour = key
        labelled, body = summed.get(key, (0, None))
        index = None
        if body is not None and hour_status(hour, quarantines) is not HourStatus.QUARANTINED:
            index = len(bodies)
            bodies.append(body)
            times.append(hour.replace(tzinfo=None))
        hours.append(_Hour(number, hour, predictions.get(key, 0), labelled, index))
    return _History(hours, HourlyTable.read(bodies), np.array(times, "datetime64[s]"))


def _header(start: datetime, end: datetime, version: int) -> dict[str, Any]:
    return {"start": start.isoformat(), "end": end.isoformat(), "version": version}


def _holdout(ws: Workspace, config: ModelConfig, version: int) -> Mapping[str, Any]:
    """Return a version's metrics on its holdout; none where it was deleted or the registry does not answer."""
    try:
        return ws.registry.reference(config.model, version)["metrics"]
    except KeelError:
        return {}


_LENGTH: Mapping[str, timedelta] = {"hour": HOUR, "day": DAY, "week": 7 * DAY}


def _floor(bucket: Bucket, hour: datetime) -> datetime:
    """Return the start of the bucket of an hour (UTC)."""
    if bucket == "hour":
        return hour
    midnight = hour.replace(hour=0)
    if bucket == "month":
        return midnight.replace(day=1)
    return midnight if bucket == "day" else midnight - midnight.weekday() * DAY


def _since(since: datetime, hour: datetime) -> datetime | None:
    """Return the start of a window where an hour is in it, else None."""
    return since if hour >= since else None


def _end(begin: datetime, bucket: Bucket) -> datetime:
    """Return the end of the bucket that starts at ``begin``."""
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

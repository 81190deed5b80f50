"""Add up a window from its hourly counts, and count the hours that have new rows.

Quarantined hours are excluded from every check. Hours that a person released from quarantine are used, but their form
is not checked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keel.grid.counts import Counts
from keel.grid.engines.local import count_hours
from keel.grid.kernel import unseen_categories
from keel.monitoring.accepted import with_accepted
from keel.monitoring.quality import QualityStatus, check_quality
from keel.monitoring.records import HoursAndRows
from keel.registry.scoring_model import require_features
from keel.store.quarantines import DATA
from keel.values.columns import read_column
from keel.window import DAY, HOUR, Window, outside

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid
    from keel.workspace import Workspace


NONE: Mapping[datetime, Counts] = MappingProxyType({})
MAX_GAP = timedelta(hours=12)
"""Broken hours less than this apart are one span. It is longer than a quiet night, and short enough that one broken row
on Monday and a break on Friday do not quarantine the days between them."""


@dataclass(frozen=True)
class NewCounts:
    """How much of a version was counted in a run."""

    hours: int
    rows: int


def count_dirty_hours(ws: Workspace, config: ModelConfig, version: int, dirty: Mapping[datetime, int]) -> NewCounts:
    """Count the hours of one version that have uncounted rows.

    dirty: by hour, the revision that it is counted as of. Raises `ConfigError` where the version needs a feature that
    the configuration does not have.
    """
    predictions = ws.predictions(config)
    grid = ws.registry.grid(config.model, version)
    require_features(config, version, grid.features)
    rows = 0
    for start, end in contiguous_spans(dirty):
        hourly = count_hours(grid, predictions.read(start, end, version))
        new = {hour: counts for hour, counts in hourly.items() if hour in dirty}
        payloads = [(hour, counts.n, counts.to_bytes(), dirty[hour]) for hour, counts in new.items()]
        ws.store.counts.put_hours(config.model, version, grid.grid_id, payloads)
        predictions.mark_counted(version, [(hour, dirty[hour]) for hour in new])
        rows += sum(counts.n for counts in new.values())
    return NewCounts(len(dirty), rows)


def count_uncounted(
    ws: Workspace, config: ModelConfig, version: int, grid: ReferenceGrid, window: Window
) -> dict[datetime, Counts]:
    """Count the hours of a window that have uncounted rows, and store nothing. Raises as `count_dirty_hours` does."""
    predictions = ws.predictions(config)
    require_features(config, version, grid.features)
    dirty = {
        hour for number, hour, _ in predictions.dirty_hours(window.end) if number == version and hour >= window.start
    }
    found: dict[datetime, Counts] = {}
    for start, end in contiguous_spans(dirty):
        hourly = count_hours(grid, predictions.read(start, end, version))
        found.update((hour, counts) for hour, counts in hourly.items() if hour in dirty)
    return found


def contiguous_spans(hours: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """Return the spans [start, end) that these full hours make up, in order, none longer than a day.

    One span is one query and one table in memory. It holds no hour but these.
    """
    spans: list[tuple[datetime, datetime]] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour and hour - spans[-1][0] < DAY:
            spans[-1] = (spans[-1][0], hour + HOUR)
        else:
            spans.append((hour, hour + HOUR))
    return spans


class HourStatus(Enum):
    """Whether an hour is used in checks."""

    NORMAL = "normal"
    QUARANTINED = "quarantined"
    """An earlier window found it broken."""
    RELEASED = "released"
    """A person released it from quarantine."""


@dataclass(frozen=True)
class SummedHours:
    """The counts of some of a window's hours, added up."""

    hours: int
    counts: Counts

    @property
    def size(self) -> HoursAndRows:
        """How many hours and rows these are."""
        return HoursAndRows(hours=self.hours, rows=self.counts.n)


@dataclass(frozen=True)
class WindowCounts:
    """A window's counts by the status of its hours."""

    normal: SummedHours
    quarantined: SummedHours
    released: SummedHours

    @property
    def usable(self) -> Counts:
        """The counts of all hours that are not quarantined."""
        return self.normal.counts + self.released.counts

    @property
    def hours(self) -> int:
        """How many hours have usable rows."""
        return self.normal.hours + self.released.hours

    @property
    def exclusion(self) -> str:
        """The sentence that a check adds when hours were excluded; empty when all were used."""
        hours, rows = self.quarantined.hours, self.quarantined.counts.n
        return f" Quarantined and excluded: {rows:,} rows of {hours} h." if hours else ""


def window_counts(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    grid: ReferenceGrid,
    window: Window,
    *,
    decided_before: datetime,
    about: str | None = DATA,
    uncounted: Mapping[datetime, Counts] = NONE,
) -> WindowCounts:
    """Add up a window from its hourly counts, without the hours that earlier windows quarantined.

    uncounted: counts that are not stored (`count_uncounted`), in place of the stored ones of their hours.
    about: what the quarantines are about that count; None: all, for a check that needs labels.
    decided_before: the end of the window that is checked. Only windows that ended before it count as earlier, so that
    a window's own quarantine changes nothing when the window is checked again.
    """
    sums = {status: SummedHours(0, Counts.zero(grid)) for status in HourStatus}
    for _, counts, status in hourly_counts(ws, config, version, grid, window, decided_before, about, uncounted):
        sums[status] = SummedHours(sums[status].hours + 1, sums[status].counts + counts)
    return WindowCounts(sums[HourStatus.NORMAL], sums[HourStatus.QUARANTINED], sums[HourStatus.RELEASED])


def name_unseen(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    grid: ReferenceGrid,
    window: Window,
    columns: Sequence[str],
    *,
    decided_before: datetime,
) -> dict[str, dict[str, int]]:
    """Return the unseen categories of some columns, with their rows, from the window's rows whose form is checked."""
    hours = [
        hour
        for hour, _, status in hourly_counts(ws, config, version, grid, window, decided_before)
        if status is HourStatus.NORMAL
    ]
    found: dict[str, dict[str, int]] = {name: {} for name in columns}
    for start, end in contiguous_spans(hours):
        for table, name in product(ws.predictions(config).read(start, end, version), columns):
            for category, rows in unseen_categories(grid.column(name), read_column(table, name)).items():
                found[name][category] = found[name].get(category, 0) + rows
    return found


def hourly_counts(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    grid: ReferenceGrid,
    window: Window,
    decided_before: datetime,
    about: str | None = DATA,
    uncounted: Mapping[datetime, Counts] = NONE,
) -> Iterator[tuple[datetime, Counts, HourStatus]]:
    """Yield a window's hours that have rows, in order of time, each with its counts and status.

    uncounted: see `window_counts`.
    """
    quarantines = ws.store.quarantines(config.model, about=about, decided_before=decided_before, with_released=True)
    stored = dict(ws.store.counts.get(config.model, version, grid.grid_id, window.start, window.end))
    for hour in sorted(stored.keys() | uncounted.keys()):
        counts = uncounted[hour] if hour in uncounted else Counts.from_bytes(stored[hour])
        yield hour, counts, hour_status(hour, quarantines)


def hour_status(hour: datetime, quarantines: Sequence[Mapping[str, Any]]) -> HourStatus:
    """Return an hour's status. An hour that is quarantined in part is excluded as a whole: counts cannot be divided.

    quarantines: rows of the store, with ``start``, ``end`` and ``released``.
    """
    released = [row["released"] for row in quarantines if row["start"] < hour + HOUR and hour < row["end"]]
    if not released:
        return HourStatus.NORMAL
    return HourStatus.RELEASED if all(released) else HourStatus.QUARANTINED


def broken_windows(ws: Workspace, config: ModelConfig, version: int, window: Window) -> list[Window]:
    """Return the parts of a window that are broken on their own counts; all of it where no single hour is.

    Hours less than `MAX_GAP` apart are one part, because at night an hour may have too few rows for a test. What an
    earlier window quarantined, or a person released, is in none of them.
    """
    grid, _ = with_accepted(ws, config.model, version, ws.registry.grid(config.model, version), window)
    broken: list[Window] = []
    for hour, counts, status in hourly_counts(ws, config, version, grid, window, window.end):
        if status is not HourStatus.NORMAL:
            continue
        if check_quality(grid, counts, config=config.drift).status is not QualityStatus.BROKEN:
            continue
        if broken and hour - broken[-1].end < MAX_GAP:
            broken[-1] = Window(broken[-1].start, hour + HOUR)
        else:
            broken.append(Window(hour, hour + HOUR))
    decided = [
        (row["start"], row["end"])
        for row in ws.store.quarantines(config.model, about=DATA, with_released=True)
        if row["released"] or row["decided_until"] < window.end
    ]
    return [Window(*span) for found in broken or [window] for span in outside(found.start, found.end, decided)]

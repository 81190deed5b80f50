"""Where the loop's steps get rows and counts from: the prediction log and the hourly counts of one model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from keel.grid.counts import Counts
from keel.grid.engines.local import count_hours
from keel.monitoring.quality import QualityStatus, check_quality
from keel.registry.scoring_model import require_features
from keel.window import DAY, HOUR, Window, outside

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid
    from keel.workspace import Workspace


BRIDGE = timedelta(hours=12)
"""Longer than a quiet night; shorter than what one stray row on Monday and a break on Friday would set aside."""


@dataclass(frozen=True)
class Counted:
    """How much of a version was counted anew."""

    hours: int
    rows: int


def count_dirty(ws: Workspace, config: ModelConfig, version: int, dirty: Mapping[datetime, int]) -> Counted:
    """Count the hours of one version that have rows not yet counted: hour → the revision it is counted as of.

    `ConfigError` where the version knows a feature that the configuration does not.
    """
    predictions = ws.predictions(config)
    grid = ws.registry.grid(config.model, version)
    require_features(config, version, grid.features)
    rows = 0
    for start, end in stretches(dirty):
        hourly = count_hours(grid, predictions.read(start, end, version))
        new = {hour: counts for hour, counts in hourly.items() if hour in dirty}
        payloads = [(hour, counts.n, counts.to_bytes(), dirty[hour]) for hour, counts in new.items()]
        ws.store.counts.put_hours(config.model, version, grid.grid_id, payloads)
        predictions.clean_hours(version, [(hour, dirty[hour]) for hour in new])
        rows += sum(counts.n for counts in new.values())
    return Counted(len(dirty), rows)


def stretches(hours: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """Return the spans [start, end) that these full hours make up, in order, none longer than a day.

    One span is one query and one table in memory, and it holds no hour that was not asked for.
    """
    spans: list[tuple[datetime, datetime]] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour and hour - spans[-1][0] < DAY:
            spans[-1] = (spans[-1][0], hour + HOUR)
        else:
            spans.append((hour, hour + HOUR))
    return spans


class HourStatus(Enum):
    """What earlier windows' decisions, and people, have said of an hour; nothing, mostly."""

    OPEN = "open"
    SET_ASIDE = "set aside"
    RELEASED = "released"


@dataclass(frozen=True)
class Part:
    """Some of a window's hours, added up."""

    hours: int
    counts: Counts

    def to_dict(self) -> dict[str, int]:
        """Return how much it is."""
        return {"hours": self.hours, "rows": self.counts.n}


@dataclass(frozen=True)
class WindowCounts:
    """A window's counts, by what has been decided about its hours before.

    What is set aside is left out of every check. What a person has released is used, and its form, on which that person
    has decided, is not judged again.
    """

    open: Part
    set_aside: Part
    released: Part

    @property
    def usable(self) -> Counts:
        """All that is not set aside."""
        return self.open.counts + self.released.counts

    @property
    def remark(self) -> str:
        """What a check's sentence adds when not all hours were judged."""
        hours, rows = self.set_aside.hours, self.set_aside.counts.n
        return f" Left out: {rows:,} rows of {hours} h set aside before." if hours else ""


def window_counts(
    ws: Workspace, config: ModelConfig, version: int, grid: ReferenceGrid, window: Window, *, decided_before: datetime
) -> WindowCounts:
    """Add up a window from its hourly counts, apart what windows that ended before ``decided_before`` found broken.

    With the end of the window that is judged, what it sets aside itself changes nothing when it is judged again.
    """
    parts = {standing: Part(0, Counts.zero(grid)) for standing in HourStatus}
    for _, counts, standing in hourly_counts(ws, config, version, grid, window, decided_before):
        parts[standing] = Part(parts[standing].hours + 1, parts[standing].counts + counts)
    return WindowCounts(parts[HourStatus.OPEN], parts[HourStatus.SET_ASIDE], parts[HourStatus.RELEASED])


def hourly_counts(
    ws: Workspace, config: ModelConfig, version: int, grid: ReferenceGrid, window: Window, decided_before: datetime
) -> Iterator[tuple[datetime, Counts, HourStatus]]:
    """Yield a window's hours that have rows, in order."""
    stretches = ws.store.quarantines(config.model, decided_before=decided_before, with_released=True)
    for hour, payload in ws.store.counts.get(config.model, version, grid.grid_id, window.start, window.end):
        yield hour, Counts.from_bytes(payload), standing_of(hour, stretches)


def standing_of(hour: datetime, stretches: Sequence[Mapping[str, Any]]) -> HourStatus:
    """Return an hour's standing. An hour that is set aside in part is as a whole: counts cannot be divided."""
    released = [s["released"] for s in stretches if s["start"] < hour + HOUR and hour < s["end"]]
    if not released:
        return HourStatus.OPEN
    return HourStatus.RELEASED if all(released) else HourStatus.SET_ASIDE


def broken_stretches(ws: Workspace, config: ModelConfig, version: int, window: Window) -> list[Window]:
    """Return the stretches of hours that are broken on their own counts; the whole window where no hour is.

    Hours less than `BRIDGE` apart are one stretch: between them, as at night, there may be too few rows to tell. What
    an earlier window has found, or a person released, is in none.
    """
    grid = ws.registry.grid(config.model, version)
    broken: list[Window] = []
    for hour, counts, standing in hourly_counts(ws, config, version, grid, window, window.end):
        if standing is not HourStatus.OPEN:
            continue
        if check_quality(grid, counts, config=config.drift).status is not QualityStatus.BROKEN:
            continue
        if broken and hour - broken[-1].end < BRIDGE:
            broken[-1] = Window(broken[-1].start, hour + HOUR)
        else:
            broken.append(Window(hour, hour + HOUR))
    known = [
        (stretch["start"], stretch["end"])
        for stretch in ws.store.quarantines(config.model, with_released=True)
        if stretch["released"] or stretch["decided_until"] < window.end
    ]
    return [Window(*span) for found in broken or [window] for span in outside(found.start, found.end, known)]

"""Which window a run checks, and the counts of the predictions in it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from keel import deployments
from keel.errors import ConfigError, UnknownVersion
from keel.monitoring.records import CountedWindow
from keel.monitoring.window_counts import count_dirty_hours
from keel.window import Window, ceil_hour, floor_hour, parse_time

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace


log = logging.getLogger(__name__)


def resolve_window(
    config: ModelConfig,
    *,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    interval_end: str | datetime | None = None,
    now: datetime,
) -> Window:
    """Return the window that a run checks, for scheduled, asset-triggered and manual runs alike.

    The window ends at ``end`` if given, else at the end of the schedule's interval, else now. It starts at ``start`` if
    given, else ``check.lookback`` before its end. Both are widened to full hours.
    """
    until = parse_time(end) or parse_time(interval_end) or parse_time(now)
    assert until is not None
    since = parse_time(start) or until - config.check.lookback
    return Window(floor_hour(since), ceil_hour(until))


def count_window(
    ws: Workspace,
    config: ModelConfig,
    window: Window,
    *,
    alarms: Sequence[str] = (),
    since_alarms: bool = False,
) -> CountedWindow:
    """Count the hours up to the window's end that have new predictions. Hours without news keep their counts.

    The window is checked on the version in production. Hours of other versions are counted too, because rows expire
    only once they are counted, and the last hours of a replaced version belong to its history.

    alarms, since_alarms: the live alarms that the run is to judge (`keel.loop.alarms.alarms_to_judge`).
    """
    predictions = ws.predictions(config)
    production = deployments.production_version(ws.store, config.model)
    dirty: dict[int, dict[datetime, int]] = {production: {}}
    for version, hour, revision in predictions.dirty_hours(window.end):
        dirty.setdefault(version, {})[hour] = revision
    counted = count_dirty_hours(ws, config, production, dirty.pop(production))
    for version, hours in dirty.items():
        try:
            count_dirty_hours(ws, config, version, hours)
        except (UnknownVersion, ConfigError) as error:
            log.warning("%d hours of version %d stay uncounted: %s", len(hours), version, error)
    rows = predictions.count(window.start, window.end, production)
    log.info("counted %d hours with new predictions (%d rows); the window has %d", counted.hours, counted.rows, rows)
    return CountedWindow(
        model=config.model,
        version=production,
        window=window,
        rows=rows,
        counted_hours=counted.hours,
        counted_rows=counted.rows,
        alarms=tuple(alarms),
        since_alarms=since_alarms,
    )

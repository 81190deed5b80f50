"""When the DAGs run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetOrTimeSchedule, CronDataIntervalTimetable

from keel.config.sections import five_fields
from keel_airflow.assets import alarm_asset

if TYPE_CHECKING:
    from keel.config import ModelConfig


def check_schedule(config: ModelConfig) -> AssetOrTimeSchedule | list[Asset]:
    """Return when a model is checked: always when the live monitor alarms, and by the clock unless it is null."""
    asset, cron = alarm_asset(config.model), config.check.schedule
    if cron is None:
        return [asset]
    # A timetable of intervals and not the plain cron string, whose data intervals have no length.
    return AssetOrTimeSchedule(timetable=CronDataIntervalTimetable(cron, timezone="UTC"), assets=[asset])


def watch_schedule(config: ModelConfig) -> CronDataIntervalTimetable | None:
    """Return when a deployment is looked at; null: only when asked. Right after a promotion there is nothing to see."""
    cron = config.promotion.monitor_schedule
    return CronDataIntervalTimetable(cron, timezone="UTC") if cron else None


def maintenance_schedule() -> str | None:
    """Return when Keel as a whole is looked after: ``KEEL_MAINTENANCE_SCHEDULE``, else every night at three.

    ``null``: only when asked.

    Raises
    ------
    ValueError
        For an expression that Airflow could not use.

    """
    schedule = os.environ.get("KEEL_MAINTENANCE_SCHEDULE") or "0 3 * * *"
    if schedule == "null":
        return None
    try:
        five_fields(schedule)
    except ValueError as error:
        raise ValueError(f"environment KEEL_MAINTENANCE_SCHEDULE: {schedule!r} {error}") from error
    return schedule

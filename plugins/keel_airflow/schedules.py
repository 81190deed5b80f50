"""The schedules of the DAGs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetOrTimeSchedule, CronDataIntervalTimetable

from keel.config.sections import five_fields
from keel_airflow.assets import alarm_asset

if TYPE_CHECKING:
    from keel.config import ModelConfig


def check_schedule(config: ModelConfig) -> AssetOrTimeSchedule | list[Asset]:
    """Return the schedule of the drift check: the alarm asset, and ``check.schedule`` unless it is null."""
    asset, cron = alarm_asset(config), config.check.schedule
    if cron is None:
        return [asset]
    # A plain cron string has data intervals of length zero in Airflow 3.
    return AssetOrTimeSchedule(timetable=CronDataIntervalTimetable(cron, timezone="UTC"), assets=[asset])


def monitor_schedule(config: ModelConfig) -> CronDataIntervalTimetable | None:
    """Return the schedule of the deployment's evaluation; None: only by hand."""
    cron = config.promotion.monitor_schedule
    return CronDataIntervalTimetable(cron, timezone="UTC") if cron else None


def maintenance_schedule() -> str | None:
    """Return the schedule of the maintenance: ``KEEL_MAINTENANCE_SCHEDULE``, else every night at three.

    ``null``: only by hand.

    Raises
    ------
    ValueError
        For an expression that Airflow cannot use.

    """
    schedule = os.environ.get("KEEL_MAINTENANCE_SCHEDULE") or "0 3 * * *"
    if schedule == "null":
        return None
    try:
        five_fields(schedule)
    except ValueError as error:
        raise ValueError(f"environment KEEL_MAINTENANCE_SCHEDULE: {schedule!r} {error}") from error
    return schedule

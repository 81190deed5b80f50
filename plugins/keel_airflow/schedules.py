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

    ``null``: only by hand. Raises as `_of_environment` does.
    """
    return _of_environment("KEEL_MAINTENANCE_SCHEDULE", "0 3 * * *")


def alerts_schedule() -> str | None:
    """Return how often messages that wait are sent again: ``KEEL_ALERTS_SCHEDULE``, else every minute.

    ``null``: only by hand. Raises as `_of_environment` does.
    """
    return _of_environment("KEEL_ALERTS_SCHEDULE", "* * * * *")


def _of_environment(name: str, default: str) -> str | None:
    """Return a schedule that the environment may set; ``null``: none.

    Raises
    ------
    ValueError
        For an expression that Airflow cannot use.

    """
    schedule = os.environ.get(name) or default
    if schedule == "null":
        return None
    try:
        five_fields(schedule)
    except ValueError as error:
        raise ValueError(f"environment {name}: {schedule!r} {error}") from error
    return schedule

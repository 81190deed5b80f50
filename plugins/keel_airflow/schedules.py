"""When a model's DAGs run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetOrTimeSchedule, CronDataIntervalTimetable

from keel_airflow.assets import alarm_asset

if TYPE_CHECKING:
    from keel.config import ModelConfig


def check_schedule(config: ModelConfig) -> AssetOrTimeSchedule | list[Asset]:
    """Return when a model is checked: always when the live monitor raises an alarm, and by the clock unless it is null.

    A timetable of intervals and not the plain cron string, whose data intervals have no length.
    """
    alarm = [alarm_asset(config.model)]
    if config.check.schedule is None:
        return alarm
    timetable = CronDataIntervalTimetable(config.check.schedule, timezone="UTC")
    return AssetOrTimeSchedule(timetable=timetable, assets=alarm)

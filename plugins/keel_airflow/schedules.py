"""When the DAGs run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetOrTimeSchedule, CronDataIntervalTimetable

from keel.sections import five_fields
from keel_airflow.assets import alarm_asset, production_asset

if TYPE_CHECKING:
    from keel.config import ModelConfig


def check_schedule(config: ModelConfig) -> AssetOrTimeSchedule | list[Asset]:
    """Return when a model is checked: always when the live monitor alarms, and by the clock unless it is null."""
    return _by_asset_and_clock(alarm_asset(config.model), config.check.schedule)


def watch_schedule(config: ModelConfig) -> AssetOrTimeSchedule | list[Asset]:
    """Return when a deployment is looked at: always when production changes, and by the clock unless it is null."""
    return _by_asset_and_clock(production_asset(config.model), config.promotion.watch)


def maintenance_schedule() -> str:
    """Return when Keel as a whole is looked after: ``KEEL_MAINTENANCE_SCHEDULE``, else every night at three.

    Raises
    ------
    ValueError
        For an expression that Airflow could not use.

    """
    schedule = os.environ.get("KEEL_MAINTENANCE_SCHEDULE") or "0 3 * * *"
    try:
        five_fields(schedule)
    except ValueError as error:
        raise ValueError(f"environment KEEL_MAINTENANCE_SCHEDULE: {schedule!r} {error}") from error
    return schedule


def _by_asset_and_clock(asset: Asset, cron: str | None) -> AssetOrTimeSchedule | list[Asset]:
    """A timetable of intervals and not the plain cron string, whose data intervals have no length."""
    if cron is None:
        return [asset]
    return AssetOrTimeSchedule(timetable=CronDataIntervalTimetable(cron, timezone="UTC"), assets=[asset])

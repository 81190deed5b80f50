"""The assets of a model, each declared once."""

from __future__ import annotations

from airflow.sdk import Asset


def alarm_asset(model: str) -> Asset:
    """Return what the live monitor updates when a bound is crossed, and the drift check listens to."""
    return Asset(name=f"{model}.alarm", uri=f"keel://{model}/alarm")


def production_asset(model: str) -> Asset:
    """Return what a promotion updates: the version in production has changed."""
    return Asset(name=f"{model}.production", uri=f"keel://{model}/production")

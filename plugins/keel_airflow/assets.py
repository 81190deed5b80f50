"""The assets of a model. Each is declared here, once."""

from __future__ import annotations

from airflow.sdk import Asset


def alarm_asset(model: str) -> Asset:
    """Return the asset that the live monitor updates when a bound is crossed. It starts the drift check."""
    return Asset(name=f"{model}.alarm", uri=f"keel://{model}/alarm")


def production_asset(model: str) -> Asset:
    """Return the asset that is updated when the version in production changes."""
    return Asset(name=f"{model}.production", uri=f"keel://{model}/production")

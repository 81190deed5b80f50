"""The assets of a model. Each is declared here, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetWatcher

from keel_airflow.triggers import LiveDriftTrigger

if TYPE_CHECKING:
    from keel.config import ModelConfig


def alarm_asset(config: ModelConfig) -> Asset:
    """Return the asset whose update starts the drift check. The live monitors update it, unless ``live`` is null."""
    watchers = [AssetWatcher(name=f"{config.model}.live", trigger=LiveDriftTrigger(model=config.model))]
    return Asset(
        name=f"{config.model}.alarm",
        uri=f"keel://{config.model}/alarm",
        watchers=watchers if config.live is not None else [],
    )


def production_asset(model: str) -> Asset:
    """Return the asset that is updated when the version in production changes."""
    return Asset(name=f"{model}.production", uri=f"keel://{model}/production")

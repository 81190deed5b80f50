"""Registers Keel's plugin with Airflow. What it registers is defined in `keel_airflow`."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from keel_airflow.web import registration


class KeelPlugin(AirflowPlugin):
    """Keel's one plugin. Every process of Airflow loads it; only the API server asks for apps and views."""

    name = "keel"

    @cached_property
    def fastapi_apps(self) -> list[Any]:
        """The REST endpoints and the pages."""
        return registration.fastapi_apps()

    @cached_property
    def fastapi_root_middlewares(self) -> list[Any]:
        """What lets the apps answer at their bare paths."""
        return registration.root_middlewares()

    @cached_property
    def external_views(self) -> list[Any]:
        """The links to the pages."""
        return registration.external_views()

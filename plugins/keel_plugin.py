"""Registers Keel's plugin with Airflow. What it registers is defined in `keel_airflow`."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class KeelPlugin(AirflowPlugin):
    """Keel's one plugin."""

    name = "keel"

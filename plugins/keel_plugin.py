"""Register with Airflow what Keel adds to it. Registration only: what is registered lives in `keel_airflow`."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class KeelPlugin(AirflowPlugin):
    """Keel's one plugin."""

    name = "keel"

"""What the plugin hands to Airflow's API server. Other processes load plugins, too, and import none of it."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

SOURCE = "keel_airflow.web"
"""Under which the page of Airflow's plugins shows that the endpoints and pages are missing."""


def fastapi_apps() -> list[dict[str, Any]]:
    """Return the apps that Airflow mounts, whole, or none of them.

    An error must not stop Airflow's own API server, nor leave one app without another. It is logged, and Airflow's page
    of plugins names it.
    """
    try:
        from keel_airflow.web.apps import drift_app, models_app, page_app

        return [
            {"name": "Keel: drift", "url_prefix": "/drift", "app": drift_app()},
            {"name": "Keel: models", "url_prefix": "/models", "app": models_app()},
            {"name": "Keel: pages", "url_prefix": "/keel", "app": page_app()},
        ]
    except Exception as error:
        log.exception("Keel's endpoints and pages are missing: they cannot be imported")
        _report(error)
        return []


def external_views() -> list[dict[str, Any]]:
    """Return the links to the pages: in the navigation, and as a tab of each DAG.

    Airflow takes an address as it is. So it has the path below which Airflow is mounted, if any.
    """
    from airflow.configuration import conf

    root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return [
        {
            "name": "Keel",
            "href": f"{root}/keel/",
            "destination": "nav",
            "nav_top_level": True,
            "url_route": "keel",
        },
        {
            "name": "Model",
            "href": f"{root}/keel/dag/{{DAG_ID}}",
            "destination": "dag",
            "url_route": "keel-model",
        },
    ]


def _report(error: Exception) -> None:
    """Add an error to those that Airflow's page of plugins lists. Where Airflow has no such list, the log has it."""
    from airflow import plugins_manager

    try:
        plugins_manager.get_import_errors()[SOURCE] = f"{type(error).__name__}: {error}"
    except Exception:
        log.warning("Airflow lists no import errors of plugins")

"""What the plugin hands to Airflow's API server. Other processes load plugins, too, and import none of it."""

from __future__ import annotations

import importlib
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

MOUNTED = (("drift", "/drift"), ("models", "/models"), ("pages", "/keel"))
"""Names of the apps, and below which path Airflow mounts each."""

SOURCE = "keel_airflow.web"
"""Under which the page of Airflow's plugins shows that the endpoints and pages are missing."""


def fastapi_apps() -> list[dict[str, Any]]:
    """Return the apps that Airflow mounts: all of them whole, or in the place of each one that answers 503.

    An error must not stop Airflow's own API server, nor leave one app without another, nor let Airflow answer in the
    place of one. It is logged, and Airflow's page of plugins names it.
    """
    try:
        from keel_airflow.web.apps import drift_app, models_app, page_app

        apps: tuple[ASGIApp, ...] = (drift_app(), models_app(), page_app())
        # What reads the store takes a third of a second to import: at the start, and not while a person waits.
        importlib.import_module("keel.reports.fleet")
        importlib.import_module("keel.workspace")
    except Exception as error:
        log.exception("Keel's endpoints and pages are missing: they cannot be imported")
        _report(error)
        apps = (Missing(), Missing(), Missing())
    return [
        {"name": f"Keel: {name}", "url_prefix": prefix, "app": app}
        for (name, prefix), app in zip(MOUNTED, apps, strict=True)
    ]


class Missing:
    """An app that answers every request with 503: Keel's cannot be imported. It says nothing of why."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        detail = "Keel's endpoints are missing: Airflow's page of plugins, and the API server's log, say why."
        problem = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": detail}
        headers = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps({**problem, "errors": []}).encode()})


def root_middlewares() -> list[dict[str, Any]]:
    """Return what Keel's apps need of Airflow's: their paths without a slash at the end, and Airflow's app itself."""
    from keel_airflow.web.airflow_api import KnowsAirflow
    from keel_airflow.web.bare_paths import BarePaths

    paths = {"endpoints": ("/drift", "/models"), "pages": ("/keel",)}
    return [
        {"name": "Keel: paths", "middleware": BarePaths, "args": [], "kwargs": paths},
        {"name": "Keel: Airflow", "middleware": KnowsAirflow, "args": [], "kwargs": {}},
    ]


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

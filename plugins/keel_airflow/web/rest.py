"""The routers of the REST endpoints, for the apps that serve them and for the document about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter


def rest_routers() -> dict[str, list[APIRouter]]:
    """Return the routers of the REST endpoints by the path below which Airflow mounts them."""
    from keel_airflow.web.routes import (
        alert_actions,
        alerts,
        checks,
        deployments,
        experiment_actions,
        experiments,
        models,
        promotion,
        questions,
        reports,
        versions,
    )

    about_drift = (questions, checks, reports)
    about_models = (
        models,
        promotion,
        versions,
        deployments,
        experiments,
        experiment_actions,
        alerts,
        alert_actions,
    )
    return {
        "/drift": [subject.router for subject in about_drift],
        "/models": [subject.router for subject in about_models],
    }

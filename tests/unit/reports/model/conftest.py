"""A store with a model's records, without Airflow, MLflow or a trained version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keel.deployments.history import Deployment
from keel.deployments.transitions import swap
from keel.monitoring.storage import report_id
from keel.store import Store
from keel.workspace import Workspace
from tests.support.checks import cases

if TYPE_CHECKING:
    from keel.window import Window

NOW = cases.WINDOW.end + timedelta(hours=2)


class Untouched:
    """A registry that nobody may ask: MLflow does not belong into the API server."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the registry was asked for {name}")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path, Store.open(f"sqlite:///{tmp_path / 'keel.db'}"), Untouched()) as opened:  # type: ignore[arg-type]
        yield opened


@pytest.fixture
def deploy(ws: Workspace) -> Callable[..., Deployment]:
    """Put versions into their places, with a ledger row each."""

    def deployed(current: Deployment, statuses: Any = None, now: datetime = NOW, **places: int | None) -> Deployment:
        wanted = Deployment(current.model, **{**current.aliases, **places})
        body = {"evidence": {"sentence": "As the test wants it."}}
        return swap(
            ws.store, current, wanted, actor="ada", action="promote", body=body, now=now, statuses=statuses or {}
        )

    return deployed


@pytest.fixture
def put(ws: Workspace) -> Callable[..., None]:
    """Store a report of a check of version 1."""

    def stored(kind: str, window: Window, status: str, body: dict[str, Any], version: int = 1) -> None:
        identity = report_id(kind, "toy", version, window)
        ws.store.reports.put(identity, "toy", version, kind, window.start, window.end, status, body, window.end)

    return stored


@pytest.fixture
def checked(put: Callable[..., None]) -> Callable[..., None]:
    """Store the reports of a check in which a column drifted."""
    data = cases.drift_without_labels()

    def stored(window: Window = cases.WINDOW, version: int = 1, **columns: Any) -> None:
        assert data.drift
        assert data.quality
        assert data.performance
        drift = data.drift.to_dict()
        if columns:
            drift["features"] = columns
        put("quality", window, data.quality.status, data.quality.to_dict(), version)
        put("drift", window, drift["status"], drift, version)
        put("performance", window, data.performance.status, data.performance.to_dict(), version)

    return stored

"""What the unit tests share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.unsynced_sqlite import unsynced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.versions.cloned import Trained

DURABLE = {"store", "serving"}
"""Folders whose tests need files that survive a power failure, as in production."""
LONG_ON_POSTGRES = {
    "alerts/test_acknowledging.py",
    "alerts/test_delivery.py",
    "alerts/test_digest.py",
    "alerts/test_door.py",
    "alerts/test_overdue.py",
    "alerts/test_silences.py",
    "cli/test_feedback.py",
    "deployments/test_reconciliation.py",
    "deployments/test_transitions.py",
    "deployments/test_version_retention.py",
    "ledger/test_entries.py",
    "loop/test_from_alarm_to_decision.py",
    "backtest/test_past.py",
    "monitoring/test_performance_history.py",
    "rollout/test_holdout_reuse.py",
    "store/database/test_connections.py",
    "store/predictions/test_experiments.py",
    "store/predictions/test_layout.py",
    "store/predictions/test_wide_rows.py",
    "store/test_integrity.py",
    "store/test_performance.py",
    "test_cooldowns.py",
    "test_maintenance.py",
}
"""Files whose tests take a third of all time: on PostgreSQL they run with the long suites, not with everyone's."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is long on PostgreSQL, before `-m` selects."""
    long = {Path(__file__).parent / name for name in LONG_ON_POSTGRES}
    for item in items:
        if item.path in long and item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Iterator[Trained]:
    """A workspace with two trained versions, which is what takes seconds; tests make models of their own in it."""
    from keel.workspace import Workspace
    from tests.support.versions.cloned import Trained

    home = new_home(tmp_path_factory.mktemp("trained"))
    with Workspace.open(home=home, environment={}) as ws:
        yield Trained.in_workspace(ws)


@pytest.fixture(scope="module", autouse=True)
def _unsynced_databases(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let commits of the other tests not wait for the disk."""
    if DURABLE & set(request.path.parts):
        yield
    else:
        with unsynced():
            yield

"""What pytest must know of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.unsynced_sqlite import unsynced

collect_ignore = ["others"]
"""DAGs for the servers' Airflow: collecting doctests would import Airflow into the process that starts them."""


@pytest.fixture(scope="session", autouse=True)
def _unsynced_databases() -> Iterator[None]:
    """No test here needs this process's SQLite files to survive a power failure; servers sync as always."""
    with unsynced():
        yield

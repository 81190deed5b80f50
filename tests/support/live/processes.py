"""What the tests of the live monitors on Airflow's own processes share: databases, and the stack's triggerer."""

from __future__ import annotations

import psutil
import pytest

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the settings of a stack whose databases are those that a fixture's parameter names."""
    if request.param == "sqlite":
        return {}
    create = request.getfixturevalue("new_postgres_database")
    airflow = create().replace("postgresql://", "postgresql+psycopg2://")
    return {"KEEL_STORE_URL": create(), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow}


def kill_triggerer() -> None:
    """Kill the triggerer that a stack of this process has started; the stack does not notice."""
    [guard] = [process for process in psutil.Process().children() if "triggerer" in process.cmdline()]
    for process in guard.children(recursive=True):
        process.kill()

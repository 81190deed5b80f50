"""What pytest must know of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.unsynced_sqlite import unsynced

if TYPE_CHECKING:
    from keel.workspace import Workspace

collect_ignore = ["others"]
"""DAGs for the servers' Airflow: collecting doctests would import Airflow into the process that starts them."""


@pytest.fixture(scope="session", autouse=True)
def _unsynced_databases() -> Iterator[None]:
    """No test here needs this process's SQLite files to survive a power failure; servers sync as always."""
    with unsynced():
        yield


@pytest.fixture(scope="session")
def toy_home(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """A home in which version 1 of the toy model was trained on forty days and promoted, to copy."""
    from keel.workspace import Workspace
    from tests.support.loop_steps import first_version

    home = new_home(tmp_path_factory.mktemp("toy"))
    with Workspace.open(home=home, environment={}) as ws:
        assert first_version(ws).outcome == "promoted"
    return home


@pytest.fixture
def ws(toy_home: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of it, unless a module has a workspace of its own."""
    from tests.support.loop_steps import open_copy

    with open_copy(toy_home, tmp_path / "home") as opened:
        yield opened

"""What the unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.unsynced_sqlite import unsynced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.cloned_versions import Trained

DURABLE = {"store", "serving"}
"""Folders whose tests need files that survive a power failure, as in production."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Iterator[Trained]:
    """A workspace with two trained versions, which is what takes seconds; tests make models of their own in it."""
    from keel.workspace import Workspace
    from tests.support.cloned_versions import Trained

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

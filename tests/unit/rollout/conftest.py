"""The workspace that the tests of rollout's steps share; each test has a model of its own in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keel.workspace import Workspace
from tests.support.cloned_versions import ClonedModel, Trained


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Iterator[Trained]:
    """Two trained versions, which is what takes seconds."""
    home = new_home(tmp_path_factory.mktemp("rollout"))
    with Workspace.open(home=home, environment={}) as ws:
        yield Trained.in_workspace(ws)


@pytest.fixture
def new_model(trained: Trained) -> Callable[..., ClonedModel]:
    """Make a model: `Trained.model`."""
    return trained.model

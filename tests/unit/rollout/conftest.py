"""What the tests of rollout's steps share; each test has a model of its own in the shared workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.versions.cloned import ClonedModel, Trained


@pytest.fixture
def new_model(trained: Trained) -> Callable[..., ClonedModel]:
    """Make a model: `Trained.model`."""
    return trained.model

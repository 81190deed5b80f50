"""Live monitors on a real store."""

from __future__ import annotations

import itertools
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from keel.store import Store
from tests.support.live.losses import LossWorld
from tests.support.live.models import LiveModel
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keel.config import ModelConfig
    from tests.support.versions.cloned import Trained

NUMBERS = itertools.count()
FEATURES_ALONE = {"context": None, "columns": ["x", "z", "colour"], "harm": False}


@pytest.fixture
def config() -> ModelConfig:
    return toy_config(
        labels={"audit_share": 0.5, "audit_delay": "1h"}, live={"block_size": 20}, performance={"metric": "accuracy"}
    )


@pytest.fixture
def new_store(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Create an empty store. On SQLite alone: the tests of the store, and those of races, run on both databases."""
    with ExitStack() as stack:

        def create() -> Store:
            path = tmp_path / f"keel{next(NUMBERS)}.db"
            shutil.copy(migrated_sqlite, path)
            return stack.enter_context(Store.open(f"sqlite:///{path}"))

        yield create


@pytest.fixture
def sqlite_store(new_store: Callable[[], Store]) -> Store:
    return new_store()


@pytest.fixture
def world(sqlite_store: Store, config: ModelConfig) -> LossWorld:
    return LossWorld(sqlite_store, config)


@pytest.fixture
def model(trained: Trained, sqlite_store: Store) -> LiveModel:
    """A model whose features are monitored without contexts, in blocks of 100."""
    return LiveModel.new(trained, sqlite_store, live=FEATURES_ALONE)

"""Live monitors on a real store."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from keel.store import Store
from tests.support.live_losses import LossWorld
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keel.config import ModelConfig


@pytest.fixture
def config() -> ModelConfig:
    return toy_config(
        labels={"audit_share": 0.5, "audit_delay": "1h"}, live={"block_size": 20}, performance={"metric": "accuracy"}
    )


@pytest.fixture
def world(migrated_sqlite: Path, tmp_path: Path, config: ModelConfig) -> Iterator[LossWorld]:
    """On SQLite alone: the tests of the store read pairs on both databases."""
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as store:
        yield LossWorld(store, config)

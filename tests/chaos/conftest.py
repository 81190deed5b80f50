"""Worlds to kill processes in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chaos.kills import World


@pytest.fixture
def world(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A store on each database in turn, and an MLflow on a SQLite file, neither of them open in this process.

    MLflow keeps its engine for as long as a process lives; without a pool nothing of it is open when we fork.
    """
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    return World(store_url, f"sqlite:///{tmp_path / 'mlflow.db'}")

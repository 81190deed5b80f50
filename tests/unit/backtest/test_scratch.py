"""The workspace of a policy: its checkpoints put back what an interrupted step changed."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import mlflow
import pyarrow as pa
import pytest

from keel.backtest.scratch import open_workspace, restore_checkpoint, unsynced, write_checkpoint
from tests.support.backtest.plans import past_config

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONFIG = past_config()


@pytest.fixture(scope="module", autouse=True)
def _unsynced_databases():
    """Leave commits as they are, in place of the fixture for all unit tests: they are what is tested here."""


@pytest.fixture
def home(tmp_path, new_home):
    return new_home(tmp_path / "policy")


def append(ws, name):
    ws.predictions(CONFIG).append(pa.table({"id": [name], "time": pa.array([NOON], pa.timestamp("us", "UTC"))}))


def rows(ws):
    return [
        name for table in ws.predictions(CONFIG).read(NOON, NOON.replace(hour=13)) for name in table["id"].to_pylist()
    ]


def test_restore_checkpoint_drops_what_came_after_it_in_store_and_registry(home, tmp_path):
    saved = tmp_path / "checkpoints"
    with open_workspace(home) as ws:
        append(ws, "before")
        ws.registry.client.create_registered_model("before")
        write_checkpoint(ws, saved, 3)
        append(ws, "after")
        ws.registry.client.create_registered_model("after")
    assert restore_checkpoint(home, saved) == 3
    with open_workspace(home) as ws:
        assert rows(ws) == ["before"]
        assert [each.name for each in ws.registry.client.search_registered_models()] == ["before"]
        assert ws.store.verify() == []


def test_write_checkpoint_keeps_only_the_last_and_no_half_one_counts(home, tmp_path):
    saved = tmp_path / "checkpoints"
    (saved / "00009.part").mkdir(parents=True)
    with open_workspace(home) as ws:
        write_checkpoint(ws, saved, 1)
        write_checkpoint(ws, saved, 2)
    assert [path.name for path in saved.iterdir()] == ["00002"]
    (saved / "00003.part").mkdir()
    assert restore_checkpoint(home, saved) == 2


def test_restore_checkpoint_without_one_returns_none_and_changes_nothing(tmp_path):
    assert restore_checkpoint(tmp_path / "policy", tmp_path / "checkpoints") is None
    assert list(tmp_path.iterdir()) == []


def test_unsynced_turns_off_the_wait_for_the_disk_in_its_folder_only(tmp_path, new_home):
    inside, outside = new_home(tmp_path / "a" / "in"), new_home(tmp_path / "b")
    with unsynced(tmp_path / "a"):
        for home, synchronous in ((inside, 0), (outside, 2)):
            with open_workspace(home) as ws, ws.store.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == synchronous
    with open_workspace(inside) as ws, ws.store.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_open_workspace_does_not_use_the_installation_that_the_environment_names(home, tmp_path, monkeypatch):
    monkeypatch.setenv("KEEL_STORE_URL", f"sqlite:///{tmp_path / 'production.db'}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://production.invalid")
    with open_workspace(home) as ws:
        assert ws.store.url.endswith(str(home / "keel.db"))
        assert ws.registry.tracking_uri == f"sqlite:///{home / 'mlflow.db'}"
    assert not (tmp_path / "production.db").exists()


def test_open_workspace_registers_no_version_where_the_environment_names_another_registry(home, tmp_path, monkeypatch):
    elsewhere = f"sqlite:///{tmp_path / 'production.db'}"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", elsewhere)
    with open_workspace(home) as ws:
        ws.registry.client.create_registered_model("toy")
        assert mlflow.get_registry_uri() == ws.registry.tracking_uri  # by which MLflow reads the files of a version
    assert not (tmp_path / "production.db").exists()
    assert os.environ["MLFLOW_REGISTRY_URI"] == mlflow.get_registry_uri() == elsewhere

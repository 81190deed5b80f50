"""A small model and its synthetic data: four calm days of history, then the data of each test."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel import loop, rollout
from keel.cli.standalone.replay import replay
from keel.config import ModelConfig, load_model
from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from keel.monitoring.records import ComparisonRecord
    from keel.workspace import Workspace

HISTORY = datetime(2024, 3, 1, tzinfo=UTC)
LAUNCH = datetime(2024, 3, 5, tzinfo=UTC)
ROWS_PER_HOUR = 30
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ARTIFACT_PATHS = {
    "experiments": "artifact_location",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
    "runs": "artifact_uri",
}
"""Columns of MLflow's database with absolute paths, by table."""
TURNED = LAUNCH + 4 * DAY
"""When the relation that the first version learned has been reversed for four days."""


def tide_config() -> ModelConfig:
    return load_model(PROJECT / "tests" / "dags" / "models" / "tide" / "model.yaml", {})


def happen(start: datetime, end: datetime, *, relation: float = 3.0, wind: float = 0.0) -> pa.Table:
    """Return labelled rows in [start, end): ``relation`` is the level's effect on the label, ``wind`` a shift."""
    hours = round((end - start) / HOUR)
    n = hours * ROWS_PER_HOUR
    random = np.random.default_rng([hours, int(start.timestamp())])
    level = random.normal(size=n)
    flooded = random.random(n) < 1 / (1 + np.exp(-relation * level))
    seconds = np.sort(random.integers(0, hours * 3600, n))
    return pa.table(
        {
            "id": [f"{start:%Y%m%d%H}-{i}" for i in range(n)],
            "time": pa.array([start + timedelta(seconds=int(s)) for s in seconds], pa.timestamp("us", "UTC")),
            "label": flooded.astype(float),
            "level": level,
            "wind": random.normal(size=n) + wind,
            "harbour": random.choice(["north", "south", "west"], size=n),
        }
    )


def copy_keel(original: Path, home: Path) -> None:
    """Copy a closed Keel, whose MLflow stores the absolute paths of its artifacts."""
    shutil.copytree(original, home)
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        for table, column in ARTIFACT_PATHS.items():
            replaced = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            connection.execute(replaced, (original.as_uri(), home.as_uri()))


def bootstrap(workspace: Workspace) -> None:
    """Train the first version on the history, and promote it."""
    config = tide_config()
    live(workspace, happen(HISTORY, LAUNCH), HISTORY, LAUNCH)
    by = {"actor": "test", "run_id": "bootstrap"}
    rollout.promote(workspace, config, challenge(workspace, config, LAUNCH, **by).report_id, **by)


def challenge(workspace: Workspace, config: ModelConfig, end: datetime, *, actor: str, run_id: str) -> ComparisonRecord:
    """Train a challenger on rows labelled before ``end``, and compare it."""
    window = loop.resolve_window(config, end=end, now=end)
    decision = loop.request_retrain(workspace, config, window=window, reason=f"asked by {actor}", run_id=run_id)
    return rollout.compare(workspace, config, loop.retrain(workspace, config, decision, actor=actor, run_id=run_id))


def reverse_relation(workspace: Workspace) -> None:
    """Let the level act in the opposite direction for four days."""
    live(workspace, happen(LAUNCH, TURNED, relation=-3.0), LAUNCH, TURNED)


def stage_challenger(workspace: Workspace) -> None:
    """Reverse the relation for four days, train a challenger, which is better, and stage it."""
    config = tide_config().with_overrides({"promotion.approval": "required"})
    reverse_relation(workspace)
    by = {"actor": "trainer", "run_id": "turn"}
    rollout.stage(workspace, config, challenge(workspace, config, TURNED, **by).report_id, **by)


def promote_staged(workspace: Workspace, **policy: str) -> None:
    """Promote the staged version, as if the policy needed no approval."""
    config = tide_config().with_overrides({f"promotion.{name}": value for name, value in policy.items()})
    by = {"actor": "test", "run_id": "promotion"}
    request = rollout.request_promotion(
        workspace, config, version=None, reason="it is better", force=False, end=TURNED, **by
    )
    rollout.promote(workspace, config, rollout.compare(workspace, config, request).report_id, **by)


def live(workspace: Workspace, rows: pa.Table, start: datetime, end: datetime, *, labels: bool = True) -> None:
    """Predict rows with the production version, and submit their labels after the delay."""
    replay(workspace, tide_config(), rows, start=start, end=end)
    if labels:
        replay(workspace, tide_config(), rows, start=end, end=end + tide_config().target.label_delay)


def decision_of(workspace: Workspace) -> dict[str, Any]:
    """Return the newest decision."""
    return workspace.store.decisions.latest("tide")

"""A small world that a model can watch: four calm days of history, and then what each test makes happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from keel import loop
from keel.config import ModelConfig, load_model
from keel.replay import replay
from keel.workspace import Workspace

HISTORY = datetime(2024, 3, 1, tzinfo=UTC)
LAUNCH = datetime(2024, 3, 5, tzinfo=UTC)
ROWS_PER_HOUR = 30
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def tide_config() -> ModelConfig:
    return load_model(Path(__file__).parent / "models" / "tide" / "model.yaml", {})


def happen(start: datetime, end: datetime, *, relation: float = 3.0, wind: float = 0.0) -> pa.Table:
    """What happens in [start, end): ``relation`` is how the level acts on the quay, ``wind`` its shift."""
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


def bootstrap(home: Path) -> None:
    """Make a Keel in which the first version has been trained on the history and is in production."""
    config = tide_config()
    with Workspace.open(home=home, environment={}) as workspace:
        live(workspace, happen(HISTORY, LAUNCH), HISTORY, LAUNCH)
        window = loop.resolve_window(config, end=LAUNCH, now=LAUNCH)
        decision = loop.request_retrain(workspace, config, window=window, reason="first version", run_id="bootstrap")
        comparison = loop.compare(workspace, config, loop.retrain(workspace, config, decision))
        loop.promote(workspace, config, comparison, actor="test", run_id="bootstrap")


def live(workspace: Workspace, rows: pa.Table, start: datetime, end: datetime, *, labels: bool = True) -> None:
    """Let rows be predicted by the production version, and their labels arrive after the delay."""
    replay(workspace, tide_config(), rows, start=start, end=end)
    if labels:
        replay(workspace, tide_config(), rows, start=end, end=end + tide_config().target.label_delay)


def decision_of(workspace: Workspace) -> dict[str, Any]:
    """The last decision."""
    return workspace.store.decisions.latest("tide")

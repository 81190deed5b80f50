"""A small world that a model can watch: four calm days of history, and then what each test makes happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from keel import loop, rollout
from keel.cli.standalone.replay import replay
from keel.config import ModelConfig, load_model
from keel.workspace import Workspace
from tests.support.paths import PROJECT

HISTORY = datetime(2024, 3, 1, tzinfo=UTC)
LAUNCH = datetime(2024, 3, 5, tzinfo=UTC)
ROWS_PER_HOUR = 30
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TURNED = LAUNCH + 4 * DAY
"""When what the first version has learned is wrong, and a second one knows better."""


def tide_config() -> ModelConfig:
    return load_model(PROJECT / "tests" / "dags" / "models" / "tide" / "model.yaml", {})


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
        asked = {"actor": "test", "run_id": "bootstrap"}
        rollout.promote(workspace, config, challenge(workspace, config, LAUNCH, **asked).report_id, **asked)


def challenge(workspace: Workspace, config: ModelConfig, end: datetime, *, actor: str, run_id: str) -> dict[str, Any]:
    """Train a challenger on what was labelled before ``end``, and compare it."""
    window = loop.resolve_window(config, end=end, now=end)
    decision = loop.request_retrain(workspace, config, window=window, reason=f"asked by {actor}", run_id=run_id)
    return rollout.compare(workspace, config, loop.retrain(workspace, config, decision, actor=actor, run_id=run_id))


def turn(home: Path) -> None:
    """Let the level act the other way round for four days, which makes a challenger that is better, and offer it."""
    config = tide_config().with_overrides({"promotion.approval": "required"})
    with Workspace.open(home=home, environment={}) as workspace:
        live(workspace, happen(LAUNCH, TURNED, relation=-3.0), LAUNCH, TURNED)
        asked = {"actor": "trainer", "run_id": "turn"}
        rollout.stage(workspace, config, challenge(workspace, config, TURNED, **asked).report_id, **asked)


def promote_offer(workspace: Workspace, **policy: str) -> None:
    """Put the version that waits for approval into production, as if nobody had to agree."""
    config = tide_config().with_overrides({f"promotion.{name}": value for name, value in policy.items()})
    asked = {"actor": "test", "run_id": "promotion"}
    request = rollout.request_promotion(
        workspace, config, version=None, reason="it is better", force=False, end=TURNED, **asked
    )
    rollout.promote(workspace, config, rollout.compare(workspace, config, request).report_id, **asked)


def live(workspace: Workspace, rows: pa.Table, start: datetime, end: datetime, *, labels: bool = True) -> None:
    """Let rows be predicted by the production version, and their labels arrive after the delay."""
    replay(workspace, tide_config(), rows, start=start, end=end)
    if labels:
        replay(workspace, tide_config(), rows, start=end, end=end + tide_config().target.label_delay)


def decision_of(workspace: Workspace) -> dict[str, Any]:
    """The last decision."""
    return workspace.store.decisions.latest("tide")

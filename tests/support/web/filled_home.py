"""An installation with something of everything that is asked for: versions, reports, alerts, an experiment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import yaml

from keel import loop, rollout
from keel.evaluation.experiment.plan import Stage
from tests.support.airflow import tide
from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from keel.workspace import Workspace

MODEL = "tide"
UNTRAINED = "ebb"
"""A model that is configured, and has no version."""
GUARDED = "secret"
"""A model whose DAGs only operators may read (`auth_manager`)."""
TURNED_BACK = tide.TURNED + 4 * tide.DAY
"""When the relation has been as at first for four days again, and version 3 has learned that."""


def fill(workspace: Workspace) -> None:
    """Let version 1 and 2 go into production, stage version 3, check, alert, and start an experiment.

    The model ``tide`` of the DAGs' tests. All of it is of March 2024, and real: versions are trained and compared, the
    window's drift is measured, and an alert is open.
    """
    tide.bootstrap(workspace)
    tide.stage_challenger(workspace)
    check(workspace, tide.TURNED)
    tide.promote_staged(workspace)
    tide.live(workspace, tide.happen(tide.TURNED, TURNED_BACK, wind=3.0), tide.TURNED, TURNED_BACK)
    config = tide.tide_config().with_overrides({"promotion.approval": "required"})
    by = {"actor": "trainer", "run_id": "turned-back"}
    offered = tide.challenge(workspace, config, TURNED_BACK, **by)
    rollout.stage(workspace, config, offered.report_id, **by)
    check(workspace, TURNED_BACK)
    asked = {"challenger": 3, "stages": (Stage(0.5),), "reason": "is it better live?", "now": TURNED_BACK}
    rollout.start_experiment(workspace, config, actor="ada", run_id="try", **asked)


def check(workspace: Workspace, end: datetime) -> None:
    """Check the window that ends then, and tell people what it found."""
    config = tide.tide_config()
    window = loop.resolve_window(config, end=end, now=end)
    counted = loop.count_window(workspace, config, window)
    for step in (loop.check_data_quality, loop.check_data_drift, loop.check_performance):
        step(workspace, config, counted)
    decision = loop.decide(workspace, config, counted, run_id=f"check-{end:%Y%m%d}")
    loop.notify(workspace, config, decision, now=end)


def write_models(folder: Path) -> None:
    """Write the configurations of ``tide``, of a model without a version, and of one that few may read."""
    raw = yaml.safe_load((PROJECT / "tests" / "dags" / "models" / "tide" / "model.yaml").read_text())
    for name in (MODEL, UNTRAINED, GUARDED):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.yaml").write_text(yaml.safe_dump(raw | {"model": name}))

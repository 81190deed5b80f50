"""``keel up``: run Airflow, MLflow, the scoring service and replayed traffic on this machine until interrupted."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keel.cli.output import Progress
from keel.cli.standalone.demo import BEGIN, FIRST_TRAINING, MODEL, follow
from keel.cli.standalone.stack import DEFAULT_HOME, Stack
from keel.config import get_model, read_models

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.workspace import Workspace

PRESENT = datetime(2013, 5, 1, tzinfo=UTC)
"""The day of 2013 that becomes today: a month of predictions lies before it, eight months after it."""
TRAFFIC_SECONDS = 5.0
REPLAY_PLAN = "replay.json"
PAGE = "keel"
"""Route of Keel's page in Airflow's UI, below ``/plugin/``; the plugin registers it."""
LIVE = {f"KEEL__{MODEL.upper()}__SERVING__MAX_AGE": "365d"}
"""Allows requests of the past: a start after a pause sends the flights of that pause with their own times."""
RETRAIN, CHECK = f"{MODEL}.retrain", f"{MODEL}.drift_check"
SCHEDULED = (CHECK, f"{MODEL}.watch_deployment", "keel.maintenance")
"""DAGs that wait for the end of the bootstrap, because they would check a history that is incomplete."""


def up(
    home: Annotated[
        Path, typer.Option(help="Folder of this installation; existing contents are used again.")
    ] = DEFAULT_HOME,
) -> None:
    """Run Airflow, MLflow, the scoring service and replayed live traffic until interrupted with Ctrl-C."""
    config = get_model(MODEL)
    from keel.cli.standalone.replay import labelled_history

    with Progress() as progress:
        for error in read_models()[1]:
            progress.print(f"not started: {error}")
        progress("reading a year of flights")
        plan = replay_plan(home, now=datetime.now(UTC))
        flights = labelled_history(config, shift=plan.shift)
        try:
            with Stack(home, progress=progress, environment=LIVE, serving=True) as stack:
                if not plan.ready:
                    bootstrap(stack, config, flights, plan.shift, progress)
                    _store_plan(home, replace(plan, ready=True))
                for line in addresses(stack):
                    progress.print(line)
                _traffic(stack, config, flights, progress)
        except KeyboardInterrupt:
            progress.print("stopped; the same command continues where it stopped")


def bootstrap(
    stack: Stack, config: ModelConfig, flights: pa.Table, shift: timedelta, progress: Callable[[str], None]
) -> None:
    """Train the first version and replay a month of its predictions, with schedules paused; safe to repeat."""
    from keel.cli.standalone.replay import replay

    with _workspace(stack) as ws, stack.api as api:
        progress("waiting for the DAGs")
        api.wait_for_dags([RETRAIN, *SCHEDULED], timeout=120, check=stack.check)
        for dag_id in SCHEDULED:
            api.pause(dag_id)
        progress("storing three months of flights as history")
        replay(ws, config, flights, start=BEGIN + shift, end=FIRST_TRAINING + shift)
        conf = {"end": (FIRST_TRAINING + shift).isoformat(), "reason": "the first version"}
        follow(stack, api, RETRAIN, conf, progress)
        progress("replaying last month's flights")
        replay(ws, config, flights, start=FIRST_TRAINING + shift, end=datetime.now(UTC))
        for dag_id in SCHEDULED:
            api.unpause(dag_id)
        api.trigger(CHECK)  # that of the schedule was skipped, because there was no version yet


def _traffic(stack: Stack, config: ModelConfig, flights: pa.Table, progress: Callable[[str], None]) -> None:
    """Send each flight to the service at its time, and each label when it is observed."""
    from keel.cli.standalone.service_client import ScoringService, replay_through

    with _workspace(stack) as ws, ScoringService(stack.serving_url) as service:
        span = ws.predictions(config).times()
        since = span[1] if span else datetime.now(UTC)
        predictions = labels = 0
        shown = ""
        while True:
            stack.check()
            now = datetime.now(UTC)
            done = replay_through(service, ws, config, flights, start=since, end=now)
            predictions, labels, since = predictions + done.predictions, labels + done.labels, now
            state = f"live: {predictions:,} flights predicted by version {done.version}, {labels:,} labels received"
            if state != shown:
                progress(state)
            shown = state
            time.sleep(TRAFFIC_SECONDS)


@dataclass(frozen=True)
class ReplayPlan:
    """The shift of the replayed year, and whether the bootstrap is complete."""

    shift: timedelta
    ready: bool


def replay_plan(home: Path, *, now: datetime) -> ReplayPlan:
    """Return the stored plan, else store a new one; an interrupted start continues with the same year."""
    path = home / REPLAY_PLAN
    if path.exists():
        stored = json.loads(path.read_text())
        return ReplayPlan(timedelta(days=stored["shift_days"]), stored.get("ready", True))
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return _store_plan(home, ReplayPlan(today - PRESENT, ready=False))


def _store_plan(home: Path, plan: ReplayPlan) -> ReplayPlan:
    """Store the plan atomically and return it."""
    home.mkdir(parents=True, exist_ok=True)
    draft = home / f"{REPLAY_PLAN}.draft"
    draft.write_text(json.dumps({"shift_days": plan.shift.days, "ready": plan.ready}))
    draft.replace(home / REPLAY_PLAN)
    return plan


def _workspace(stack: Stack) -> Workspace:
    from keel.workspace import Workspace

    return Workspace.open(home=stack.home, store_url=stack.store_url, tracking_uri=stack.mlflow_url)


def addresses(stack: Stack) -> list[str]:
    """Return where everything is, the page first, and how to run a check and to stop."""
    programs = Path(sys.executable).parent
    return [
        f"Page     {stack.airflow_url}/plugin/{PAGE}  user {stack.username}, password {stack.password}",
        f"Airflow  {stack.airflow_url}  the same login",
        f"MLflow   {stack.mlflow_url}",
        f"Serving  {stack.serving_url}/models/{MODEL}/invocations",
        f"Store    {stack.store_url}",
        f"Mails    {stack.home / 'outbox'}",
        f"Logs     {stack.logs}",
        f"Shell    export AIRFLOW_HOME={stack.home / 'airflow'} PATH={programs}:$PATH",
        f"To run a check: Airflow → {MODEL}.drift_check → Trigger. To stop: Ctrl-C.",
    ]

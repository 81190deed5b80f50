"""``keel up``: Airflow, MLflow, the scoring service and live replayed traffic on this machine, until interrupted."""

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
from rich.console import Console

from keel.cli.output import Progress
from keel.cli.standalone.demo import BEGIN, ENVIRONMENT, FIRST_TRAINING, MODEL, follow
from keel.cli.standalone.stack import DEFAULT_HOME, Stack
from keel.config import get_model

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.workspace import Workspace

PRESENT = datetime(2013, 5, 1, tzinfo=UTC)
"""The day of the replayed year that becomes today: a month of predictions behind it, eight ahead."""
TRAFFIC_SECONDS = 5.0
REPLAY_PLAN = "replay.json"
LIVE = {"KEEL__SERVING__MAX_AGE": "365d"}
"""A start after a pause brings the flights of that pause, with the times they have."""


def up(
    home: Annotated[
        Path, typer.Option(help="Folder of this installation; what is in it is used again.")
    ] = DEFAULT_HOME,
) -> None:
    """Run Airflow, MLflow, the scoring service and live replayed traffic until interrupted (Ctrl-C)."""
    with Progress() as progress:
        config = get_model(MODEL)
        from keel.cli.standalone.replay import labelled_history

        progress("reading a year of flights")
        plan = _replay_plan(home, now=datetime.now(UTC))
        flights = labelled_history(config, shift=plan.shift)
        if not plan.ready:
            _bootstrap(home, config, flights, plan.shift, progress)
            _keep(home, replace(plan, ready=True))
    console = Console(stderr=True)
    try:
        with Progress() as progress, Stack(home, progress=progress, environment=LIVE, serving=True) as stack:
            _say_where(console, stack)
            _traffic(stack, config, flights, progress)
    except KeyboardInterrupt:
        console.print("stopped; start again with the same command, nothing is lost")


def _bootstrap(
    home: Path, config: ModelConfig, flights: pa.Table, shift: timedelta, progress: Callable[[str], None]
) -> None:
    """Train the first version and replay a month for it, with the schedule off: it has nothing to check yet.

    What an earlier try has done already is found and not done again.
    """
    from keel.cli.standalone.replay import replay

    with Stack(home, progress=progress, environment=ENVIRONMENT) as stack, _workspace(stack) as ws, stack.api as api:
        dag_id = f"{MODEL}.retrain"
        api.wait_for_dags([dag_id], timeout=120, check=stack.check)
        replay(ws, config, flights, start=BEGIN + shift, end=FIRST_TRAINING + shift)
        conf = {"end": (FIRST_TRAINING + shift).isoformat(), "reason": "the first version"}
        follow(stack, api, dag_id, conf, progress)
        progress("replaying last month's flights")
        replay(ws, config, flights, start=FIRST_TRAINING + shift, end=datetime.now(UTC))


def _traffic(stack: Stack, config: ModelConfig, flights: pa.Table, progress: Callable[[str], None]) -> None:
    """Have the service predict each flight when its time comes, and hand in each label when it is known."""
    from keel.cli.standalone.service_client import ScoringService, replay_through

    with _workspace(stack) as ws, ScoringService(stack.serving_url) as service:
        span = ws.predictions(config).times()
        since = span[1] if span else datetime.now(UTC)
        predictions = labels = 0
        said = ""
        while True:
            stack.check()
            now = datetime.now(UTC)
            done = replay_through(service, ws, config, flights, start=since, end=now)
            predictions, labels, since = predictions + done.predictions, labels + done.labels, now
            say = f"live: {predictions:,} flights predicted by version {done.version}, {labels:,} labels came in"
            if say != said:
                progress(say)
            said = say
            time.sleep(TRAFFIC_SECONDS)


@dataclass(frozen=True)
class ReplayPlan:
    """By how much the year is moved, and whether the month before its present is replayed."""

    shift: timedelta
    ready: bool


def _replay_plan(home: Path, *, now: datetime) -> ReplayPlan:
    """Return the plan, kept before anything is done by it: a start that was cut short goes on with the same year."""
    kept = home / REPLAY_PLAN
    if kept.exists():
        said = json.loads(kept.read_text())
        return ReplayPlan(timedelta(days=said["shift_days"]), said.get("ready", True))
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return _keep(home, ReplayPlan(today - PRESENT, ready=False))


def _keep(home: Path, plan: ReplayPlan) -> ReplayPlan:
    """Write the plan in one step, so that a kill leaves all of it or none."""
    home.mkdir(parents=True, exist_ok=True)
    draft = home / f"{REPLAY_PLAN}.draft"
    draft.write_text(json.dumps({"shift_days": plan.shift.days, "ready": plan.ready}))
    draft.replace(home / REPLAY_PLAN)
    return plan


def _workspace(stack: Stack) -> Workspace:
    from keel.workspace import Workspace

    return Workspace.open(home=stack.home, store_url=stack.store_url, tracking_uri=stack.mlflow_url)


def _say_where(console: Console, stack: Stack) -> None:
    console.print(f"Airflow  {stack.airflow_url}  user {stack.username}, password {stack.password}")
    console.print(f"MLflow   {stack.mlflow_url}")
    console.print(f"Serving  {stack.serving_url}/models/{MODEL}/invocations", soft_wrap=True)
    console.print(f"Store    {stack.store_url}")
    console.print(f"Mails    {stack.home / 'outbox'}")
    console.print(f"Logs     {stack.logs}")
    programs = Path(sys.executable).parent
    console.print(f"Terminal export AIRFLOW_HOME={stack.home / 'airflow'} PATH={programs}:$PATH", soft_wrap=True)
    console.print(f"Check now: Airflow → {MODEL}.drift_check → Trigger.  Stop: Ctrl-C.")

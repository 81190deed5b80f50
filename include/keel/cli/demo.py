"""``keel demo``: the whole loop on a year of real flights, by real Airflow and MLflow processes, then the story."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from keel.cli.output import JsonOption, Progress, print_json
from keel.cli.stack import DEFAULT_HOME, Stack
from keel.config import get_model
from keel.errors import KeelError

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.cli.airflow_api import AirflowApi
    from keel.config import ModelConfig
    from keel.workspace import Workspace

MODEL = "flight_delay"
BEGIN = datetime(2013, 1, 1, tzinfo=UTC)
FIRST_TRAINING = datetime(2013, 4, 1, tzinfo=UTC)
WINDOW_ENDS = [datetime(2013, month, 1, tzinfo=UTC) for month in range(5, 13)]
"""The model is checked at the end of each month from April to November, on the week before."""
ENVIRONMENT = {"KEEL__CHECK__SCHEDULE": "null"}
"""A scheduled check would judge the present, in which no flight of 2013 is left."""
RUN_SECONDS = 600
EXPECTED = ("promoted", "kept_champion")


class DemoFailed(KeelError):
    """A run of the demo did not succeed, or the story lacks what it is there to show."""


def demo(
    home: Annotated[Path, typer.Option(help="Folder of the demo; emptied at the start.")] = DEFAULT_HOME / "demo",
    as_json: JsonOption = False,
) -> None:
    """Run the whole loop on real flights and tell what happened."""
    if home.exists():
        _empty(home)
    started = time.monotonic()
    with Progress(quiet=as_json) as progress, Stack(home, progress=progress, environment=ENVIRONMENT) as stack:
        told, mails, config = _play(stack, progress)
    if as_json:
        print_json({"model": MODEL, "chapters": told, "mails": mails, "seconds": round(time.monotonic() - started, 1)})
    else:
        _print(config, told, mails, home, time.monotonic() - started)
    outcomes = {(chapter["outcome"] or {}).get("outcome") for chapter in told}
    if missing := [name for name in EXPECTED if name not in outcomes]:
        raise DemoFailed(f"the story has no {' and no '.join(missing)}: the gate or the data is not what it was")


def _play(
    stack: Stack, progress: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, list[str]], ModelConfig]:
    from keel.cli.story import chapters
    from keel.replay import labelled_history, replay
    from keel.workspace import Workspace

    config = get_model(MODEL)
    mails: dict[str, list[str]] = {}
    progress("reading a year of flights")
    flights = labelled_history(config)
    workspace = Workspace.open(home=stack.home, store_url=stack.store_url, tracking_uri=stack.mlflow_url)
    with workspace as ws, stack.api as api:
        dags = [f"{MODEL}.retrain", f"{MODEL}.drift_check"]
        api.wait_for_dags(dags, timeout=120, check=stack.check)
        api.unpause(dags[0])
        replay(ws, config, flights, start=BEGIN, end=FIRST_TRAINING)
        conf = {"end": FIRST_TRAINING.isoformat(), "reason": "the first version, on January to March"}
        run = follow(stack, api, dags[0], conf, progress)
        mails[run] = _new_mails(ws, mails)
        since = FIRST_TRAINING
        api.unpause(dags[1])
        for end in WINDOW_ENDS:
            run = _play_month(stack, api, ws, config, flights, since, end, progress)
            mails[run] = _new_mails(ws, mails)
            since = end
        return chapters(ws, config), mails, config


def _play_month(
    stack: Stack, api: AirflowApi, ws: Workspace, config: ModelConfig, flights: pa.Table,
    since: datetime, end: datetime, progress: Callable[[str], None],
) -> str:  # fmt: skip
    from keel.replay import replay

    progress(f"{since:%B}: replaying its flights")
    done = replay(ws, config, flights, start=since, end=end)
    progress(f"{since:%B}: {done.predictions:,} flights predicted by version {done.version}, {done.labels:,} labels")
    return follow(stack, api, f"{MODEL}.drift_check", {"end": end.isoformat()}, progress)


def follow(stack: Stack, api: AirflowApi, dag_id: str, conf: dict[str, Any], progress: Callable[[str], None]) -> str:
    """Trigger a run, show its tasks as they go, and return its id once it has succeeded."""
    run_id = api.trigger(dag_id, conf)
    deadline = time.monotonic() + RUN_SECONDS
    shown = None
    while (state := api.run(dag_id, run_id)["state"]) not in ("success", "failed"):
        stack.check()
        if time.monotonic() > deadline:
            raise DemoFailed(f"{dag_id} {run_id} is still {state} after {RUN_SECONDS} s; logs: {stack.logs}")
        tasks = api.task_instances(dag_id, run_id)
        running = ", ".join(t["task_id"].rpartition(".")[2] for t in tasks if t["state"] == "running")
        if running and running != shown:
            progress(f"{dag_id} until {conf['end'][:10]}: {running}")
            shown = running
        time.sleep(0.5)
    if state != "success":
        failed = [t["task_id"] for t in api.task_instances(dag_id, run_id) if t["state"] == "failed"]
        raise DemoFailed(f"{dag_id} {run_id} failed in {', '.join(failed) or 'no task'}; logs: {stack.logs}")
    return run_id


def _new_mails(ws: Workspace, known: dict[str, list[str]]) -> list[str]:
    before = {path for paths in known.values() for path in paths}
    return sorted(str(path) for path in ws.outbox.glob("*.eml") if str(path) not in before)


def _print(
    config: ModelConfig, told: list[dict[str, Any]], mails: dict[str, list[str]], home: Path, seconds: float
) -> None:
    from keel.cli.story import print_story

    console = Console()
    print_story(console, config, told, mails)
    places = "keel.db, mlflow.db, outbox/, logs/"
    console.print(f"\nEverything is under {home}: {places}. It took {seconds:.0f} s.", soft_wrap=True)


def _empty(home: Path) -> None:
    """Remove what an earlier demo left; a folder that is not one is not touched."""
    if any(home.iterdir()) and not (home / "airflow").exists():
        raise DemoFailed(f"{home} holds something that is no demo of Keel: name another folder with --home")
    shutil.rmtree(home)

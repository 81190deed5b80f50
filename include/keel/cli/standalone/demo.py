"""``keel demo``: the whole loop on a year of real flights, by real Airflow and MLflow processes, then the story."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from keel.cli.output import JsonOption, Progress, print_json
from keel.cli.standalone.stack import DEFAULT_HOME, Stack
from keel.config import get_model
from keel.errors import KeelError

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.cli.standalone.airflow_api import AirflowApi
    from keel.cli.standalone.service_client import ScoringService
    from keel.config import ModelConfig
    from keel.workspace import Workspace

MODEL = "flight_delay"
RETRAIN, CHECK, WATCH = f"{MODEL}.retrain", f"{MODEL}.drift_check", f"{MODEL}.watch_deployment"
BEGIN = datetime(2013, 1, 1, tzinfo=UTC)
FIRST_TRAINING = datetime(2013, 4, 1, tzinfo=UTC)
WINDOW_ENDS = [datetime(2013, month, 1, tzinfo=UTC) for month in range(5, 13)]
"""The model is checked at the end of each month from April to November, on the week before."""
ENVIRONMENT = {
    "KEEL__CHECK__SCHEDULE": "null",
    "KEEL__PROMOTION__MONITOR_SCHEDULE": "null",
    "KEEL_MAINTENANCE_SCHEDULE": "null",
    "KEEL__SERVING__MAX_AGE": "36500d",
}
"""What runs by a schedule would judge the present, in which no flight of 2013 is left; requests are of that year."""
YEAR_END = datetime(2014, 1, 1, tzinfo=UTC)
MAX_N = 20_000
"""Outcomes of the experiment in December, fewer than there are: so it ends, whatever it shows."""
ACTOR = "keel demo"
RUN_SECONDS = 600
MARK = "emptied-by-keel-demo"
"""File that says a folder may be emptied. A folder called ``airflow`` says nothing: many a home directory has one."""
EXPECTED = ("promoted", "kept_champion", "confirmed", "end_experiment")
"""Outcomes, and one action, that the year has if the gate and the data are what they were."""


class DemoFailed(KeelError):
    """A run of the demo did not succeed, or the story lacks what it is there to show."""


def demo(
    home: Annotated[Path, typer.Option(help="Folder of the demo; emptied at the start.")] = DEFAULT_HOME / "demo",
    as_json: JsonOption = False,
) -> None:
    """Run the whole loop on real flights and tell what happened."""
    empty(home)
    started = time.monotonic()
    with (
        Progress(quiet=as_json) as progress,
        Stack(home, progress=progress, environment=ENVIRONMENT, serving=True) as stack,
    ):
        story = _play(stack, progress)
    seconds = time.monotonic() - started
    if as_json:
        print_json({"model": MODEL, **story.to_dict(), "seconds": round(seconds, 1)})
    else:
        _print(story, home, seconds)
    seen = {
        name for chapter in story.chapters for name in (chapter["action"], (chapter["outcome"] or {}).get("outcome"))
    }
    if missing := [name for name in EXPECTED if name not in seen]:
        raise DemoFailed(f"the story has no {' and no '.join(missing)}: the gate or the data is not what it was")


@dataclass
class Play:
    """The demo while it runs: what it talks to, the mails that each run left, and what went through the service."""

    stack: Stack
    api: AirflowApi
    ws: Workspace
    service: ScoringService
    config: ModelConfig
    flights: pa.Table
    progress: Callable[[str], None]
    mails: dict[str, list[str]] = field(default_factory=dict)
    answered: int = 0
    handed_in: int = 0

    def year(self) -> None:
        """January to March make the first version; each month after is predicted, then checked; an A/B test ends it."""
        from keel.deployments.history import history

        self.api.wait_for_dags([RETRAIN, CHECK, WATCH], timeout=120, check=self.stack.check)
        self.replay(BEGIN, FIRST_TRAINING)
        self.run(RETRAIN, FIRST_TRAINING, reason="the first version, on January to March")
        since = FIRST_TRAINING
        for end in WINDOW_ENDS:
            self.replay(since, end)
            if history(self.ws.store, MODEL).probation:
                self.run(WATCH, end)
            self.run(CHECK, end)
            since = end
        self.run(RETRAIN, since, reason="a routine refresh before the holidays")
        self.experiment(since)

    def experiment(self, start: datetime) -> None:
        """Let the challenger that was turned down answer half of December's flights, until labels have judged it."""
        from keel import rollout
        from keel.deployments.history import Status, history
        from keel.deployments.versions import release
        from keel.evaluation.experiment.plan import Stage

        standings = history(self.ws.store, MODEL).version_statuses
        challenger = max(standings)
        if standings[challenger].status is not Status.REJECTED:
            return  # it is in production, and there is nothing to try
        why = "is December, which no holdout has shown, different?"
        release(self.ws.store, self.ws.registry, MODEL, challenger, reason=why, actor=ACTOR, now=datetime.now(UTC))
        started = rollout.start_experiment(
            self.ws, self.config, challenger=challenger, mode="ab", stages=(Stage(0.5),), max_n=MAX_N, salt=ACTOR,
            actor=ACTOR, run_id=ACTOR, reason=why, now=start,
        )  # fmt: skip
        self.service.wait_for_experiment(MODEL, started["experiment_id"])
        self.replay(start, YEAR_END)
        self.run(WATCH, YEAR_END)

    def replay(self, start: datetime, end: datetime) -> None:
        """Have the service predict the flights of a stretch, and hand in the labels of its time as feedback."""
        from keel.cli.standalone.service_client import replay_through

        self.progress(f"replaying the flights from {start:%B %-d} to {end:%B %-d}")
        done = replay_through(self.service, self.ws, self.config, self.flights, start=start, end=end)
        if done.version:
            self.answered, self.handed_in = self.answered + done.predictions, self.handed_in + done.labels
        by = f"predicted by version {done.version}" if done.version else "kept as history"
        self.progress(f"{done.predictions:,} flights {by}, {done.labels:,} labels came in")

    def realised(self) -> list[dict[str, Any]]:
        """Ask the service for the performance of each month, by version."""
        found = []
        for start, end in pairwise((FIRST_TRAINING, *WINDOW_ENDS, YEAR_END)):
            asked = {"start": start.isoformat(), "end": end.isoformat(), "bucket": "month"}
            found += self.service.performance(MODEL, **asked)
        return found

    def run(self, dag_id: str, end: datetime, **conf: str) -> None:
        """Trigger a run through the public API and follow it to its end."""
        before = set(self.ws.outbox.glob("*.eml"))
        run_id = follow(self.stack, self.api, dag_id, {"end": end.isoformat(), **conf}, self.progress)
        self.mails[run_id] = sorted(str(path) for path in set(self.ws.outbox.glob("*.eml")) - before)


@dataclass(frozen=True)
class Story:
    """What there is to tell: a chapter a decision, mails by run, and what the service did."""

    chapters: list[dict[str, Any]]
    mails: dict[str, list[str]]
    answered: int
    handed_in: int
    performance: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(self.__dict__)


def _play(stack: Stack, progress: Callable[[str], None]) -> Story:
    from keel.cli.standalone.demo_report import chapters
    from keel.cli.standalone.replay import labelled_history
    from keel.cli.standalone.service_client import ScoringService
    from keel.workspace import Workspace

    config = get_model(MODEL)
    progress("reading a year of flights")
    flights = labelled_history(config)
    workspace = Workspace.open(home=stack.home, store_url=stack.store_url, tracking_uri=stack.mlflow_url)
    with workspace as ws, stack.api as api, ScoringService(stack.serving_url) as service:
        play = Play(stack, api, ws, service, config, flights, progress)
        play.year()
        progress("adding up what was realised, month by month")
        return Story(chapters(ws, config), play.mails, play.answered, play.handed_in, play.realised())


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


def _print(story: Story, home: Path, seconds: float) -> None:
    from keel.cli.standalone.demo_report import print_realised, print_story

    console = Console()
    print_story(console, get_model(MODEL), story.chapters, story.mails)
    answered = f"{story.answered:,} predictions were answered by the scoring service"
    console.print(f"\n{answered}, {story.handed_in:,} labels handed in through /feedback.", soft_wrap=True)
    print_realised(console, story.performance)
    places = "keel.db, mlflow.db, outbox/, logs/"
    console.print(f"\nThe same as a manager would read it: KEEL_HOME={home} keel ledger show {MODEL}", soft_wrap=True)
    console.print(f"\nEverything is under {home}: {places}. It took {seconds:.0f} s.", soft_wrap=True)


def empty(home: Path) -> None:
    """Leave an empty folder marked as the demo's own; one that holds anything without the mark is not touched."""
    mark = home / MARK
    if home.exists() and any(home.iterdir()) and not mark.exists() and home != DEFAULT_HOME / "demo":
        raise DemoFailed(f"{home} holds something that is no demo of Keel: name another folder with --home")
    if home.exists():
        shutil.rmtree(home)
    home.mkdir(parents=True)
    mark.write_text("Keel's demo: emptied whenever it starts.\n")

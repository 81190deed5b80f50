"""``keel demo``: run the whole loop on a year of real flights, with real Airflow, MLflow and scoring processes."""

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
ALERTS = "keel.alerts"
BEGIN = datetime(2013, 1, 1, tzinfo=UTC)
FIRST_TRAINING = datetime(2013, 4, 1, tzinfo=UTC)
WINDOW_ENDS = [datetime(2013, month, 1, tzinfo=UTC) for month in range(5, 13)]
"""Ends of the checked windows: the ends of April to November. A window is the week before."""
ENVIRONMENT = {
    "KEEL__CHECK__SCHEDULE": "null",
    "KEEL__PROMOTION__MONITOR_SCHEDULE": "null",
    "KEEL_MAINTENANCE_SCHEDULE": "null",
    "KEEL_ALERTS_SCHEDULE": "null",  # each run sends its own messages
    f"KEEL__{MODEL.upper()}__SERVING__MAX_AGE": "36500d",
    "KEEL_LIVE_POLL_SECONDS": "1",
}
"""Settings of the demo. Schedules are off, because they check the present, and the flights are of 2013."""
YEAR_END = datetime(2014, 1, 1, tzinfo=UTC)
MAX_OUTCOMES = 20_000
"""Planned outcomes of the experiment in December. December has more, so the experiment always ends."""
ACTOR = "keel demo"
RUN_SECONDS = 600
LIVE_SECONDS = 300
"""Longest wait for the check that a live alarm starts."""
MARK = "emptied-by-keel-demo"
"""Marker file of a folder that the demo may empty. A folder ``airflow`` is no proof: home directories have one."""
EXPECTED = ("promoted", "kept_champion", "confirmed", "end_experiment")
"""Outcomes and one action that the unchanged gate produces on the unchanged data."""


class DemoFailed(KeelError):
    """A DAG run of the demo failed, or an expected outcome is missing."""


def demo(
    home: Annotated[Path, typer.Option(help="Folder of the demo. The demo empties it first.")] = DEFAULT_HOME / "demo",
    as_json: JsonOption = False,
) -> None:
    """Run the whole loop on a year of real flights and print what happened."""
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
        raise DemoFailed(f"expected outcomes are missing: {', '.join(missing)}; the gate or the data has changed")


@dataclass
class Play:
    """The running demo: its clients, the messages of each DAG run, and the numbers of predictions and labels."""

    stack: Stack
    api: AirflowApi
    ws: Workspace
    service: ScoringService
    config: ModelConfig
    flights: pa.Table
    progress: Callable[[str], None]
    messages: dict[str, list[str]] = field(default_factory=dict)
    """Ids of those that each DAG run led to."""
    answered: int = 0
    submitted: int = 0
    alarms: list[dict[str, Any]] = field(default_factory=list)

    def year(self) -> None:
        """Train on January to March, then predict and check each month; end with an A/B test in December.

        The live monitors are paused, as a year passes in minutes. At the end they read what they have missed.
        """
        from keel.deployments.history import history

        self.ws.store.live.set_paused(MODEL, True, now=datetime.now(UTC))
        self.api.wait_for_dags([RETRAIN, CHECK, WATCH, ALERTS], timeout=120, check=self.stack.check)
        self.replay(BEGIN, FIRST_TRAINING)
        self.run(RETRAIN, FIRST_TRAINING, reason="the first version, trained on January to March")
        since = FIRST_TRAINING
        for end in WINDOW_ENDS:
            self.replay(since, end)
            if history(self.ws.store, MODEL).probation:
                self.run(WATCH, end)
            self.run(CHECK, end)
            since = end
        self.run(RETRAIN, since, reason="a routine refresh before the holidays")
        self.experiment(since)
        self.live()
        # what concerns no single model, such as a channel without a connection, is sent by no run of a model
        follow(self.stack, self.api, ALERTS, {}, self.progress)

    def live(self) -> None:
        """Let the live monitors read what production has answered, and wait for the check that their alarm starts."""
        self.progress("the live monitors read what the version in production has answered")
        before, known = self.written(), {run["dag_run_id"] for run in self.api.runs(CHECK)}
        self.ws.store.live.set_paused(MODEL, False, now=datetime.now(UTC))
        deadline, runs = time.monotonic() + LIVE_SECONDS, list[dict[str, Any]]()
        while not self.alarms or not runs or any(run["state"] not in ("success", "failed") for run in runs):
            self.stack.check()
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"no check has judged a live alarm after {LIVE_SECONDS} s; read the logs in {self.stack.logs}"
                )
            time.sleep(1)
            self.alarms = [each for each in self.ws.store.live.alarms(MODEL) if each["judged_by"]]
            runs = [run for run in self.api.runs(CHECK) if run["dag_run_id"] not in known]
        self.ws.store.live.set_paused(MODEL, True, now=datetime.now(UTC))
        if failed := [run["dag_run_id"] for run in runs if run["state"] == "failed"]:
            raise DemoFailed(f"{CHECK} {failed[0]} failed; read the logs in {self.stack.logs}")
        self.collect(runs[0]["dag_run_id"], before)

    def experiment(self, start: datetime) -> None:
        """Let the rejected challenger answer half of December's flights until labels decide the experiment."""
        from keel import rollout
        from keel.deployments.history import Status, history
        from keel.deployments.versions import reinstate
        from keel.evaluation.experiment.plan import Stage

        standings = history(self.ws.store, MODEL).version_statuses
        challenger = max(standings)
        if standings[challenger].status is not Status.REJECTED:
            return  # it is in production: there is no challenger
        why = "December may differ from the months of the holdout"
        reinstate(self.ws.store, self.ws.registry, MODEL, challenger, reason=why, actor=ACTOR, now=datetime.now(UTC))
        started = rollout.start_experiment(
            self.ws,
            self.config,
            challenger=challenger,
            mode="ab",
            stages=(Stage(0.5),),
            max_outcomes=MAX_OUTCOMES,
            salt=ACTOR,
            actor=ACTOR,
            run_id=ACTOR,
            reason=why,
            now=start,
        )
        self.service.wait_for_experiment(MODEL, started.experiment_id)
        self.replay(start, YEAR_END)
        self.run(WATCH, YEAR_END)

    def replay(self, start: datetime, end: datetime) -> None:
        """Send the flights of [start, end) to the service, and submit the labels observed in that time."""
        from keel.cli.standalone.service_client import replay_through

        self.progress(f"replaying the flights from {start:%B %-d} to {end:%B %-d}")
        done = replay_through(self.service, self.ws, self.config, self.flights, start=start, end=end)
        if done.version:
            self.answered, self.submitted = self.answered + done.predictions, self.submitted + done.labels
        by = f"predicted by version {done.version}" if done.version else "stored as history"
        self.progress(f"{done.predictions:,} flights {by}, {done.labels:,} labels received")

    def performance(self) -> list[dict[str, Any]]:
        """Return the model's performance by month and version, from the service."""
        found = []
        for start, end in pairwise((FIRST_TRAINING, *WINDOW_ENDS, YEAR_END)):
            asked = {"start": start.isoformat(), "end": end.isoformat(), "bucket": "month"}
            found += self.service.performance(MODEL, **asked)
        return found

    def run(self, dag_id: str, end: datetime, **conf: str) -> None:
        """Trigger a DAG run through the public API, wait until it ends, and collect its messages."""
        before = self.written()
        self.collect(follow(self.stack, self.api, dag_id, {"end": end.isoformat(), **conf}, self.progress), before)

    def written(self) -> list[str]:
        """Return the ids of all messages so far."""
        return [each["message_id"] for each in self.ws.store.outbox.messages()]

    def collect(self, run_id: str, before: list[str]) -> None:
        """Note what a DAG run has led to: its own message, and the digest that was due by then."""
        self.messages[run_id] = [each for each in self.written() if each not in before]


@dataclass(frozen=True)
class Story:
    """Results of the demo: a chapter for each decision, messages by DAG run, and the work of the service."""

    chapters: list[dict[str, Any]]
    messages: dict[str, list[dict[str, Any]]]
    answered: int
    submitted: int
    performance: list[dict[str, Any]]
    alarms: list[str]
    """What the live alarms say that a check has judged, and what it made of them."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(self.__dict__)


def _play(stack: Stack, progress: Callable[[str], None]) -> Story:
    from keel.cli.standalone.demo_messages import read_messages
    from keel.cli.standalone.demo_report import chapters
    from keel.cli.standalone.replay import labelled_history
    from keel.cli.standalone.service_client import ScoringService
    from keel.monitoring.alarms import Verdict
    from keel.workspace import Workspace

    config = get_model(MODEL)
    progress("reading a year of flights")
    flights = labelled_history(config)
    workspace = Workspace.open(home=stack.home, store_url=stack.store_url, tracking_uri=stack.mlflow_url)
    with workspace as ws, stack.api as api, ScoringService(stack.serving_url) as service:
        play = Play(stack, api, ws, service, config, flights, progress)
        play.year()
        progress("computing the performance of each month")
        alarms = [f"{each['sentence']} The check: {Verdict(each['verdict']).words}." for each in play.alarms]
        months = play.performance()
        mails = {run_id: read_messages(ws, ids) for run_id, ids in play.messages.items()}
        return Story(chapters(ws, config), mails, play.answered, play.submitted, months, alarms)


def follow(stack: Stack, api: AirflowApi, dag_id: str, conf: dict[str, Any], progress: Callable[[str], None]) -> str:
    """Trigger a DAG run, show its running tasks, and return the run id after its success."""
    run_id = api.trigger(dag_id, conf)
    deadline = time.monotonic() + RUN_SECONDS
    shown, end = None, conf.get("end", "")[:10]
    while (state := api.run(dag_id, run_id)["state"]) not in ("success", "failed"):
        stack.check()
        if time.monotonic() > deadline:
            raise DemoFailed(f"{dag_id} {run_id} is still {state} after {RUN_SECONDS} s; read the logs in {stack.logs}")
        tasks = api.task_instances(dag_id, run_id)
        running = ", ".join(t["task_id"].rpartition(".")[2] for t in tasks if t["state"] == "running")
        if running and running != shown:
            progress(f"{dag_id}{f' until {end}' if end else ''}: {running}")
            shown = running
        time.sleep(0.5)
    if state != "success":
        failed = [t["task_id"] for t in api.task_instances(dag_id, run_id) if t["state"] == "failed"]
        raise DemoFailed(f"{dag_id} {run_id} failed in {', '.join(failed) or 'no task'}; read the logs in {stack.logs}")
    return run_id


def _print(story: Story, home: Path, seconds: float) -> None:
    from keel.cli.standalone.demo_messages import print_messages
    from keel.cli.standalone.demo_report import print_alarms, print_performance, print_story

    console = Console()
    print_story(console, get_model(MODEL), story.chapters, story.messages)
    service = f"The scoring service answered {story.answered:,} predictions and received {story.submitted:,} labels."
    console.print(f"\n{service}", soft_wrap=True)
    print_performance(console, story.performance)
    print_alarms(console, story.alarms)
    print_messages(console, story.messages)
    console.print(f"\nTo read the full history: KEEL_HOME={home} keel ledger show {MODEL}", soft_wrap=True)
    files = "keel.db, mlflow.db, outbox/ and logs/"
    console.print(f"\nAll files are in {home}: {files}. The demo took {seconds:.0f} s.", soft_wrap=True)


def empty(home: Path) -> None:
    """Empty the demo's folder and mark it; `DemoFailed` for a folder with contents and without the mark."""
    mark = home / MARK
    if home.exists() and any(home.iterdir()) and not mark.exists() and home != DEFAULT_HOME / "demo":
        raise DemoFailed(f"{home} has contents and is not a folder of the demo; name another folder with --home")
    if home.exists():
        shutil.rmtree(home)
    home.mkdir(parents=True)
    mark.write_text("Folder of Keel's demo, emptied at each start.\n")

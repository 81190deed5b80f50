"""The live monitors on Airflow's own processes: a shift rings, a check judges it, and killed triggerers lose nothing.

``KEEL_FULL_SIZE=1``: on PostgreSQL too, 20 kills of the triggerer on each database, and Airflow's own time until
another takes over. ``KEEL_LIVE_KILLS`` sets the number of kills, on both databases. It prints how long monitoring stood
still, and the seconds from a block's end to the start of its check.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from keel.cli.standalone.process import Part
from keel.cli.standalone.stack import PROJECT, Stack
from keel.monitoring.live.catch_up import catch_up
from keel.workspace import Workspace
from tests.support.airflow.live_traffic import Tides, Traffic, launch_now
from tests.support.airflow.tide import tide_config
from tests.support.chaos.kills import FULL_SIZE
from tests.support.live.processes import DATABASES, database, kill_triggerer
from tests.support.waiting import until

if TYPE_CHECKING:
    from keel.store.live import StoredMonitors

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KEEL_LIVE_KILLS", "20" if FULL_SIZE else "1"))
CHECK = "tide.drift_check"
ENVIRONMENT = {
    "KEEL_MODELS_FOLDER": str(PROJECT / "tests" / "dags" / "models"),
    "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT))),
    "KEEL_LIVE_POLL_SECONDS": "1",
    "KEEL__TIDE__CHECK__SCHEDULE": "null",
}
IMPATIENT = {
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
}
"""Another triggerer takes over after six seconds in place of thirty."""


@dataclass
class World:
    """A running stack, whose triggerers the test starts and kills by itself, and its workspace."""

    stack: Stack
    ws: Workspace
    triggerers: list[Part]

    def start_triggerer(self) -> Part:
        command = [str(Path(sys.executable).parent / "airflow"), "triggerer", "--skip-serve-logs"]
        name = f"triggerer-{len(self.triggerers)}"
        self.triggerers.append(Part(name, command, self.stack.environment, self.stack.logs))
        self.triggerers[-1].start()
        return self.triggerers[-1]

    @property
    def monitors(self) -> StoredMonitors:
        found = self.ws.store.live.read("tide")
        assert found is not None
        return found

    def open_alarms(self) -> list[dict[str, Any]]:
        return self.ws.store.live.open_alarms("tide")


def signal_all(part: Part, number: int) -> None:
    """Send a signal to a triggerer and its runner at once."""
    assert part.pid is not None
    for process in psutil.Process(part.pid).children(recursive=True):
        process.send_signal(number)


@pytest.fixture(params=DATABASES if FULL_SIZE or "KEEL_LIVE_KILLS" in os.environ else DATABASES[:1])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    home = tmp_path / "keel"
    environment = {**ENVIRONMENT, **({} if FULL_SIZE else IMPATIENT), **database(request)}
    with Stack(home, environment=environment) as stack, stack.api as api:
        api.wait_for_dags([CHECK], timeout=60, check=stack.check)
        where = {"home": home, "store_url": stack.environment["KEEL_STORE_URL"], "tracking_uri": stack.mlflow_url}
        with Workspace.open(**where, environment={}) as ws:
            made = World(stack, ws, [])
            yield made
            for part in made.triggerers:
                part.stop()


def test_monitors_from_the_first_row_to_the_judged_alarm(world: World) -> None:
    """One test, because every step needs those before it."""
    launch_now(world.ws)
    catch_up(world.ws, tide_config(), now=datetime.now(UTC))
    begun = world.monitors
    assert begun.rows == 0
    with Traffic(world.ws, tide_config(), Tides()) as traffic:
        until(lambda: world.monitors.rows > 200)
        kill_triggerer()
        world.start_triggerer()
        chance = random.Random(1)
        stood = [kill_one(world, chance.uniform(0, 3)) for _ in range(KILLS)]
        print(f"{KILLS} kills; monitoring stood still for {min(stood):.1f} to {max(stood):.1f} s: {stood}")
        two_triggerers(world)
    require_exactly_once(world, begun, traffic.sent)
    assert world.open_alarms() == []
    world.start_triggerer()
    a_shift_is_judged(world)


def kill_one(world: World, seconds: float) -> float:
    """Kill the triggerer while it works, start another, and return for how long nothing was monitored."""
    rows = world.monitors.rows
    until(lambda: world.monitors.rows > rows, 120)
    time.sleep(seconds)
    signal_all(world.triggerers[-1], 9)
    rows, killed = world.monitors.rows, time.monotonic()
    world.start_triggerer()
    until(lambda: world.monitors.rows > rows, 120, every=0.05)
    return round(time.monotonic() - killed, 1)


def two_triggerers(world: World) -> None:
    """A triggerer stalls until another has taken over, and goes on where it was: for a while both run."""
    stalled = world.triggerers[-1]
    signal_all(stalled, 19)
    rows = world.monitors.rows
    world.start_triggerer()
    until(lambda: world.monitors.rows > rows + 200, 120)
    signal_all(stalled, 18)
    time.sleep(3)


def require_exactly_once(world: World, begun: StoredMonitors, sent: int) -> None:
    """Wait until all is read; then read it again in one undisturbed process, and compare every bit."""
    until(lambda: world.monitors.rows == sent // 100 * 100, 60)
    for part in world.triggerers:
        part.stop()
    disturbed = world.monitors
    assert world.ws.store.live.commit("tide", disturbed.revision, begun)
    while catch_up(world.ws, tide_config(), now=datetime.now(UTC)).behind:
        pass
    undisturbed = world.monitors
    assert (disturbed.rows, disturbed.predictions_until) == (undisturbed.rows, undisturbed.predictions_until)
    assert disturbed.state == undisturbed.state


def a_shift_is_judged(world: World) -> None:
    """The wind rises: an alarm opens, a check starts, and judges it, and what opens meanwhile."""
    tides = Tides()
    # a check looks at whole hours: what has shifted must become the larger part of this one
    with world.stack.api as api, Traffic(world.ws, tide_config(), tides, rows=200):
        # the triggerer that was stopped gave its triggers back; this one has them
        rows = world.monitors.rows
        until(lambda: world.monitors.rows > rows, 120)
        tides.shift = 2.0
        until(lambda: world.open_alarms(), 60, every=0.05)
        opened = world.open_alarms()[0]
        until(lambda: api.runs(CHECK), 60, every=0.1)
        until(lambda: api.runs(CHECK)[0]["start_date"], 60, every=0.1)
        started = datetime.fromisoformat(api.runs(CHECK)[0]["start_date"])
        print(f"{(started - opened['opened_at']).total_seconds():.1f} s from the end of the block to the check's start")
        assert api.runs(CHECK)[0]["run_type"] == "asset_triggered"
        until(lambda: world.ws.store.live.alarms_of([opened["alarm_id"]])[0]["judged_by"], 300, every=0.5)
    with world.stack.api as api:
        until(lambda: not world.open_alarms(), 150, every=0.5)
        # a bell that rang during a check starts one more, which finds nothing to do
        until(lambda: {run["state"] for run in api.runs(CHECK)} == {"success"}, 150, every=0.5)
        runs = api.runs(CHECK)
        judged = world.ws.store.live.alarms("tide")
        print([(run["dag_run_id"], run["start_date"], run["end_date"]) for run in runs])
        print([(alarm["subject"], alarm["kind"], alarm["judged_by"], alarm["rings"]) for alarm in judged])
        assert {"wind"} <= {alarm["subject"] for alarm in judged}

"""The flights of April, replayed now on Airflow's own processes: faults that begin in them are found and judged.

At ten thousand flights a minute. It prints the seconds from the end of the block that alarms to the start of its check,
and to the decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from keel.cli.standalone.replay import between, labelled_history
from keel.cli.standalone.stack import Stack
from keel.config import get_model
from keel.workspace import Workspace
from tests.support.airflow.live_traffic import Traffic, last_hour, launch
from tests.support.chaos.kills import FULL_SIZE
from tests.support.live.processes import DATABASES, database, kill_triggerer
from tests.support.waiting import until

pytestmark = pytest.mark.slow

MODEL = "flight_delay"
CHECK = f"{MODEL}.drift_check"
ENVIRONMENT = {"KEEL_LIVE_POLL_SECONDS": "1", f"KEEL__{MODEL.upper()}__CHECK__SCHEDULE": "null"}
APRIL = datetime(2013, 4, 1, tzinfo=UTC)
KILOMETRES = 1.609344
Fault = Callable[[pa.Table], pa.Table]


@dataclass
class Flights:
    """The features of flights in their order, one batch after the other, with the faults of the moment."""

    rows: pa.Table
    faults: list[Fault] = field(default_factory=list)
    _next: int = 0

    def __call__(self, n: int) -> pa.Table:
        batch = self.rows.slice(self._next, n)
        assert batch.num_rows == n, "the flights have run out"
        self._next += n
        for fault in self.faults:
            batch = fault(batch)
        return batch


def in_kilometres(rows: pa.Table) -> pa.Table:
    """The distance comes in another unit."""
    return replaced(rows, "distance", pc.multiply(rows["distance"], KILOMETRES))


def without_origin(rows: pa.Table) -> pa.Table:
    """The origin is missing."""
    return replaced(rows, "origin", pa.nulls(rows.num_rows, rows["origin"].type))


def replaced(rows: pa.Table, name: str, values: Any) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


@pytest.fixture(params=DATABASES if FULL_SIZE else DATABASES[:1])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path / "keel", environment={**ENVIRONMENT, **database(request)}) as running:
        yield running


def test_faults_in_the_flights_are_found_and_judged_also_while_a_check_runs(stack: Stack) -> None:
    config = get_model(MODEL)
    flights = labelled_history(config)
    shift = last_hour() - config.target.label_delay - APRIL
    history = between(flights, APRIL - timedelta(days=90), APRIL)
    moved = replaced(history, "time", pc.add(history["time"], pa.scalar(shift, pa.duration("us"))))
    april = Flights(between(flights, APRIL, APRIL + timedelta(days=30)).select(list(config.features)))
    with (
        stack.api as api,
        Workspace.open(
            home=stack.home,
            store_url=stack.environment["KEEL_STORE_URL"],
            tracking_uri=stack.mlflow_url,
            environment={},
        ) as ws,
    ):
        end = APRIL + shift
        launch(ws, config, moved, start=end - timedelta(days=90), end=end)
        api.wait_for_dags([CHECK], timeout=60, check=stack.check)

        def opened(subject: str) -> dict[str, Any] | None:
            return next((each for each in ws.store.live.alarms(MODEL) if each["subject"] == subject), None)

        with Traffic(ws, config, april):
            until(lambda: (found := ws.store.live.read(MODEL)) and found.rows > 3_000, 120)
            assert ws.store.live.alarms(MODEL) == []
            april.faults.append(in_kilometres)
            until(lambda: opened("distance"), 60, every=0.05)
            until(lambda: api.runs(CHECK) and api.runs(CHECK)[0]["start_date"], 60, every=0.05)
            april.faults.append(without_origin)
            until(lambda: opened("origin"), 60, every=0.05)
            kill_triggerer()  # no bell from outside can follow
            assert api.runs(CHECK)[0]["state"] == "running"
        until(lambda: not ws.store.live.open_alarms(MODEL), 150)
        until(lambda: {run["state"] for run in api.runs(CHECK)} == {"success"}, 150)
        first = min(api.runs(CHECK), key=lambda run: run["start_date"])
        distance, origin = opened("distance"), opened("origin")
        assert distance is not None
        assert origin is not None
        runs = sorted(api.runs(CHECK), key=lambda run: run["start_date"])
        assert runs[0]["run_type"] == "asset_triggered"
        assert {run["run_type"] for run in runs[1:]} <= {"operator_triggered"}  # by the check
        decisions = [ws.store.decisions.of_run(MODEL, run["dag_run_id"]) for run in runs]
        sentences = {each["decision_id"]: each["body"]["sentence"] for each in decisions if each}
        assert "distance" in sentences[distance["judged_by"]]
        assert "origin" in sentences[origin["judged_by"]]
        began, ended = (datetime.fromisoformat(first[name]) for name in ("start_date", "end_date"))
        seconds = [round((moment - distance["opened_at"]).total_seconds(), 1) for moment in (began, ended)]
        print(f"seconds from the end of the block to the start and the end of its check: {seconds}")
        print(f"{len(runs)} runs decided: {list(sentences.values())}")

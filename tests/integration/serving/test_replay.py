"""Replay through a real scoring service stores the same rows as replay straight into the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keel.cli.standalone.process import LOOPBACK
from keel.cli.standalone.replay import Replayed, replay
from keel.cli.standalone.service_client import ScoringService, ServiceFailed, replay_through
from keel.workspace import Workspace
from tests.support.loop_steps import CONFIG, NOW
from tests.support.serving.process import ForkedServing, copy_home, free_port, make_home
from tests.support.toy import DAY, START, toy_rows

if TYPE_CHECKING:
    import pyarrow as pa

pytestmark = pytest.mark.integration

ROWS = toy_rows(NOW, days=3, per_hour=100)
LONG_AGO = {"KEEL__SERVING__MAX_AGE": "36500d"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("replay"))


@pytest.fixture(scope="module")
def serving(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedServing]:
    with ForkedServing(copy_home(home, tmp_path_factory.mktemp("served")), **LONG_AGO) as running:
        yield running


def stored(ws: Workspace) -> tuple[pa.Table, pa.Table]:
    """Return the stored rows of the interval, and those of them with labels."""
    log = ws.predictions(CONFIG)
    columns = ["id", "time", "version", "score", "prediction", "x", "z", "colour"]
    rows, labelled = log.read(NOW, NOW + 3 * DAY)[0], log.labelled(NOW, NOW + 3 * DAY)
    return rows.select(columns).sort_by("id"), labelled.select([*columns, "label"]).sort_by("id")


def test_replay_through_the_service_stores_the_same_rows(home: Path, serving: ForkedServing, tmp_path: Path) -> None:
    interval = {"start": NOW, "end": NOW + 3 * DAY}
    with Workspace.open(home=copy_home(home, tmp_path), environment={}) as ws:
        direct = replay(ws, CONFIG, ROWS, **interval)
        expected = stored(ws)
    with Workspace.open(home=serving.home, environment={}) as ws, ScoringService(serving.url) as service:
        through = replay_through(service, ws, CONFIG, ROWS, **interval)
        rows, labelled = stored(ws)
        again = replay_through(service, ws, CONFIG, ROWS, **interval)
        assert stored(ws) == (rows, labelled), "a second replay changes nothing"
    assert through == direct == again == Replayed(1, ROWS.num_rows, 2 * ROWS.num_rows // 3)
    assert (rows, labelled) == expected


def test_wait_for_version_that_is_not_loaded_raises_with_its_number(serving: ForkedServing) -> None:
    with ScoringService(serving.url, patience=1) as service:
        service.wait_for_version("toy", 1)
        with pytest.raises(ServiceFailed, match="did not load version 2 within 1 s"):
            service.wait_for_version("toy", 2)


def test_rejected_request_raises_with_status_and_reason(serving: ForkedServing) -> None:
    with ScoringService(serving.url) as service, pytest.raises(ServiceFailed, match="answered 422: .*column 'x'"):
        service.predict(CONFIG, ROWS.drop_columns(["x"]))


def test_service_that_does_not_answer_is_named() -> None:
    url = f"http://{LOOPBACK}:{free_port()}"
    with ScoringService(url, patience=0.1) as service, pytest.raises(ServiceFailed, match=f"{url} does not answer"):
        service.wait_until_stored()


def test_replay_without_a_version_does_not_call_the_service(tmp_path: Path) -> None:
    absent = ScoringService(f"http://{LOOPBACK}:{free_port()}", patience=0.1)
    with Workspace.open(home=tmp_path, environment={}) as ws, absent as service:
        done = replay_through(service, ws, CONFIG, toy_rows(days=1), start=START, end=START + DAY)
        assert done == Replayed(None, 480, 0)
        assert ws.predictions(CONFIG).read(START, START + DAY)[0]["version"].null_count == 480

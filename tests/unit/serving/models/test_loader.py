"""The model loader on a real store and a real MLflow: it serves what the store says, and failures change nothing."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from weakref import WeakSet

import psutil
import pytest
import sqlalchemy as sa

from keel import deployments
from keel.deployments import experiments
from keel.deployments.history import Status
from keel.errors import NoProductionVersion, UnknownModel
from keel.evaluation.experiment.plan import Plan, Stage
from keel.ledger import entries as ledger
from keel.serving.models.desired_state import DesiredState
from keel.serving.models.loader import ModelLoader
from keel.serving.models.slots import FIRST_RETRY, LONGEST_RETRY, ModelSlots
from keel.store.database.tables import experiments as experiments_table
from keel.workspace import Workspace
from tests.support.toy import toy_config
from tests.support.versions.toy import files_of, register, toy_candidate
from tests.support.waiting import until

CONFIG = toy_config()
NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    """An installation with three versions of the toy model, none of them loader."""
    with Workspace.open(home=tmp_path_factory.mktemp("home"), environment={}) as opened:
        for seed in range(3):
            register(opened.store, opened.registry, CONFIG, toy_candidate(seed), now=NOW)
        yield opened


def deploy(ws, production, **changes):
    current = deployments.read(ws.store, "toy")
    desired = replace(current, production=production, **{"previous": current.production, **changes})
    deployments.change(
        ws.store,
        ws.registry,
        current,
        desired,
        actor="tests",
        action=ledger.Action.PROMOTE,
        now=NOW,
        body={"evidence": {"sentence": "for the test"}},
    )


@pytest.fixture
def loader(ws):
    """A loader that serves version 1."""
    deploy(ws, 1, previous=None)
    found = ModelLoader(ws, [CONFIG, toy_config(model="other")])
    found.refresh()
    return found


def number(loader):
    return loader.for_model("toy").production.number


def test_loader_of_a_model_without_a_version_is_not_ready_and_says_why(ws):
    deploy(ws, None)
    found = ModelLoader(ws, [CONFIG])
    with pytest.raises(NoProductionVersion, match="has not been read yet"):
        found.for_model("toy")
    found.refresh()
    with pytest.raises(NoProductionVersion, match="train one: airflow dags trigger toy.retrain"):
        found.for_model("toy")
    assert not found.ready
    with pytest.raises(UnknownModel, match="did you mean 'toy'"):
        found.for_model("tog")


def test_loader_serves_the_version_in_production_and_ignores_models_without_one(loader):
    served = loader.for_model("toy")
    assert served.production.number == 1
    assert served.inputs.required == {"x", "z", "colour"}
    assert (served.challenger, served.plan) == (None, None)
    assert loader.ready
    json.dumps(loader.state())
    assert loader.state()["toy"]["production"] == 1
    assert loader.state()["other"]["production"] is None


def test_loader_follows_a_promotion_and_rolls_back_without_a_load(ws, loader):
    before = loader.for_model("toy")
    deploy(ws, 2)
    loader.poll()
    assert number(loader) == 1, "until the new version is loaded"
    loader.refresh()
    assert number(loader) == 2
    assert before.production.number == 1, "a request keeps the version that it started with"
    assert loader.loads == {("toy", "loaded"): 2}
    deploy(ws, 1)
    loader.poll()
    assert number(loader) == 1
    assert loader.for_model("toy").production is before.production
    assert loader.state()["toy"]["in_memory"] == [1, 2]
    deploy(ws, 3)
    loader.refresh()
    assert loader.state()["toy"]["in_memory"] == [1, 3]


def test_loader_releases_versions_that_are_no_longer_needed(ws, loader, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    loaded, handles = WeakSet(), []
    for _ in range(3):
        for production in (2, 3, 1):
            deploy(ws, production)
            loader.refresh()
            loaded.add(loader.for_model("toy").production)
        gc.collect()
        handles.append(psutil.Process().num_fds())
    assert loader.loads["toy", "loaded"] >= 9
    assert sorted(version.number for version in loaded) == loader.state()["toy"]["in_memory"] == [1, 3]
    assert handles[2] <= handles[0]
    assert not list(tmp_path.iterdir())


def test_refresh_without_changes_serves_the_same_object(loader):
    before = loader.for_model("toy")
    loader.refresh()
    assert loader.for_model("toy") is before


def test_version_that_cannot_be_loaded_leaves_the_one_before(ws, loader):
    deploy(ws, 99)
    for _ in range(3):
        loader.refresh()
    assert number(loader) == 1
    assert loader.loads["toy", "failed"] == 1, "the next attempt comes later"
    state = loader.state()["toy"]
    assert (state["production"], state["wanted"]) == (1, 99)
    assert "99" in state["errors"]["99"]
    fresh = ModelLoader(ws, [CONFIG])
    fresh.refresh()
    with pytest.raises(NoProductionVersion, match="version 99 cannot be loaded: "):
        fresh.for_model("toy")
    deploy(ws, 1)
    loader.refresh()
    assert "99" in str(loader.state()["toy"]["errors"]), "it is the previous version now"


def test_version_with_changed_files_is_not_served(ws, loader):
    path = files_of(ws.registry, 3)["model/model.skops"]
    content = path.read_bytes()
    path.write_bytes(content + b"\x00")
    try:
        deploy(ws, 3)
        loader.refresh()
        assert number(loader) == 1
        assert "model/model.skops" in loader.state()["toy"]["errors"]["3"]
    finally:
        path.write_bytes(content)


def test_store_that_does_not_answer_changes_nothing(ws, loader):
    with ws.store.begin() as connection:
        connection.execute(sa.text("ALTER TABLE deployments RENAME TO elsewhere"))
    try:
        loader.refresh()
        assert number(loader) == 1
        assert loader.ready
        assert "deployments" in loader.store_error
        fresh = ModelLoader(ws, [CONFIG])
        fresh.refresh()
        with pytest.raises(NoProductionVersion, match="no version is loaded yet: .*deployments"):
            fresh.for_model("toy")
    finally:
        with ws.store.begin() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO deployments"))
    loader.refresh()
    assert loader.store_error is None


@pytest.fixture
def experiment(ws):
    """An experiment of version 2 against version 1."""
    again = {2: (Status.CANDIDATE, "for the test")}
    deployments.append(ws.store, "toy", actor="tests", action="release_version", body={}, now=NOW, statuses=again)
    plan = Plan(f"e-{time.time_ns()}", "toy", 1, 2, "ab", (Stage(0.5),), "salt", "brier", 0.0, 0.05, 1000, NOW)
    experiments.start(ws.store, plan, actor="tests", now=NOW, evidence={"sentence": "begun"}, run_id=None)
    yield plan
    if experiments.running(ws.store, "toy") is None:
        return
    experiments.end(
        ws.store,
        "toy",
        plan.experiment_id,
        outcome=experiments.Outcome.STOPPED,
        actor="tests",
        now=NOW,
        evidence={"sentence": "ended"},
        run_id=None,
    )


def test_experiment_takes_effect_once_its_challenger_is_loaded(ws, loader, experiment):
    loader.poll()
    assert loader.for_model("toy").plan is None
    loader.refresh()
    served = loader.for_model("toy")
    assert (served.plan, served.production.number, served.challenger.number) == (experiment, 1, 2)
    assert loader.state()["toy"]["experiment"] == experiment.experiment_id


def test_experiment_has_no_effect_when_its_champion_is_not_in_production(ws, loader, experiment):
    loader.refresh()
    deploy(ws, 3)
    loader.poll()
    served = loader.for_model("toy")
    assert (served.production.number, served.plan, served.challenger) == (1, None, None), "at once"
    loader.refresh()
    assert number(loader) == 3
    assert loader.for_model("toy").plan is None


def test_challenger_that_is_rejected_answers_no_request_after_the_next_poll(ws, loader, experiment):
    loader.refresh()
    assert loader.for_model("toy").challenger.number == 2
    deployments.append(
        ws.store,
        "toy",
        actor="ada",
        action=ledger.Action.DECLINE,
        body={},
        now=NOW,
        statuses={2: (Status.REJECTED, "complaints")},
    )
    loader.poll()
    served = loader.for_model("toy")
    assert (served.production.number, served.plan, served.challenger) == (1, None, None)


def test_experiment_that_cannot_be_read_does_not_stop_the_champion(ws, loader, experiment):
    mine = experiments_table.c.experiment_id == experiment.experiment_id
    with ws.store.begin() as connection:
        stored = connection.execute(sa.select(experiments_table.c.plan).where(mine)).scalar_one()
        connection.execute(experiments_table.update().where(mine).values(plan='{"from": "the future"}'))
    try:
        loader.refresh()
        assert number(loader) == 1
        assert "cannot be read" in loader.state()["toy"]["problem"]
    finally:
        with ws.store.begin() as connection:
            connection.execute(experiments_table.update().where(mine).values(plan=stored))


def test_loader_threads_follow_the_store_and_end(ws, loader):
    live = ModelLoader(ws, [CONFIG], poll_seconds=0.05)
    live.start()
    try:
        for version in (1, 2, 1):
            deploy(ws, version)
            until(lambda version=version: live.ready and number(live) == version, 60)
    finally:
        live.close()
        live.close()
    assert not live.running
    assert live.loads["toy", "loaded"] == 2


def test_slots_retry_a_failing_version_less_and_less_often():
    slots = ModelSlots(CONFIG)
    slots.set_desired(DesiredState(1, None, 1))
    now, waits = 0.0, []
    for _ in range(8):
        assert list(slots.missing(now)) == [(0, 1)]
        slots.record_failure(1, "no", now)
        assert list(slots.missing(now)) == []
        waits.append(slots.failures[1].retry_at - now)
        now = slots.failures[1].retry_at
    assert waits[0] == FIRST_RETRY
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_RETRY


def test_slots_load_production_first_and_the_previous_version_last():
    slots = ModelSlots(CONFIG)
    plan = Plan("e", "toy", 1, 2, "ab", (Stage(0.5),), "salt", "brier", 0.0, 0.05, 1000, NOW)
    slots.set_desired(DesiredState(1, 7, 1, plan))
    assert [version for _, version in sorted(slots.missing(0.0))] == [1, 2, 7]

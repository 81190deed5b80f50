"""What is served follows what the store says, on a real store and a real MLflow; whatever fails changes nothing."""

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
from tests.support.toy_versions import files_of, register, toy_candidate

CONFIG = toy_config()
NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    """An installation with three versions of the toy model, none of them deployed."""
    with Workspace.open(home=tmp_path_factory.mktemp("home"), environment={}) as opened:
        for seed in range(3):
            register(opened.store, opened.registry, CONFIG, toy_candidate(seed), now=NOW)
        yield opened


def put(ws, production, **places):
    current = deployments.read(ws.store, "toy")
    wanted = replace(current, production=production, **{"previous": current.production, **places})
    deployments.change(
        ws.store, ws.registry, current, wanted, actor="tests", action=ledger.Action.PROMOTE, now=NOW,
        body={"evidence": {"sentence": "for the test"}},
    )  # fmt: skip


@pytest.fixture
def deployed(ws):
    """What serves version 1."""
    put(ws, 1, previous=None)
    found = ModelLoader(ws, [CONFIG, toy_config(model="other")])
    found.refresh()
    return found


def number(deployed):
    return deployed.for_model("toy").production.number


def test_a_model_without_a_version_is_known_and_not_ready(ws):
    put(ws, None)
    found = ModelLoader(ws, [CONFIG])
    with pytest.raises(NoProductionVersion, match="the store was not read yet"):
        found.for_model("toy")
    found.refresh()
    with pytest.raises(NoProductionVersion, match="train one: airflow dags trigger toy.retrain"):
        found.for_model("toy")
    assert not found.ready
    with pytest.raises(UnknownModel, match="did you mean 'toy'"):
        found.for_model("tog")


def test_what_is_in_production_answers_and_others_do_not_hold_it_up(deployed):
    served = deployed.for_model("toy")
    assert served.production.number == 1
    assert served.inputs.required == {"x", "z", "colour"}
    assert (served.challenger, served.plan) == (None, None)
    assert deployed.ready
    json.dumps(deployed.state())
    assert deployed.state()["toy"]["production"] == 1
    assert deployed.state()["other"]["production"] is None


def test_a_promotion_is_followed_and_a_rollback_needs_no_load(ws, deployed):
    before = deployed.for_model("toy")
    put(ws, 2)
    deployed._poll()
    assert number(deployed) == 1, "until the new one is there"
    deployed.refresh()
    assert number(deployed) == 2
    assert before.production.number == 1, "a request goes on with what it began with"
    assert deployed.loads == {("toy", "loaded"): 2}
    put(ws, 1)
    deployed._poll()
    assert number(deployed) == 1
    assert deployed.for_model("toy").production is before.production
    assert deployed.state()["toy"]["in_memory"] == [1, 2]
    put(ws, 3)
    deployed.refresh()
    assert deployed.state()["toy"]["in_memory"] == [1, 3]


def test_versions_that_are_gone_leave_nothing_behind(ws, deployed, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    loaded, handles = WeakSet(), []
    for _ in range(3):
        for production in (2, 3, 1):
            put(ws, production)
            deployed.refresh()
            loaded.add(deployed.for_model("toy").production)
        gc.collect()
        handles.append(psutil.Process().num_fds())
    assert deployed.loads["toy", "loaded"] >= 9
    assert sorted(version.number for version in loaded) == deployed.state()["toy"]["in_memory"] == [1, 3]
    assert handles[2] <= handles[0]
    assert not list(tmp_path.iterdir())


def test_nothing_new_leaves_what_is_served_the_same_object(deployed):
    before = deployed.for_model("toy")
    deployed.refresh()
    assert deployed.for_model("toy") is before


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(ws, deployed):
    put(ws, 99)
    for _ in range(3):
        deployed.refresh()
    assert number(deployed) == 1
    assert deployed.loads["toy", "failed"] == 1, "the next try comes later"
    state = deployed.state()["toy"]
    assert (state["production"], state["wanted"]) == (1, 99)
    assert "99" in state["errors"]["99"]
    fresh = ModelLoader(ws, [CONFIG])
    fresh.refresh()
    with pytest.raises(NoProductionVersion, match="version 99 cannot be loaded: "):
        fresh.for_model("toy")
    put(ws, 1)
    deployed.refresh()
    assert "99" in str(deployed.state()["toy"]["errors"]), "it is the previous version now"


def test_what_was_tampered_with_is_not_served(ws, deployed):
    path = files_of(ws.registry, 3)["model/model.skops"]
    content = path.read_bytes()
    path.write_bytes(content + b"\x00")
    try:
        put(ws, 3)
        deployed.refresh()
        assert number(deployed) == 1
        assert "not those that were registered" in deployed.state()["toy"]["errors"]["3"]
    finally:
        path.write_bytes(content)


def test_a_store_that_does_not_answer_changes_nothing(ws, deployed):
    with ws.store.begin() as connection:
        connection.execute(sa.text("ALTER TABLE deployments RENAME TO elsewhere"))
    try:
        deployed.refresh()
        assert number(deployed) == 1
        assert deployed.ready
        assert "deployments" in deployed.store_error
        fresh = ModelLoader(ws, [CONFIG])
        fresh.refresh()
        with pytest.raises(NoProductionVersion, match="cannot be answered for yet: .*deployments"):
            fresh.for_model("toy")
    finally:
        with ws.store.begin() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO deployments"))
    deployed.refresh()
    assert deployed.store_error is None


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
        ws.store, "toy", plan.experiment_id, outcome=experiments.Outcome.STOPPED, actor="tests", now=NOW,
        evidence={"sentence": "ended"}, run_id=None,
    )  # fmt: skip


def test_an_experiment_takes_effect_once_its_challenger_is_loaded(ws, deployed, experiment):
    deployed._poll()
    assert deployed.for_model("toy").plan is None
    deployed.refresh()
    served = deployed.for_model("toy")
    assert (served.plan, served.production.number, served.challenger.number) == (experiment, 1, 2)
    assert deployed.state()["toy"]["experiment"] == experiment.experiment_id


def test_an_experiment_is_void_when_its_champion_is_not_in_production(ws, deployed, experiment):
    deployed.refresh()
    put(ws, 3)
    deployed._poll()
    served = deployed.for_model("toy")
    assert (served.production.number, served.plan, served.challenger) == (1, None, None), "at once"
    deployed.refresh()
    assert number(deployed) == 3
    assert deployed.for_model("toy").plan is None


def test_a_challenger_that_is_rejected_answers_nobody_from_the_next_poll_on(ws, deployed, experiment):
    deployed.refresh()
    assert deployed.for_model("toy").challenger.number == 2
    deployments.append(
        ws.store, "toy", actor="ada", action=ledger.Action.DECLINE, body={}, now=NOW,
        statuses={2: (Status.REJECTED, "complaints")},
    )  # fmt: skip
    deployed._poll()
    served = deployed.for_model("toy")
    assert (served.production.number, served.plan, served.challenger) == (1, None, None)


def test_an_experiment_that_cannot_be_read_stops_no_answer(ws, deployed, experiment):
    mine = experiments_table.c.experiment_id == experiment.experiment_id
    with ws.store.begin() as connection:
        kept = connection.execute(sa.select(experiments_table.c.plan).where(mine)).scalar_one()
        connection.execute(experiments_table.update().where(mine).values(plan='{"from": "the future"}'))
    try:
        deployed.refresh()
        assert number(deployed) == 1
        assert "cannot be read" in deployed.state()["toy"]["problem"]
    finally:
        with ws.store.begin() as connection:
            connection.execute(experiments_table.update().where(mine).values(plan=kept))


def test_threads_follow_by_themselves_and_end(ws, deployed):
    live = ModelLoader(ws, [CONFIG], poll_seconds=0.05)
    live.start()
    try:
        deadline = time.monotonic() + 60
        for version in (1, 2, 1):
            put(ws, version)
            while not live.ready or number(live) != version:
                assert time.monotonic() < deadline
                time.sleep(0.02)
    finally:
        live.close()
        live.close()
    assert not any(thread.is_alive() for thread in live._threads)
    assert live.loads["toy", "loaded"] == 2


def test_what_fails_again_is_tried_less_and_less_often():
    shelf = ModelSlots(CONFIG)
    shelf.want(DesiredState(1, None, 1))
    now, waits = 0.0, []
    for _ in range(8):
        assert list(shelf.missing(now)) == [(0, 1)]
        shelf.fail(1, "no", now)
        assert list(shelf.missing(now)) == []
        waits.append(shelf.failures[1].retry_at - now)
        now = shelf.failures[1].retry_at
    assert waits[0] == FIRST_RETRY
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_RETRY


def test_what_answers_is_loaded_first_and_what_is_fallen_back_to_last():
    shelf = ModelSlots(CONFIG)
    plan = Plan("e", "toy", 1, 2, "ab", (Stage(0.5),), "salt", "brier", 0.0, 0.05, 1000, NOW)
    shelf.want(DesiredState(1, 7, 1, plan))
    assert [version for _, version in sorted(shelf.missing(0.0))] == [1, 2, 7]

"""Each branch of the watch over a version on probation."""

from __future__ import annotations

from email import message_from_string, policy

import pyarrow as pa
import pytest

from keel.lifecycle import deployments, ledger
from keel.lifecycle.history import history
from tests.dags.running import run
from tests.dags.world import DAY, TURNED, decision_of, happen, live, promote_offer

pytestmark = pytest.mark.usefixtures("airflow_db")

LOOKED = {"reconcile", "watch"}
TOLD = {"compose_message", "write_to_outbox", "record"}


@pytest.fixture
def on_probation(offered, monkeypatch):
    """Version 2 has been in production since the tide turned, and is watched for two days."""
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__PROBATION", "2d")
    promote_offer(offered, probation="2d")
    return offered


def subjects(workspace):
    files = sorted(workspace.outbox.glob("*.eml")) if workspace.outbox.exists() else []
    return [message_from_string(file.read_text(), policy=policy.default)["Subject"] for file in files]


def watch(at, **more):
    return run("tide.watch_deployment", end=at.isoformat(), **more)


def test_nothing_on_probation_is_no_news(tide):
    with_nothing = deployments.note  # version 1 was the first: its probation ends with a row
    with_nothing(tide.store, "tide", actor="test", action="confirm", body={"probation": None}, now=TURNED)
    decisions = tide.store.decisions.list("tide")

    done = watch(TURNED)

    assert (done.state, done.path) == ("success", {*LOOKED, "stay_silent"})
    assert tide.store.decisions.list("tide") == decisions
    assert subjects(tide) == []


def test_harm_takes_the_version_back_by_itself_and_quarantines_it(on_probation):
    live(on_probation, happen(TURNED, TURNED + DAY, relation=3.0), TURNED, TURNED + DAY)

    done = watch(TURNED + DAY)

    assert (done.state, done.path) == ("success", {*LOOKED, "rollback", *TOLD})
    assert deployments.read(on_probation.store, "tide").production == 1
    assert on_probation.registry.aliases("tide") == {"production": 1}
    assert on_probation.registry.resolve("tide", version=2).tags["keel.status"] == "quarantined"
    assert list(ledger.entries(on_probation.store, "tide", "rollback"))[-1].actor == "keel"
    assert decision_of(on_probation)["outcome"]["outcome"] == "rolled_back"
    assert subjects(on_probation) == ["[Keel] tide: went back to version 1"]


def test_a_version_that_keeps_its_promise_goes_on_in_silence_and_is_confirmed(on_probation):
    live(on_probation, happen(TURNED, TURNED + 3 * DAY, relation=-3.0), TURNED, TURNED + 3 * DAY)

    early = watch(TURNED + DAY)
    assert (early.state, early.path) == ("success", {*LOOKED, "stay_silent"})
    assert history(on_probation.store, "tide").probation.version == 2

    late = watch(TURNED + 3 * DAY)

    assert (late.state, late.path) == ("success", {*LOOKED, "confirm", *TOLD})
    assert history(on_probation.store, "tide").probation is None
    assert deployments.read(on_probation.store, "tide").production == 2
    assert list(ledger.entries(on_probation.store, "tide", "confirm"))[-1].actor == "keel"
    assert subjects(on_probation) == ["[Keel] tide: version 2 has survived its probation"]


def test_a_probation_without_labels_ends_in_a_message_and_not_in_a_confirmation(on_probation):
    unlabelled = happen(TURNED, TURNED + DAY)
    unlabelled = unlabelled.set_column(2, "label", pa.nulls(len(unlabelled), pa.float64()))
    live(on_probation, unlabelled, TURNED, TURNED + DAY)

    done = watch(TURNED + 4 * DAY)

    assert (done.state, done.path) == ("success", {*LOOKED, "raise_alert", *TOLD})
    assert done.xcoms["watch/return_value"]["verdict"] == "inconclusive"
    assert list(ledger.entries(on_probation.store, "tide", "confirm")) == []
    assert subjects(on_probation) == ["[Keel] tide: needs a look"]


def test_what_was_moved_by_hand_is_not_forgotten_when_the_look_after_it_fails(tide, monkeypatch):
    from keel import rollout
    from keel.errors import StoreUnavailable

    tide.registry.client.set_registered_model_alias("tide", "staging", "1")

    def unavailable(*_, **__):
        raise StoreUnavailable("db:5432 does not answer")

    monkeypatch.setattr(rollout, "watch", unavailable)

    done = watch(TURNED)

    assert (done.states["reconcile"], done.states["watch"]) == ("success", "failed")
    [row] = ledger.entries(tide.store, "tide", "out_of_band")
    [finding] = done.xcoms["reconcile/return_value"]["findings"]  # what the failed task is given when it is cleared
    assert (row.actor, row.body["evidence"]["sentence"]) == ("dag_test", finding)


def test_an_alias_moved_by_hand_is_told(on_probation):
    on_probation.registry.client.set_registered_model_alias("tide", "production", "1")

    done = watch(TURNED)

    assert (done.state, done.path) == ("success", {*LOOKED, "raise_alert", *TOLD})
    assert deployments.read(on_probation.store, "tide").production == 1
    assert len(list(ledger.entries(on_probation.store, "tide", "out_of_band"))) == 1
    [finding] = done.xcoms["reconcile/return_value"]["findings"]
    assert decision_of(on_probation)["sentence"] in finding


def test_a_scheduled_look_ends_with_its_interval(on_probation, monkeypatch):
    from keel import rollout

    heard = []
    looked = rollout.watch
    monkeypatch.setattr(rollout, "watch", lambda *step, **more: heard.append(more["end"]) or looked(*step, **more))

    run("tide.watch_deployment", logical_date=TURNED)

    [end] = heard
    assert end.minute == 15
    assert end <= TURNED

"""Each branch of the watch over a version on probation."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_string, policy

import pyarrow as pa
import pytest

from keel import deployments
from keel.deployments import experiments
from keel.deployments.history import history
from keel.ledger import entries as ledger
from keel.window import ceil_hour
from tests.support.airflow import approvers as people
from tests.support.airflow.dag_run import run
from tests.support.airflow.tide import DAY, TURNED, decision_of, happen, live, promote_offer, tide_config
from tests.support.experiment_rows import serve

pytestmark = pytest.mark.usefixtures("airflow_db")

LOOKED = {"reconcile", "watch"}
SEEN = TURNED + 8 * DAY
"""When an experiment has lasted for longer than the week that a verdict takes at least."""
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
    with_nothing = deployments.append  # version 1 was the first: its probation ends with a row
    with_nothing(tide.store, "tide", actor="test", action="confirm", body={"probation": None}, now=TURNED)
    decisions = tide.store.decisions.list("tide")

    done = watch(TURNED)

    assert (done.state, done.path) == ("success", {*LOOKED, "no_action"})
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
    assert subjects(on_probation) == ["[Keel] tide: rolled back to version 1"]


def test_a_version_that_keeps_its_promise_goes_on_in_silence_and_is_confirmed(on_probation):
    live(on_probation, happen(TURNED, TURNED + 3 * DAY, relation=-3.0), TURNED, TURNED + 3 * DAY)

    early = watch(TURNED + DAY)
    assert (early.state, early.path) == ("success", {*LOOKED, "no_action"})
    assert history(on_probation.store, "tide").probation.version == 2

    late = watch(SEEN + DAY)

    assert (late.state, late.path) == ("success", {*LOOKED, "confirm", *TOLD})
    assert history(on_probation.store, "tide").probation is None
    assert deployments.read(on_probation.store, "tide").production == 2
    assert list(ledger.entries(on_probation.store, "tide", "confirm"))[-1].actor == "keel"
    assert subjects(on_probation) == ["[Keel] tide: version 2 passed its probation"]


def test_a_probation_without_labels_is_told_once_and_ends_when_its_time_is_up(on_probation):
    unlabelled = happen(TURNED, TURNED + DAY)
    unlabelled = unlabelled.set_column(2, "label", pa.nulls(len(unlabelled), pa.float64()))
    live(on_probation, unlabelled, TURNED, TURNED + DAY)

    done = watch(TURNED + 4 * DAY)

    assert (done.state, done.path) == ("success", {*LOOKED, "raise_alert", *TOLD})
    assert done.xcoms["watch/return_value"]["verdict"] == "inconclusive"
    assert list(ledger.entries(on_probation.store, "tide", "confirm")) == []
    assert subjects(on_probation) == ["[Keel] tide: needs attention"]

    later = watch(TURNED + 20 * DAY)

    assert (later.state, later.path) == ("success", {*LOOKED, "no_action"})

    ended = watch(TURNED + 25 * DAY)

    assert (ended.state, ended.path) == ("success", {*LOOKED, "confirm", *TOLD})
    assert history(on_probation.store, "tide").probation is None
    assert subjects(on_probation)[1:] == ["[Keel] tide: probation of version 2 ended without enough evidence"]


def test_what_was_moved_by_hand_is_not_forgotten_when_the_look_after_it_fails(tide, monkeypatch):
    from keel import rollout
    from keel.errors import StoreUnavailable

    tide.registry.client.set_registered_model_alias("tide", "staging", "1")

    def unavailable(*_, **__):
        raise StoreUnavailable("db:5432 does not answer")

    monkeypatch.setattr(rollout, "watch_deployment", unavailable)

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
    looked = rollout.watch_deployment
    monkeypatch.setattr(
        rollout, "watch_deployment", lambda *step, **more: heard.append(more["end"]) or looked(*step, **more)
    )

    run("tide.watch_deployment", logical_date=TURNED)

    [end] = heard
    assert end.minute == 15
    assert end <= TURNED


@pytest.fixture
def tried(offered, monkeypatch):
    """Version 2, which is better, has been tried beside version 1 since the tide turned.

    Version 1 was the first: what its probation has to say is none of this.
    """
    deployments.append(offered.store, "tide", actor="test", action="confirm", body={"probation": None}, now=TURNED)
    done = run(
        "tide.experiment",
        action="start",
        reason="is it better?",
        allocation=0.5,
        start_at=TURNED.isoformat(),
        challenger=2,
    )
    assert (done.state, done.path) == ("success", {"start_or_stop", *TOLD})
    plan = experiments.running(offered.store, "tide")
    serve(offered, tide_config(), plan, happen(TURNED, SEEN, relation=-3.0))
    return offered


def test_a_running_experiment_without_a_verdict_is_no_news(tried):
    before = subjects(tried)

    done = watch(TURNED + DAY)

    assert (done.state, done.path) == ("success", {*LOOKED, "no_action"})
    assert subjects(tried) == before == ["[Keel] tide: an experiment started"]
    [report] = tried.store.reports.list("tide", "experiment")
    assert report["status"] == "running"


def test_an_end_in_the_future_does_not_make_labels_count_before_they_are_due(tried):
    watch(datetime(2100, 1, 1, tzinfo=UTC))

    [report] = tried.store.reports.list("tide", "experiment")
    assert report["window_end"] <= ceil_hour(datetime.now(UTC))


def test_an_experiment_that_shows_it_promotes(tried, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")

    done = watch(SEEN + DAY)

    assert (done.state, done.path) == ("success", {*LOOKED, "promote", *TOLD})
    assert deployments.read(tried.store, "tide").production == 2
    assert tried.registry.aliases("tide")["production"] == 2
    assert "[Keel] tide: promoted version 2" in subjects(tried)
    assert decision_of(tried)["outcome"]["outcome"] == "promoted"


def test_where_people_must_agree_an_experiment_offers_and_its_evidence_is_what_they_are_asked_about(tried):
    asked = []

    def approve(waiting):
        asked.append(people.question(waiting)["body"])
        assert people.answer(waiting, "Approve", user="alice") == 200

    done = watch(SEEN + DAY)
    assert (done.state, done.path) == ("success", {*LOOKED, "stage", "start_promotion", *TOLD})
    assert deployments.read(tried.store, "tide").production == 1
    assert experiments.running(tried.store, "tide") is None
    conf = started("tide.promote")
    assert conf["experiment"] == experiments.list_all(tried.store, "tide")[0].plan.experiment_id

    done = run("tide.promote", asked=approve, **conf)

    assert (done.state, done.states["promote"]) == ("success", "success")
    assert "Tried in production" in asked[0]
    assert done.xcoms["compare/return_value"]["basis"] == "experiment"
    assert deployments.read(tried.store, "tide").production == 2


def test_an_experiment_that_is_void_ends_and_is_told(tried):
    promote_offer(tried)

    done = watch(SEEN + DAY)

    assert (done.state, done.path) == ("success", {*LOOKED, "end_experiment", *TOLD})
    assert "[Keel] tide: the experiment ended without a verdict" in subjects(tried)
    assert experiments.list_all(tried.store, "tide")[0].outcome["outcome"] == "void"


def test_an_experiment_is_stopped_by_hand(tried):
    done = run("tide.experiment", action="stop", reason="too dear", start_at=(TURNED + DAY).isoformat())

    assert (done.state, done.path) == ("success", {"start_or_stop", *TOLD})
    assert experiments.running(tried.store, "tide") is None
    assert "[Keel] tide: the experiment was stopped" in subjects(tried)

    done = run("tide.experiment", action="stop", reason="too dear", start_at=(TURNED + DAY).isoformat())

    assert (done.state, done.states["start_or_stop"]) == ("failed", "failed")
    assert "no experiment is running" in done.xcoms["start_or_stop/error"]


def started(dag_id):
    """What the newest run of a DAG was given by the task that started it."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        newest = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id.startswith("experiment__"))
        return dict(session.scalars(newest.order_by(DagRun.id.desc())).first().conf)


def test_experiment_with_a_parameters_old_name_fails_and_names_the_new_one(offered):
    done = run("tide.experiment", action="start", reason="is it better?", at=TURNED.isoformat(), most="9d")

    assert (done.state, done.states["start_or_stop"]) == ("failed", "failed")
    error = done.xcoms["start_or_stop/error"]
    assert "at: renamed to start_at in 0.2" in error
    assert "most: renamed to max_duration in 0.2" in error
    assert experiments.running(offered.store, "tide") is None

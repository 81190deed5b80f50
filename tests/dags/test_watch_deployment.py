"""Each branch of the evaluation of a version on probation and of an experiment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email import message_from_string, policy

import pyarrow as pa
import pytest
from airflow.utils.types import DagRunType

from keel import deployments, rollout
from keel.deployments import experiments
from keel.deployments.history import history
from keel.ledger import entries as ledger
from keel.window import ceil_hour
from tests.dags.conftest import made_after
from tests.support.airflow import approvers as people
from tests.support.airflow.dag_run import run
from tests.support.airflow.tide import DAY, TURNED, decision_of, happen, live, promote_staged, tide_config
from tests.support.experiment_rows import serve

pytestmark = pytest.mark.usefixtures("airflow_db")

EVALUATED = {"reconcile", "watch"}
AFTER_A_WEEK = TURNED + 8 * DAY
"""When an experiment has lasted longer than the week before which it has no verdict."""
NOTIFIED = {"compose_message", "send_email", "record"}


@pytest.fixture(scope="session")
def tide_on_probation(tide_with_staged_version, tmp_path_factory):
    """Version 2 has been in production since the relation turned, and is on probation for two days."""

    def prepare(workspace):
        promote_staged(workspace, probation="2d")

    return made_after(tmp_path_factory, "on_probation", tide_with_staged_version, prepare)


@pytest.fixture
def on_probation(tide_on_probation, open_copy, needs_approval, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__PROBATION", "2d")
    return open_copy(tide_on_probation)


def subjects(workspace):
    files = sorted(workspace.outbox.glob("*.eml")) if workspace.outbox.exists() else []
    return [message_from_string(file.read_text(), policy=policy.default)["Subject"] for file in files]


def watch(at, **more):
    return run("tide.watch_deployment", end=at.isoformat(), **more)


def test_watch_without_a_probation_takes_no_action(tide):
    with_nothing = deployments.append  # version 1 was the first: its probation ends with a row
    with_nothing(tide.store, "tide", actor="test", action="confirm", body={"probation": None}, now=TURNED)
    decisions = tide.store.decisions.list("tide")

    done = watch(TURNED)

    assert (done.state, done.path) == ("success", {*EVALUATED, "no_action"})
    assert tide.store.decisions.list("tide") == decisions
    assert subjects(tide) == []


def test_watch_of_a_harmful_version_rolls_it_back(on_probation):
    live(on_probation, happen(TURNED, TURNED + DAY, relation=3.0), TURNED, TURNED + DAY)

    done = watch(TURNED + DAY)

    assert (done.state, done.path) == ("success", {*EVALUATED, "rollback", *NOTIFIED})
    assert deployments.read(on_probation.store, "tide").production == 1
    assert on_probation.registry.aliases("tide") == {"production": 1}
    assert on_probation.registry.resolve("tide", version=2).tags["keel.status"] == "quarantined"
    assert list(ledger.entries(on_probation.store, "tide", "rollback"))[-1].actor == "keel"
    assert decision_of(on_probation)["outcome"]["outcome"] == "rolled_back"
    assert subjects(on_probation) == ["[Keel] tide: production was rolled back to version 1"]


def test_watch_of_a_good_version_takes_no_action_then_confirms(on_probation):
    live(on_probation, happen(TURNED, TURNED + 3 * DAY, relation=-3.0), TURNED, TURNED + 3 * DAY)

    early = watch(TURNED + DAY)
    assert (early.state, early.path) == ("success", {*EVALUATED, "no_action"})
    assert history(on_probation.store, "tide").probation.version == 2

    late = watch(AFTER_A_WEEK + DAY)

    assert (late.state, late.path) == ("success", {*EVALUATED, "confirm", *NOTIFIED})
    assert history(on_probation.store, "tide").probation is None
    assert deployments.read(on_probation.store, "tide").production == 2
    assert list(ledger.entries(on_probation.store, "tide", "confirm"))[-1].actor == "keel"
    assert subjects(on_probation) == ["[Keel] tide: version 2 passed its probation"]


def test_watch_without_labels_notifies_once_then_ends_the_probation(on_probation):
    unlabelled = happen(TURNED, TURNED + DAY)
    unlabelled = unlabelled.set_column(2, "label", pa.nulls(len(unlabelled), pa.float64()))
    live(on_probation, unlabelled, TURNED, TURNED + DAY)

    done = watch(TURNED + 4 * DAY)

    assert (done.state, done.path) == ("success", {*EVALUATED, "raise_alert", *NOTIFIED})
    assert done.xcoms["watch/return_value"]["verdict"] == "inconclusive"
    assert list(ledger.entries(on_probation.store, "tide", "confirm")) == []
    assert subjects(on_probation) == ["[Keel] tide: the version on probation needs attention"]

    later = watch(TURNED + 20 * DAY)

    assert (later.state, later.path) == ("success", {*EVALUATED, "no_action"})

    ended = watch(TURNED + 25 * DAY)

    assert (ended.state, ended.path) == ("success", {*EVALUATED, "confirm", *NOTIFIED})
    assert history(on_probation.store, "tide").probation is None
    assert subjects(on_probation)[1:] == ["[Keel] tide: the probation of version 2 ended without enough evidence"]


def test_watch_that_fails_keeps_the_findings_for_its_next_try(tide, monkeypatch):
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


def test_watch_of_a_moved_alias_notifies(on_probation):
    on_probation.registry.client.set_registered_model_alias("tide", "production", "1")

    done = watch(TURNED)

    assert (done.state, done.path) == ("success", {*EVALUATED, "raise_alert", *NOTIFIED})
    assert deployments.read(on_probation.store, "tide").production == 1
    assert len(list(ledger.entries(on_probation.store, "tide", "out_of_band"))) == 1
    [finding] = done.xcoms["reconcile/return_value"]["findings"]
    assert decision_of(on_probation)["sentence"] in finding


def test_watch_by_schedule_ends_with_its_interval_and_by_hand_now(on_probation, monkeypatch):
    from keel import rollout

    received = []
    evaluate = rollout.watch_deployment
    monkeypatch.setattr(
        rollout, "watch_deployment", lambda *step, **more: received.append(more["end"]) or evaluate(*step, **more)
    )

    now = TURNED + timedelta(minutes=1)
    run("tide.watch_deployment", logical_date=TURNED, run_type=DagRunType.SCHEDULED)
    run("tide.watch_deployment", logical_date=TURNED - DAY, run_after=now)  # by hand, as Airflow's dialog does

    by_schedule, by_hand = received
    assert by_schedule.minute == 15
    assert by_schedule <= TURNED
    assert by_hand == now


@pytest.fixture(scope="session")
def tide_in_experiment(tide_with_staged_version, tmp_path_factory):
    """Version 2, which is better, has been in an experiment with version 1 since the relation turned.

    Version 1 was the first version: these tests need nothing of its probation.
    """

    def prepare(workspace):
        end = {"actor": "test", "action": "confirm", "body": {"probation": None}, "now": TURNED}
        deployments.append(workspace.store, "tide", **end)
        rollout.start_experiment(
            workspace,
            tide_config(),
            challenger=2,
            mode="ab",
            stages=rollout.stages_of(mode="ab", allocation=0.5, ramp=None),
            actor="test",
            run_id="experiment",
            reason="is it better?",
            now=TURNED,
        )
        plan = experiments.running(workspace.store, "tide")
        serve(workspace, tide_config(), plan, happen(TURNED, AFTER_A_WEEK, relation=-3.0))

    return made_after(tmp_path_factory, "in_experiment", tide_with_staged_version, prepare)


@pytest.fixture
def in_experiment(tide_in_experiment, open_copy, needs_approval):
    return open_copy(tide_in_experiment)


def test_experiment_started_by_hand_runs_and_notifies(staged):
    done = run(
        "tide.experiment",
        action="start",
        reason="is it better?",
        allocation=0.5,
        start_at=TURNED.isoformat(),
        challenger=2,
    )

    assert (done.state, done.path) == ("success", {"start_or_stop", *NOTIFIED})
    plan = experiments.running(staged.store, "tide")
    assert (plan.champion, plan.challenger, plan.started_at) == (1, 2, TURNED)
    assert [stage.share for stage in plan.stages] == [0.5]
    assert subjects(staged) == ["[Keel] tide: an experiment started"]


def test_watch_of_an_experiment_without_a_verdict_takes_no_action(in_experiment):
    done = watch(TURNED + DAY)

    assert (done.state, done.path) == ("success", {*EVALUATED, "no_action"})
    assert subjects(in_experiment) == []
    [report] = in_experiment.store.reports.list("tide", "experiment")
    assert report["status"] == "running"


def test_watch_with_an_end_in_the_future_is_refused_and_evaluates_nothing(in_experiment):
    assert watch(datetime(2100, 1, 1, tzinfo=UTC)).state == "failed"

    assert in_experiment.store.reports.list("tide", "experiment") == []


def test_watch_with_an_end_later_in_this_hour_ends_now(in_experiment):
    watch(ceil_hour(datetime.now(UTC)))

    [report] = in_experiment.store.reports.list("tide", "experiment")
    assert report["window_end"] <= ceil_hour(datetime.now(UTC))


def test_watch_of_a_successful_experiment_promotes(in_experiment, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")

    done = watch(AFTER_A_WEEK + DAY)

    assert (done.state, done.path) == ("success", {*EVALUATED, "promote", *NOTIFIED})
    assert deployments.read(in_experiment.store, "tide").production == 2
    assert in_experiment.registry.aliases("tide")["production"] == 2
    assert subjects(in_experiment) == ["[Keel] tide: the experiment ended, and version 2 was promoted"]
    assert decision_of(in_experiment)["outcome"]["outcome"] == "promoted"


@pytest.mark.slow
def test_watch_of_a_successful_experiment_with_required_approval_stages(in_experiment):
    questions = []

    def approve(waiting):
        questions.append(people.question(waiting)["body"])
        assert people.answer(waiting, "Approve", user="alice") == 200

    done = watch(AFTER_A_WEEK + DAY)
    assert (done.state, done.path) == ("success", {*EVALUATED, "stage", "start_promotion", *NOTIFIED})
    assert deployments.read(in_experiment.store, "tide").production == 1
    assert experiments.running(in_experiment.store, "tide") is None
    conf = started("tide.promote")
    assert conf["experiment"] == experiments.list_all(in_experiment.store, "tide")[0].plan.experiment_id

    done = run("tide.promote", on_wait=approve, **conf)

    assert (done.state, done.states["promote"]) == ("success", "success")
    assert conf["experiment"] in questions[0]
    assert done.xcoms["compare/return_value"]["basis"] == "experiment"
    assert deployments.read(in_experiment.store, "tide").production == 2


def test_watch_of_a_void_experiment_ends_it_and_notifies(in_experiment):
    promote_staged(in_experiment)

    done = watch(AFTER_A_WEEK + DAY)

    assert (done.state, done.path) == ("success", {*EVALUATED, "end_experiment", *NOTIFIED})
    assert "[Keel] tide: the experiment ended without a verdict" in subjects(in_experiment)
    assert experiments.list_all(in_experiment.store, "tide")[0].outcome["outcome"] == "void"


def test_experiment_stopped_by_hand_ends_once(in_experiment):
    done = run("tide.experiment", action="stop", reason="too dear", start_at=(TURNED + DAY).isoformat())

    assert (done.state, done.path) == ("success", {"start_or_stop", *NOTIFIED})
    assert experiments.running(in_experiment.store, "tide") is None
    assert "[Keel] tide: the experiment was stopped" in subjects(in_experiment)

    done = run("tide.experiment", action="stop", reason="too dear", start_at=(TURNED + DAY).isoformat())

    assert (done.state, done.states["start_or_stop"]) == ("failed", "failed")
    assert "no experiment is running" in done.xcoms["start_or_stop/error"]


def started(dag_id):
    """Return the parameters of the newest run that a task started."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        newest = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id.startswith("experiment__"))
        return dict(session.scalars(newest.order_by(DagRun.id.desc())).first().conf)


def test_experiment_with_a_parameters_old_name_fails_and_names_the_new_one(staged):
    done = run("tide.experiment", action="start", reason="is it better?", at=TURNED.isoformat(), most="9d")

    assert (done.state, done.states["start_or_stop"]) == ("failed", "failed")
    error = done.xcoms["start_or_stop/error"]
    assert "at: renamed to start_at in 0.2" in error
    assert "most: renamed to max_duration in 0.2" in error
    assert experiments.running(staged.store, "tide") is None

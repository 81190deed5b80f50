"""Experiments: started once, evaluated, concluded through the gate, and stopped."""

from __future__ import annotations

import pytest

from keel import rollout
from keel.deployments import experiments
from keel.deployments.history import Status
from keel.errors import (
    ArtifactChanged,
    ExperimentRefused,
    NoProductionVersion,
    NotPromotable,
    RegistryUnavailable,
    StaleGeneration,
)
from keel.evaluation.experiment.plan import Stage
from keel.ledger import entries as ledger
from keel.registry.registry import Registry
from tests.support.experiment_rows import serve
from tests.support.loop_steps import told
from tests.support.rollout_steps import promote, store_comparison
from tests.support.toy import DAY, toy_rows
from tests.support.versions.cloned import INVERTED, NOW, RIGHT

HALF = (Stage(0.5),)
SERVED = 9
"""Days of rows; a verdict needs a week."""


@pytest.fixture
def model(new_model):
    """Version 1 is in production, version 2, which is better, a candidate."""
    return new_model(INVERTED, RIGHT)


def start(model, *, run_id="try-1", **parameters):
    given = {"challenger": 2, "stages": HALF, "actor": "ada", "reason": "is it better?", "now": NOW, **parameters}
    return rollout.start_experiment(model.ws, model.config, run_id=run_id, **given)


def stop(model, *, run_id="stop-1", reason="too dear"):
    return rollout.stop_experiment(model.ws, model.config, actor="ada", run_id=run_id, reason=reason, now=NOW)


def running(model):
    return experiments.running(model.ws.store, model.name)


def answer(model, *, flip=False):
    """Let the experiment run; ``flip``: in a world in which version 1 is better."""
    rows = toy_rows(NOW, days=SERVED, per_hour=8, seed=11, flip=flip)
    serve(model.ws, model.config, running(model), rows)


def watch(model, days=SERVED + 1, *, run_id="watch-1"):
    return rollout.watch_experiment(model.ws, model.config, end=NOW + days * DAY, run_id=run_id)


def conclude(model, decision_id, *, run_id="watch-1"):
    return rollout.conclude_experiment(model.ws, model.config, decision_id, actor="keel", run_id=run_id)


def ends(model):
    return [row.body["evidence"]["outcome"] for row in model.rows(ledger.Action.EXPERIMENT_END)]


def test_start_experiment_fixes_the_plan_with_the_policys_values(model):
    request = start(model)
    plan = running(model)
    assert (request.action, request.experiment_id, request.version) == ("start_experiment", plan.experiment_id, 1)
    assert (plan.champion, plan.challenger, plan.metric) == (1, 2, "brier")
    assert (plan.margin, plan.alpha, plan.label_delay) == (0.0, 0.05, DAY)
    assert (plan.min_duration, plan.max_duration, plan.max_outcomes) == (7 * DAY, 61 * DAY, 100_000)
    [row] = model.rows(ledger.Action.EXPERIMENT_START)
    assert (row.actor, row.body["experiment"]) == ("ada", request.plan)


def test_start_experiment_of_the_same_run_starts_no_other(model):
    first = start(model)
    before = model.everything()
    assert start(model) == first
    assert model.everything() == before
    with pytest.raises(ExperimentRefused, match="runs already"):
        start(model, run_id="try-2")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"challenger": 1}, ExperimentRefused, "cannot be compared with itself"),
        ({"challenger": 9}, NotPromotable, "version 9 is not known"),
        ({"challenger": None}, ExperimentRefused, "no version is staged"),
        ({"stages": (Stage(1.0),)}, ExperimentRefused, "must lie between 0 and 1"),
        ({"mode": "shadow"}, ExperimentRefused, "a shadow experiment has no allocation"),
        ({"metric": "mae"}, ExperimentRefused, "use one of: accuracy, brier"),
        ({"metric": "accuracy"}, ExperimentRefused, "accuracy is not a metric of the policy"),
        ({"margin": -0.01}, ExperimentRefused, "margin -0.01 is below the policy's 0"),
        ({"alpha": 0.2}, ExperimentRefused, "alpha 0.2 is above the policy's 0.05"),
        ({"min_duration": DAY}, ExperimentRefused, "a verdict before 7 days"),
        ({"max_duration": 8 * DAY}, ExperimentRefused, "must be longer than min_duration"),
        ({"max_outcomes": 0}, ExperimentRefused, "max_outcomes"),
        ({"reason": "  "}, ExperimentRefused, "give a reason"),
        ({"least": DAY}, ExperimentRefused, "least is now min_duration"),
        ({"most": DAY}, ExperimentRefused, "most is now max_duration"),
        ({"max_n": 10}, ExperimentRefused, "max_n is now max_outcomes"),
        ({"duration": DAY}, TypeError, "'duration' is no parameter"),
    ],
)
def test_start_experiment_refuses_by_name_and_writes_nothing(model, parameters, error, message):
    before = model.everything()
    with pytest.raises(error, match=message):
        start(model, **parameters)
    assert (model.everything(), running(model)) == (before, None)


def test_start_experiment_needs_a_champion_a_whole_challenger_and_a_pipeline(new_model):
    with pytest.raises(NoProductionVersion):
        start(new_model(INVERTED, RIGHT, production=None))
    model = new_model(INVERTED)
    model.register(RIGHT, changed_file="keel/grid.npz")
    with pytest.raises(ArtifactChanged, match="version 2"):
        start(model)
    without = new_model(INVERTED, RIGHT, retrain=None)
    with pytest.raises(ExperimentRefused, match="no section retrain"):
        start(without)


def test_start_experiment_without_a_challenger_takes_the_staged_version(model):
    model.deploy(staging=2)
    start(model, challenger=None)
    assert running(model).challenger == 2


def test_stop_experiment_ends_it_once_and_stops_no_later_one(model):
    start(model)
    first = stop(model)
    assert (first.action, ends(model), running(model)) == ("stop_experiment", ["stopped"], None)
    start(model, run_id="try-2")
    assert stop(model) == first
    assert running(model) is not None
    stop(model, run_id="stop-2")
    with pytest.raises(ExperimentRefused, match="no experiment is running"):
        stop(model, run_id="stop-3")
    with pytest.raises(ExperimentRefused, match="give a reason"):
        stop(model, reason=" ")


def test_watch_experiment_without_one_takes_no_action(model):
    found = watch(model)
    assert (found.branch, found.outcome, found.decision_id) == ("no_action", None, "")
    assert model.decisions == []


def test_watch_experiment_that_goes_on_stores_an_evaluation_only(model):
    start(model)
    answer(model)
    found = watch(model, 3)
    assert (found.branch, found.outcome, found.decision_id) == ("no_action", "running", "")
    assert watch(model, 4).report_id == found.report_id
    [report] = model.ws.store.reports.list(model.name, "experiment")
    assert (report["report_id"], report["status"]) == (found.report_id, "running")
    watch(model, 4)
    [again] = model.ws.store.reports.list(model.name, "experiment")
    path = again["body"]["path"]
    assert [point["at"] for point in path] == sorted({point["at"] for point in path}), "a look again replaces its own"
    assert len(path) == 2
    assert path[-1]["improvement"] == again["body"]["improvement"]


def test_conclude_experiment_promotes_the_better_version_once(model, monkeypatch):
    start(model)
    answer(model)
    found = watch(model)
    assert (found.branch, found.outcome) == ("promote", "promote")

    def away(*_, **__):
        raise RegistryUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "preflight", away)
        with pytest.raises(RegistryUnavailable):
            conclude(model, found.decision_id)
    assert (running(model), model.state.deployment.production) == (None, 1)
    assert watch(model) == found, "the whole run again"
    assert watch(model, run_id="watch-2").branch == "no_action"
    for _ in range(2):
        outcome = conclude(model, found.decision_id)
        assert (outcome.outcome, outcome.version, outcome.basis) == ("promoted", 2, "experiment")
    assert ends(model) == ["promote"]
    assert len(model.rows("promote")) == 2
    [end] = model.rows("experiment_end")
    assert "path" not in end.body["evidence"]["look"]
    assert model.rows("promote")[-1].body["evidence"]["experiment_id"] == found.experiment_id
    message = told(model.ws, found, outcome, model.config)
    assert {each.kind for each in message.alerts} == {"experiment", "promotion"}


def test_conclude_experiment_stages_the_better_version_where_a_person_must_approve(model):
    asking = model.with_policy(approval="required")
    start(asking)
    answer(asking)
    found = watch(asking)
    assert (found.branch, conclude(asking, found.decision_id).outcome) == ("stage", "staged")
    request = rollout.request_promotion(
        asking.ws,
        asking.config,
        version=None,
        reason="tried",
        force=False,
        end=NOW + (SERVED + 1) * DAY,
        actor="bob",
        run_id="promote-1",
        experiment=found.experiment_id,
    )
    comparison = rollout.compare(asking.ws, asking.config, request)
    assert (comparison.challenger, comparison.basis, comparison.next) == (2, "experiment", "stage")
    late = request.model_copy(update={"decision_id": "request-late", "until": NOW + 40 * DAY})
    asking.ws.store.decisions.put(
        late.decision_id,
        asking.name,
        1,
        late.window.start,
        late.window.end,
        "promote",
        "late",
        late.to_dict(),
        "r",
        NOW,
    )
    old = rollout.compare(asking.ws, asking.config, late)
    assert (old.verdict, "promotion.max_label_age" in old.reason) == ("inconclusive", True)


def test_conclude_experiment_rejects_the_worse_version(model):
    start(model)
    answer(model, flip=True)
    found = watch(model)
    assert (found.branch, found.outcome) == ("end_experiment", "roll_back")
    assert conclude(model, found.decision_id).outcome == "kept_champion"
    assert model.statuses == {1: "production", 2: "rejected"}


def test_conclude_experiment_that_was_stopped_meanwhile_is_refused(model):
    start(model)
    answer(model, flip=True)
    found = watch(model)
    stop(model)
    before = model.everything()
    with pytest.raises(ExperimentRefused, match="ended already"):
        conclude(model, found.decision_id)
    assert model.everything() == before


def test_conclude_experiment_that_was_not_decided_is_refused(model):
    start(model)
    request = rollout.request_promotion(
        model.ws, model.config, version=2, reason="why not", force=False, end=NOW, actor="bob", run_id="promote-1"
    )
    for decision_id in (None, "", "end-0", request.decision_id):
        with pytest.raises(StaleGeneration, match="to end an experiment"):
            conclude(model, decision_id)
    assert running(model) is not None


def test_watch_experiment_that_became_void_notifies_once(model):
    start(model)
    model.note(2, Status.REJECTED, "no")
    assert (running(model), ends(model)) == (None, ["void"])
    found = watch(model, 1)
    assert (found.branch, found.outcome) == ("end_experiment", "void")
    assert "rejected (no)" in found.sentence
    assert watch(model, 1) == found, "the same run again"
    assert conclude(model, found.decision_id).outcome == "experiment_ended"
    assert watch(model, 1, run_id="watch-2").branch == "no_action"
    assert ends(model) == ["void"]


def test_promotion_of_another_way_makes_an_experiment_void(model):
    start(model)
    promote(model, store_comparison(model, "pass"))
    assert (running(model), ends(model)) == (None, ["void"])


def test_request_promotion_on_an_experiment_that_did_not_end_in_a_pass_is_refused(model):
    experiment = start(model).experiment_id
    with pytest.raises(ExperimentRefused, match="still running"):
        rollout.request_promotion(
            model.ws,
            model.config,
            version=2,
            reason="now",
            force=False,
            end=NOW,
            actor="bob",
            run_id="promote-1",
            experiment=experiment,
        )

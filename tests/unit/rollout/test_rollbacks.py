"""Rolling back: to the previous version or a named one, only as decided, and once a decision."""

from __future__ import annotations

import pytest

from keel import rollout
from keel.deployments.history import production_since
from keel.errors import NothingToRollBackTo, NoVersionYet, RegistryUnavailable, StaleGeneration
from keel.ledger import entries as ledger
from keel.monitoring.records import ProbationDecision, StoredProbationReport
from keel.monitoring.storage import store_decision
from keel.registry.registry import Registry
from keel.window import Window
from tests.support.rollout_steps import BY
from tests.support.toy import DAY
from tests.support.versions.cloned import INVERTED, NOW, RIGHT


@pytest.fixture
def model(new_model):
    """Version 2 is in production after version 1, version 3 a candidate."""
    made = new_model(RIGHT, INVERTED, RIGHT)
    made.deploy(production=2, previous=1)
    return made


def request(model, *, version=None, run_id="rollback-1", reason="customers complain"):
    return rollout.request_rollback(
        model.ws, model.config, reason=reason, version=version, end=NOW, actor="ada", run_id=run_id
    )


def roll_back(model, decision_id, *, run_id="rollback-1"):
    return rollout.rollback(model.ws, model.config, decision_id, actor="ada", run_id=run_id)


def harm(model, version, *, target, branch="rollback", decision_id="watch-1"):
    report = StoredProbationReport(verdict="harm", sentence="It is worse.", n=900, version=version, previous=target)
    decision = ProbationDecision(
        decision_id=f"{decision_id}-{model.name}",
        model=model.name,
        version=version,
        window=Window(NOW, NOW + DAY),
        sentence="It is worse.",
        reason="It is worse.",
        verdict="harm",
        branch=branch,
        target=target,
        watched=report,
        report_id="probation-1",
    )
    return store_decision(model.ws, decision, run_id="watch-1").decision_id


def test_request_rollback_is_the_same_decision_however_often_the_run_asks(model):
    first = request(model)
    assert (first.version, first.target, first.requested_by) == (2, None, "ada")
    model.deploy(production=3, previous=2)
    assert request(model, reason="another") == first
    assert request(model, run_id="rollback-2").version == 3


def test_rollback_returns_to_the_previous_version_and_quarantines(model):
    outcome = roll_back(model, request(model).decision_id)
    assert (outcome.outcome, outcome.version, outcome.rolled_back_version) == ("rolled_back", 1, 2)
    assert model.aliases == {"production": 1}
    assert model.statuses == {1: "production", 2: "quarantined", 3: "candidate"}
    assert model.state.version_statuses[2].reason == "customers complain"
    [row] = model.rows("rollback")
    assert (row.actor, row.generation_to) == ("ada", outcome.generation)
    assert row.body["evidence"]["decision_id"] == request(model).decision_id


def test_rollback_again_changes_nothing(model):
    decision_id = request(model).decision_id
    first = roll_back(model, decision_id)
    before = model.everything()
    assert roll_back(model, decision_id) == first
    assert model.everything() == before
    with pytest.raises(StaleGeneration, match="production is version 1, not 2"):
        roll_back(model, decision_id, run_id="another")


def test_rollback_by_a_run_that_rolled_back_another_version_before(model):
    """People name runs, and a cleared run keeps its name."""
    roll_back(model, request(model).decision_id)
    model.deploy(production=3, previous=1)
    assert roll_back(model, harm(model, 3, target=1)).rolled_back_version == 3
    assert model.state.deployment.production == 1
    assert len(model.rows("rollback")) == 2


def test_rollback_to_a_named_version_archives_the_previous_one(model):
    model.deploy(production=3, previous=2)
    outcome = roll_back(model, request(model, version=1).decision_id)
    assert outcome.version == 1
    assert model.statuses == {1: "production", 2: "archived", 3: "quarantined"}


@pytest.mark.parametrize(
    ("version", "message"),
    [(3, "version 3 is candidate"), (9, "version 9 is not known"), (2, "version 2 is production")],
)
def test_rollback_to_a_version_that_never_served_is_refused_before_anything_is_stored(model, version, message):
    before = model.everything()
    with pytest.raises(NothingToRollBackTo, match=f"{message}.*versions to roll back to: 1"):
        request(model, version=version)
    assert model.everything() == before
    assert model.ws.store.decisions.list(model.name) == []


def test_rollback_without_a_previous_version_names_those_that_served(model):
    model.deploy(previous=None)
    with pytest.raises(NothingToRollBackTo, match=rf"no previous version.*: 1.*{model.name}\.rollback"):
        request(model)


def test_rollback_without_a_previous_version_any_more_names_those_that_served(model):
    decision_id = request(model).decision_id
    model.deploy(previous=None)
    with pytest.raises(NothingToRollBackTo, match=rf"no previous version.*: 1.*{model.name}\.rollback"):
        roll_back(model, decision_id)


def test_rollback_of_a_model_without_production_is_refused(new_model):
    model = new_model(RIGHT, production=None)
    with pytest.raises(NoVersionYet, match="no production version yet"):
        request(model)


def test_rollback_that_was_not_decided_changes_nothing(model, new_model):
    other = new_model(RIGHT, INVERTED)
    other.deploy(production=2, previous=1)
    notified = harm(model, 2, target=1, branch="notify")
    before = model.everything()
    for decision_id in (None, "", "watch-0", request(other).decision_id, notified):
        with pytest.raises(StaleGeneration, match="roll back"):
            roll_back(model, decision_id)
    assert model.everything() == before


def test_rollback_after_harm_goes_to_the_version_it_was_compared_with(model):
    model.deploy(production=3, previous=1)
    model.deploy(previous=2)
    assert roll_back(model, harm(model, 3, target=1)).version == 1
    [row] = model.rows("rollback")
    assert row.body["evidence"]["watched"]["verdict"] == "harm"
    assert row.body["evidence"]["report_id"] == "probation-1"


def test_rollback_resumes_a_probation_that_a_later_promotion_interrupted(model):
    model.probation(2, 1)
    model.deploy(production=3, previous=2)
    assert model.state.probation is None
    decision = request(model)
    roll_back(model, decision.decision_id)
    resumed = model.state.probation
    assert (resumed.version, resumed.previous, resumed.since) == (2, 1, NOW)
    assert resumed.until == decision.window.end + model.config.promotion.probation


def test_rollback_to_a_version_that_completed_its_probation_starts_none(model):
    model.probation(2, 1)
    state = model.state
    from keel.deployments import versions

    versions.end_probation(model.ws.store, model.ws.registry, model.name, 2, reason="fine", actor="ada", now=NOW)
    assert state.probation.version == 2
    model.deploy(production=3, previous=2)
    roll_back(model, request(model).decision_id)
    assert model.state.probation is None


def test_rollback_without_a_registry_changes_the_deployment_and_mlflow_follows_later(model, monkeypatch):
    def away(*_, **__):
        raise RegistryUnavailable("gone")

    decision_id = request(model).decision_id
    with monkeypatch.context() as patched:
        for name in ("preflight", "set_aliases"):
            patched.setattr(Registry, name, away)
        with pytest.raises(RegistryUnavailable, match="generation 3"):
            roll_back(model, decision_id)
    assert model.state.deployment.production == 1
    assert model.aliases == {"production": 2, "previous": 1}
    assert rollout.reconcile(model.ws, model.config, **BY).completed
    assert model.aliases == {"production": 1}


def test_rollback_at_a_given_time_is_in_the_ledger_at_that_time(model):
    roll_back_at = NOW - DAY
    decision = request(model)
    rollout.rollback(model.ws, model.config, decision.decision_id, now=roll_back_at, **BY)
    last = list(ledger.entries(model.ws.store, model.config.model))[-1]
    assert (last.action, last.at) == (ledger.Action.ROLLBACK, roll_back_at)
    assert production_since(ledger.entries(model.ws.store, model.config.model)) == roll_back_at

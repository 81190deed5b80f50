"""Keeping the champion: a challenger that failed is rejected, one about which nothing is known stays a candidate."""

from __future__ import annotations

import pytest

from keel import deployments, rollout
from keel.deployments.history import Status
from keel.errors import StaleGeneration
from keel.evaluation.holdout.comparison import NotShownBetter
from keel.ledger import entries as ledger
from keel.rollout.decline import reject
from tests.support.rollout_steps import BY, stage, store_comparison
from tests.support.versions.cloned import INVERTED, RIGHT


@pytest.fixture
def model(new_model):
    """Version 1 is in production, version 2 a candidate."""
    return new_model(INVERTED, RIGHT)


def keep_champion(model, report_id, **by):
    return rollout.keep_champion(model.ws, model.config, report_id, **{**BY, **by})


@pytest.mark.parametrize(("verdict", "status"), [("fail", "rejected"), ("inconclusive", "candidate")])
def test_keep_champion_rejects_only_a_challenger_that_failed(model, verdict, status):
    outcome = keep_champion(model, store_comparison(model, verdict))
    assert (outcome.outcome, outcome.version, outcome.challenger) == ("kept_champion", 1, 2)
    assert model.statuses == {1: "production", 2: status}
    [row] = model.rows("keep_champion")
    assert (row.body["run_id"], row.body["evidence"]["verdict"]) == ("run-1", verdict)


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_keep_champion_again_adds_no_row_also_in_another_run(model, verdict):
    report_id = store_comparison(model, verdict)
    first = keep_champion(model, report_id)
    before = model.everything()
    assert keep_champion(model, report_id, run_id="run-2") == first
    assert model.everything() == before


def test_keep_champion_recorded_by_release_0_1_counts(model):
    """Its evidence had fewer keys."""
    report_id = store_comparison(model, "inconclusive")
    comparison = model.ws.store.reports.get(report_id)["body"]
    old = {name: comparison[name] for name in ("report_id", "verdict", "reason", "n", "sentence", "holdout")}
    deployments.append(
        model.ws.store,
        model.name,
        actor="airflow",
        action=ledger.Action.KEEP_CHAMPION,
        body={"run_id": "run-0", "evidence": {**old, "earlier_looks": 0}},
        now=model.state.version_statuses[2].since,
    )
    keep_champion(model, report_id)
    assert len(model.rows("keep_champion")) == 1


def test_keep_champion_after_a_repeated_comparison_that_failed_rejects_it(model):
    """The same decision, versions and holdout give the same id; more labels may give another verdict."""
    report_id = store_comparison(model, "inconclusive")
    keep_champion(model, report_id)
    store_comparison(model, "fail", report_id=report_id)
    keep_champion(model, report_id)
    assert model.statuses[2] == "rejected"
    assert len(model.rows("keep_champion")) == 2


def test_keep_champion_takes_a_failed_challenger_out_of_staging(model):
    stage(model, store_comparison(model, "pass"))
    keep_champion(model, store_comparison(model, "fail", report_id="again"))
    assert model.aliases == {"production": 1}
    assert model.statuses == {1: "production", 2: "rejected"}


def test_keep_champion_leaves_a_challenger_in_production_where_it_is(model):
    report_id = store_comparison(model, "fail")
    model.deploy(production=2, previous=1)
    keep_champion(model, report_id)
    assert model.statuses == {1: "previous", 2: "production"}
    assert len(model.rows("keep_champion")) == 1


def test_keep_champion_of_an_unknown_comparison_records_nothing(model):
    before = model.everything()
    with pytest.raises(NotShownBetter, match="has no comparison"):
        keep_champion(model, "comparison-0")
    assert model.everything() == before


def test_reject_is_repeated_from_the_new_generation_if_the_deployment_changed_meanwhile(model, monkeypatch):
    change, changed = deployments.change, []

    def overtaken(*arguments, **named):
        if not changed:
            changed.append(1)
            raise StaleGeneration("another process was first")
        return change(*arguments, **named)

    monkeypatch.setattr(deployments, "change", overtaken)
    evidence = {"evidence": {"report_id": "comparison-1"}}
    reject(
        model.ws,
        model.config,
        2,
        (Status.REJECTED, "worse"),
        actor="tests",
        action=ledger.Action.DECLINE,
        identity=evidence,
        body=evidence,
    )
    assert model.statuses[2] == "rejected"
    assert model.state.version_statuses[2].reason == "worse"

"""Reconciling: interrupted changes are completed, aliases moved outside Keel are adopted and reported."""

from __future__ import annotations

import pytest

from keel import rollout
from keel.deployments import transitions
from keel.ledger import entries as ledger
from keel.store.undelivered import REPORT_KIND, UNDELIVERED
from tests.support.rollout_steps import BY
from tests.support.versions.cloned import INVERTED, NOW, RIGHT


@pytest.fixture
def model(new_model):
    return new_model(INVERTED, RIGHT)


def reconcile(model, *, run_id="run-1", adopt=True):
    return rollout.reconcile(model.ws, model.config, actor=BY["actor"], run_id=run_id, adopt=adopt)


def test_reconcile_with_nothing_to_do_finds_nothing(model):
    found = reconcile(model)
    assert (found.model, found.completed, found.findings, found.undelivered) == (model.name, False, (), ())


def test_reconcile_adopts_an_alias_that_was_moved_in_mlflow(model):
    model.ws.registry.client.set_registered_model_alias(model.name, "production", "2")
    reported = reconcile(model, adopt=False)
    assert (len(reported.findings), model.state.deployment.production) == (1, 1)
    found = reconcile(model)
    assert "production" in found.findings[0]
    assert found.out_of_band[0]["found"] == 2
    assert model.state.deployment.production == 2
    assert reconcile(model).findings == ()


def test_reconcile_completes_a_change_that_was_interrupted(model):
    before = model.state.deployment
    transitions.swap(
        model.ws.store,
        before,
        type(before)(model.name, 2, None, 1, before.generation),
        actor="tests",
        action=ledger.Action.PROMOTE,
        body={"evidence": {"sentence": "changed"}},
        now=NOW,
    )
    assert model.aliases == {"production": 1}
    found = reconcile(model)
    assert (found.completed, found.findings) == (True, ())
    assert model.aliases == {"production": 2, "previous": 1}


def test_reconcile_reports_undelivered_records_to_one_run(model):
    body = {"sentence": "A label could not be stored."}
    model.ws.store.reports.put(f"spool-{model.name}", model.name, None, REPORT_KIND, None, None, UNDELIVERED, body, NOW)
    found = reconcile(model)
    assert found.findings == found.undelivered == ("A label could not be stored.",)
    assert reconcile(model).findings == found.findings, "the same run again"
    assert reconcile(model, run_id="run-2").findings == ()

"""The production version was deleted in MLflow: the ways out that Keel names lead out."""

from __future__ import annotations

import pytest

from keel import deployments, rollout
from keel.window import now_utc
from tests.support.rollout_steps import BY
from tests.support.versions.cloned import INVERTED, RIGHT, TRAINED_UNTIL
from tests.unit.rollout.test_gate import compare, requested, trained_version
from tests.unit.rollout.test_rollbacks import request, roll_back


def delete(model, version):
    model.ws.registry.client.delete_model_version(model.name, str(version))


def reconcile(model):
    return deployments.reconcile(
        model.ws.store, model.ws.registry, model.name, actor="tests", now=now_utc(), adopt=True
    ).sentence


@pytest.fixture
def model(new_model):
    """Version 1 was in production and is deleted, version 2 was trained since."""
    made = new_model(INVERTED, RIGHT)
    made.log(TRAINED_UNTIL, days=6)
    delete(made, 1)
    return made


@pytest.mark.parametrize("reconciled", [True, False])
def test_advised_way_out_replaces_a_deleted_champion(model, reconciled):
    if reconciled:
        advice = reconcile(model)
        assert f"airflow dags trigger {model.name}.retrain" in advice
        assert f"start {model.name}.promote with its version, force and a reason" in advice
    kept = compare(model, trained_version(model))
    assert (kept.verdict, kept.next) == ("inconclusive", "keep_champion")
    assert f"start {model.name}.promote with the version, force and a reason" in kept.sentence
    forced = compare(model, requested(model, force=True))
    assert forced.next == "promote"
    assert rollout.promote(model.ws, model.config, forced.report_id, **BY).outcome == "promoted"
    reconcile(model)
    assert model.aliases == {"production": 2}
    assert model.statuses == {1: "deleted", 2: "production"}
    assert model.state.deployment.previous is None
    assert reconcile(model).startswith("MLflow agrees")


def test_rollback_from_a_deleted_version_leaves_it_deleted(new_model):
    model = new_model(RIGHT, INVERTED)
    model.deploy(production=2, previous=1)
    delete(model, 2)
    assert f"Roll back to version 1: airflow dags trigger {model.name}.rollback" in reconcile(model)
    roll_back(model, request(model).decision_id)
    assert model.aliases == {"production": 1}
    assert model.statuses == {1: "production", 2: "deleted"}
    assert reconcile(model).startswith("MLflow agrees")

"""Rollbacks by hand."""

from __future__ import annotations

import pytest

from keel import deployments, rollout
from keel.ledger import entries as ledger
from tests.support.airflow.dag_run import run
from tests.support.airflow.tide import decision_of

pytestmark = pytest.mark.usefixtures("airflow_db")

NOTIFIED = {"compose_message", "send_email", "record"}


@pytest.fixture
def replaced(tide_promoted, open_copy, needs_approval):
    return open_copy(tide_promoted)


def test_rollback_restores_the_previous_version(replaced):
    done = run("tide.rollback", reason="the quay floods unannounced")

    assert (done.state, done.path) == ("success", {"request_rollback", "rollback", *NOTIFIED})
    current = deployments.read(replaced.store, "tide")
    assert (current.production, current.previous) == (1, None)
    assert replaced.registry.aliases("tide") == {"production": 1}
    assert replaced.registry.resolve("tide", version=2).tags["keel.status"] == "quarantined"
    entry = list(ledger.entries(replaced.store, "tide", "rollback"))[-1]
    assert (entry.actor, entry.body["run_id"]) == ("dag_test", done.run_id)
    assert "the quay floods unannounced" in entry.body["evidence"]["sentence"]
    assert decision_of(replaced)["outcome"]["outcome"] == "rolled_back"
    assert decision_of(replaced)["outcome"]["notified"] == ["email"]


def test_rollback_without_a_previous_version_fails(replaced):
    run("tide.rollback", reason="the quay floods")

    done = run("tide.rollback", reason="it still floods")

    assert (done.state, done.states["request_rollback"]) == ("failed", "failed")
    assert "version 1 has no previous version" in done.xcoms["request_rollback/error"]
    assert deployments.read(replaced.store, "tide").production == 1


def test_rollback_to_an_unknown_version_fails(replaced):
    done = run("tide.rollback", reason="try another", version=9)

    assert done.state == "failed"
    assert "version 9 is not known to Keel" in done.xcoms["request_rollback/error"]
    assert "versions to roll back to: 1" in done.xcoms["request_rollback/error"]
    assert deployments.read(replaced.store, "tide").production == 2


@pytest.mark.slow
def test_promotion_of_a_rolled_back_version_fails(replaced, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "auto")
    run("tide.rollback", reason="the quay floods")

    done = run("tide.promote", version=2, reason="one more try")

    assert done.state == "failed"
    assert "version 2 is quarantined" in done.xcoms["request_promotion/error"]
    assert "keel versions reinstate tide 2" in done.xcoms["request_promotion/error"]


@pytest.mark.slow
def test_rollback_run_again_changes_nothing(replaced):
    from tests.support.airflow.tide import TURNED

    first = run("tide.rollback", logical_date=TURNED, reason="the quay floods")
    rows = [entry.hash for entry in ledger.entries(replaced.store, "tide")]

    second = run("tide.rollback", logical_date=TURNED, reason="the quay floods")

    assert (second.run_id, second.state) == (first.run_id, "success")
    assert [entry.hash for entry in ledger.entries(replaced.store, "tide")] == rows
    assert deployments.read(replaced.store, "tide").production == 1


def test_rollback_without_mlflow_changes_the_deployment(replaced, monkeypatch):
    from keel.errors import RegistryUnavailable
    from keel.registry.registry import Registry

    def unavailable(*_, **__):
        raise RegistryUnavailable("MLflow does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(Registry, "set_aliases", unavailable)
        broken.setattr(Registry, "preflight", unavailable)
        run("tide.rollback", reason="the quay floods")
    assert deployments.read(replaced.store, "tide").production == 1

    rollout.reconcile(replaced, replaced_config(), actor="test", run_id="reconcile")

    assert replaced.registry.aliases("tide") == {"production": 1}


def replaced_config():
    from tests.support.airflow.tide import tide_config

    return tide_config()

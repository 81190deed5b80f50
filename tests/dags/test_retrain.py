"""Each branch of the retraining by hand."""

from __future__ import annotations

import pytest

from keel import deployments
from keel.ledger import entries as ledger
from keel.workspace import Workspace
from tests.support.airflow.dag_run import run
from tests.support.airflow.tide import DAY, HISTORY, LAUNCH, decision_of, happen, live

pytestmark = pytest.mark.usefixtures("airflow_db")

TOLD = {"compose_message", "write_to_outbox", "record"}


def test_the_first_version_of_a_model_is_promoted(home):
    with Workspace.open(home=home) as workspace:
        live(workspace, happen(HISTORY, LAUNCH), HISTORY, LAUNCH)

        done = run("tide.retrain", end=LAUNCH.isoformat(), reason="launch")

        assert (done.state, done.path) == ("success", {"request_retrain", "retrain", "compare", "promote", *TOLD})
        assert deployments.read(workspace.store, "tide").production == 1
        assert workspace.registry.aliases("tide") == {"production": 1}
        assert decision_of(workspace)["sentence"] == "Requested: launch"
        assert decision_of(workspace)["outcome"]["outcome"] == "promoted"
        assert list(ledger.entries(workspace.store, "tide"))[-1].actor == "dag_test"


def test_a_better_challenger_is_promoted(tide):
    live(tide, happen(LAUNCH, LAUNCH + 4 * DAY, relation=-3.0), LAUNCH, LAUNCH + 4 * DAY)

    done = run("tide.retrain", end=(LAUNCH + 4 * DAY).isoformat(), reason="the tide has turned")

    assert (done.state, done.path) == ("success", {"request_retrain", "retrain", "compare", "promote", *TOLD})
    assert deployments.read(tide.store, "tide").production == 2


def test_the_same_rows_make_no_new_version_and_keep_the_champion(tide):
    done = run("tide.retrain", end=LAUNCH.isoformat(), reason="try again")

    assert (done.state, done.path) == ("success", {"request_retrain", "retrain", "compare", "keep_champion", *TOLD})
    assert [v.version for v in tide.registry.versions("tide")] == [1]
    assert deployments.read(tide.store, "tide").production == 1


def test_too_few_labelled_rows_fail_at_once_and_production_is_as_it_was(tide):
    done = run("tide.retrain", end=(HISTORY + DAY).isoformat(), reason="1_000")

    assert done.state == "failed"
    assert done.states["retrain"] == "failed"
    assert decision_of(tide)["sentence"] == "Requested: 1_000"
    assert "labelled training rows: needs at least 500 rows, got" in done.xcoms["retrain/error"]
    assert deployments.read(tide.store, "tide").production == 1

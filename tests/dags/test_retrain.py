"""Each branch of a retraining by hand."""

from __future__ import annotations

from email import message_from_string, policy

import pytest

from keel import deployments
from keel.ledger import entries as ledger
from keel.workspace import Workspace
from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import text_of
from tests.support.airflow.tide import DAY, HISTORY, LAUNCH, decision_of, happen, live

pytestmark = pytest.mark.usefixtures("airflow_db")

NOTIFIED = {"compose_message", "send_email", "record"}


def test_retrain_of_a_models_first_version_promotes_it(home):
    with Workspace.open(home=home) as workspace:
        live(workspace, happen(HISTORY, LAUNCH), HISTORY, LAUNCH)

        done = run("tide.retrain", end=LAUNCH.isoformat(), reason="launch")

        assert (done.state, done.path) == ("success", {"request_retrain", "retrain", "compare", "promote", *NOTIFIED})
        assert deployments.read(workspace.store, "tide").production == 1
        assert workspace.registry.aliases("tide") == {"production": 1}
        assert decision_of(workspace)["sentence"].endswith(": launch")
        assert decision_of(workspace)["outcome"]["outcome"] == "promoted"
        assert list(ledger.entries(workspace.store, "tide"))[-1].actor == "dag_test"
        [mail] = workspace.outbox.glob("*.eml")
        text = text_of(message_from_string(mail.read_text(), policy=policy.default))
        value = done.xcoms["retrain/return_value"]["metrics"]["brier"]
        assert f"labelled rows, brier is {value:.4f}." in text


def test_retrain_of_a_better_challenger_promotes_it(tide):
    live(tide, happen(LAUNCH, LAUNCH + 4 * DAY, relation=-3.0), LAUNCH, LAUNCH + 4 * DAY)

    done = run("tide.retrain", end=(LAUNCH + 4 * DAY).isoformat(), reason="the tide has turned")

    assert (done.state, done.path) == ("success", {"request_retrain", "retrain", "compare", "promote", *NOTIFIED})
    assert deployments.read(tide.store, "tide").production == 2


@pytest.mark.slow
def test_retrain_on_the_same_rows_registers_no_version(tide):
    done = run("tide.retrain", end=LAUNCH.isoformat(), reason="try again")

    # that nothing has changed is no reason to write to anybody
    silent = NOTIFIED - {"send_email"}
    assert (done.state, done.path) == ("success", {"request_retrain", "retrain", "compare", "keep_champion", *silent})
    assert [v.version for v in tide.registry.versions("tide")] == [1]
    assert deployments.read(tide.store, "tide").production == 1


def test_retrain_on_too_few_labelled_rows_fails_at_once(tide):
    done = run("tide.retrain", end=(HISTORY + DAY).isoformat(), reason="1_000")

    assert done.state == "failed"
    assert done.states["retrain"] == "failed"
    assert decision_of(tide)["sentence"].endswith(": 1_000")
    assert "labelled training rows: needs at least 500 rows, got" in done.xcoms["retrain/error"]
    assert deployments.read(tide.store, "tide").production == 1

"""The DAG ``keel.test_message``: whoever starts it sees whether a sample is accepted, and nobody else is told."""

from __future__ import annotations

import pytest

from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import text_of

pytestmark = pytest.mark.usefixtures("airflow_db")


def test_sample_is_sent_to_the_models_people_or_to_whom_the_run_names(tide, mailbox):
    done = run("keel.test_message", model="tide", channel="email")
    assert done.state == "success"
    [sent] = done.xcoms["send_sample/return_value"]["sent"]
    assert (sent["channel"], sent["recipient"], sent["accepted"]) == ("email", "harbour@example.com", True)

    assert run("keel.test_message", model="tide", channel="email", to="ada@example.com").state == "success"
    assert [recipients for recipients, _ in mailbox] == [["harbour@example.com"], ["ada@example.com"]]
    assert "test" in text_of(mailbox[1][1]).lower()
    assert tide.store.outbox.undelivered() == {}


@pytest.mark.parametrize(
    "params",
    [
        {"model": "tdie"},
        {"model": "tide", "to": "ada@example.com"},
        {"model": "tide", "channel": "slack", "to": "#ops"},
    ],
    ids=["unknown model", "recipient without channel", "channel without connection"],
)
def test_sample_that_nobody_accepts_fails_the_run_and_tells_nobody(tide, mailbox, params):
    done = run("keel.test_message", **params)
    assert done.state == "failed"
    assert mailbox == []
    assert tide.store.alerts.list() == []

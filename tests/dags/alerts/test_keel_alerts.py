"""The DAG ``keel.alerts`` and the deadline of a check: overdue checks, digests, and what waits."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from keel import window
from keel.monitoring import storage
from keel.monitoring.check_times import GRACE
from keel.window import now_utc
from tests.support.airflow.dag_bag import parse_dag
from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import text_of
from tests.support.airflow.tide import DAY, LAUNCH, happen, live

pytestmark = pytest.mark.usefixtures("airflow_db")

END = LAUNCH + DAY
WINDOW = {"start": LAUNCH.isoformat(), "end": END.isoformat()}
LATER = timedelta(hours=6) + GRACE
"""After a deployment, a check every six hours is overdue then."""


@pytest.fixture
def overdue(tide, monkeypatch):
    """A model that went into production so long ago that its first check should have come."""
    later = now_utc() + LATER
    monkeypatch.setattr(window, "now_utc", lambda: later)
    return tide


def look(model="tide"):
    """Do what the triggerer does when the deadline of a run has passed."""
    from keel_airflow.overdue import look_for_overdue

    asyncio.run(look_for_overdue(model, context={"dag_run": {"run_id": "r"}, "deadline": {}}))


def test_deadline_that_passes_tells_of_an_overdue_check_once(overdue, mailbox):
    look()
    look()

    [(recipients, mail)] = mailbox
    assert recipients == ["harbour@example.com"]
    assert "has not decided" in text_of(mail)


def test_deadline_of_a_run_whose_check_has_come_in_time_tells_nothing(tide, mailbox):
    look()

    assert mailbox == []
    assert tide.store.alerts.list("tide") == []


def test_overdue_check_that_comes_at_last_is_told_to_be_over(overdue, mailbox, monkeypatch):
    look()
    live(overdue, happen(LAUNCH, END), LAUNCH, END)
    monkeypatch.setattr(storage, "now_utc", window.now_utc)
    checked = parse_dag("tide.drift_check")
    assert [each.interval for each in checked.deadline] == [GRACE]
    assert run(checked, **WINDOW).state == "success", "with its deadline, Airflow raises at the end of such a run"

    look()

    assert len(mailbox) == 2
    assert "is over" in text_of(mailbox[1][1])


def test_dag_finds_nothing_and_sends_nothing_where_all_is_well(tide, mailbox):
    done = run("keel.alerts")

    assert (done.state, done.path) == ("success", {"find_overdue", "flush_digests", "send_due"})
    assert done.xcoms["find_overdue/return_value"] == {"overdue": []}
    assert done.xcoms["flush_digests/return_value"] == {"digests": 0}
    assert done.xcoms["send_due/return_value"] == {"sent": 0, "pending": 0, "failed": 0}
    assert mailbox == []


def test_dag_sends_the_digest_of_a_warning_once_its_time_has_come(tide, mailbox, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__ALERTS__DIGEST", "daily")
    live(tide, happen(LAUNCH, END, wind=1.5), LAUNCH, END)
    assert run("tide.drift_check", **WINDOW).xcoms["compose_message/return_value"]["messages"] == []
    assert run("keel.alerts").xcoms["flush_digests/return_value"] == {"digests": 0}
    assert mailbox == []

    age_entries(tide, timedelta(days=2))
    done = run("keel.alerts")

    assert done.xcoms["flush_digests/return_value"] == {"digests": 1}
    [(_, mail)] = mailbox
    assert "wind" in text_of(mail).lower()
    assert run("keel.alerts").xcoms["flush_digests/return_value"] == {"digests": 0}


def test_dag_that_failed_tells_by_its_last_task_that_it_works_again(tide, mailbox, monkeypatch):
    from keel.alerts import digest

    def damaged(*_, **__):
        raise ValueError("no digest today")

    with monkeypatch.context() as broken:
        broken.setattr(digest, "flush_digests", damaged)
        assert run("keel.alerts").state == "failed"
        assert run("keel.alerts").state == "failed"
    [(_, mail)] = mailbox
    assert "keel.alerts" in mail["Subject"]
    assert "no digest today" in text_of(mail)

    assert run("keel.alerts").state == "success"
    assert run("keel.alerts").state == "success"

    assert len(mailbox) == 2
    assert mailbox[1][1]["In-Reply-To"] == mail["Message-ID"]


def age_entries(workspace, age):
    """Let what waits for a digest have waited longer."""
    import sqlalchemy as sa

    from keel.store.database.alert_tables import digest_entries

    micros = int(age / timedelta(microseconds=1))
    with workspace.store.begin() as connection:
        earlier = {column: digest_entries.c[column] - micros for column in ("recorded_at",)}
        assert connection.execute(sa.update(digest_entries).values(**earlier)).rowcount > 0

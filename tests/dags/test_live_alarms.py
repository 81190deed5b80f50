"""What a live alarm leads to, run on a real store and a real registry."""

from __future__ import annotations

from email import message_from_string, policy

import pytest
from airflow.utils.types import DagRunType

from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import text_of
from tests.support.airflow.tide import DAY, HOUR, LAUNCH, decision_of, happen, live
from tests.support.live_alarms import judged_by, live_alarm, open_alarms

pytestmark = pytest.mark.usefixtures("airflow_db")

END = LAUNCH + DAY
SINCE = LAUNCH + 12 * HOUR
BY_ALARM = {"run_type": DagRunType.ASSET_TRIGGERED, "run_after": END}
CHECKED = {"count_window", "check_data_quality", "check_data_drift", "check_performance", "decide"}
WIND = live_alarm(since=SINCE, opened_at=END)


def mails(workspace):
    files = sorted(workspace.outbox.glob("*.eml")) if workspace.outbox.exists() else []
    return [message_from_string(file.read_text(), policy=policy.default) for file in files]


def changed_at_noon(workspace, *, wind=1.5, labels=True):
    """Let the wind change twelve hours after the launch."""
    live(workspace, happen(LAUNCH, SINCE), LAUNCH, SINCE, labels=labels)
    live(workspace, happen(SINCE, END, wind=wind), SINCE, END, labels=labels)


def test_run_by_an_alarm_checks_the_time_since_the_change_tells_people_and_closes_it(tide):
    changed_at_noon(tide)
    open_alarms(tide.store, WIND)

    done = run("tide.drift_check", **BY_ALARM)

    assert done.state == "success"
    assert {*CHECKED, "record"} <= done.path
    assert "check_again" not in done.path
    window = done.xcoms["count_window/return_value"]["window"]
    assert window == {"start": SINCE.isoformat(), "end": END.isoformat()}
    decision = decision_of(tide)
    assert "Live alarm confirmed: wind has drifted since about 2024-03-05 12:00 UTC." in decision["sentence"]
    assert judged_by(tide.store, WIND) == decision["decision_id"]
    [mail] = mails(tide)
    assert mail["Subject"].endswith("(live alarm: wind, since 2024-03-05 12:00 UTC)")
    assert "evidence 16 times the bound at which it alarms" in text_of(mail)

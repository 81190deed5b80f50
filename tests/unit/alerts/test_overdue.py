"""A check that does not come: one alert, however often it is asked for, and one message that it has come at last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keel import deployments
from keel.alerts.acknowledging import acknowledge
from keel.alerts.delivery import send_due
from keel.alerts.door import Posted, observe
from keel.alerts.findings.approval import observe_answer, observe_question
from keel.alerts.findings.failure import observe_failure
from keel.alerts.heartbeat import DIGEST_GRACE, SENDER_GRACE, heartbeat
from keel.alerts.messages.alerts import compose_alerts
from keel.alerts.overdue import find_overdue, find_owed
from keel.alerts.records import ALL_MODELS, Answer, Finding, News, Observation
from keel.alerts.silences import silence
from keel.config import Kind, ModelConfig, Severity
from keel.deployments.history import Deployment
from keel.monitoring.check_times import GRACE
from keel.registry.registry import Registry
from keel.serving.metrics import Metrics
from keel.serving.performance_metrics import PerformanceGauges
from keel.workspace import Workspace
from tests.support.alerts.story import DRIFT, Receiver, Story, drift
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from keel.store import Store

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CONFIG = toy_config(check={"schedule": "0 */6 * * *"}, alerts={"email": ["ada@example.com"]})


@pytest.fixture
def ws(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))  # who is told of what concerns no single model
    return Workspace(tmp_path, store, Registry(f"sqlite:///{tmp_path / 'mlflow.db'}"))


@pytest.fixture
def deployed(ws: Workspace) -> Workspace:
    """A model whose version went into production on Monday at noon, so that its first check is due at six."""
    deploy(ws, 1, MONDAY)
    return ws


def deploy(ws: Workspace, version: int | None, at: datetime) -> None:
    before = deployments.read(ws.store, "toy")
    body = {"evidence": {"sentence": "Moved."}}
    deployments.transitions.swap(
        ws.store, before, Deployment("toy", version), actor="tests", action="promote", body=body, now=at, statuses={}
    )


def decide(ws: Workspace, at: datetime) -> None:
    ws.store.decisions.put(f"decision-{at}", "toy", 1, None, None, "all_clear", "All clear.", {}, "run", at)


def ask(ws: Workspace, now: datetime, config: ModelConfig = CONFIG) -> list[Posted]:
    """Do what the DAG does every minute."""
    compose = partial(compose_alerts, config, now=now)
    late = [observe(ws, config, each, compose, now=now) for each in find_overdue(ws, [config], now=now)]
    return late + [observe(ws, config, each, compose, now=now) for each in find_owed(ws, [config], now=now)]


def written(ws: Workspace) -> list[str]:
    return [each["subject"] for each in ws.store.outbox.messages()]


def open_kinds(ws: Workspace) -> list[str]:
    return [each["kind"] for each in ws.store.alerts.list("toy", is_open=True)]


def test_nothing_is_found_while_checks_come(deployed: Workspace) -> None:
    assert find_overdue(deployed, [CONFIG], now=MONDAY + 6 * HOUR + GRACE) == []
    decide(deployed, MONDAY + 6 * HOUR + 2 * MINUTE)
    assert find_overdue(deployed, [CONFIG], now=MONDAY + 12 * HOUR) == []
    assert find_overdue(deployed, [toy_config()], now=MONDAY + 99 * DAY) == [], "without a schedule"


def test_overdue_check_is_told_once_however_often_it_is_asked_for(deployed: Workspace) -> None:
    late = MONDAY + 6 * HOUR + GRACE + MINUTE
    for minutes in range(0, 24 * 60, 20):
        ask(deployed, late + minutes * MINUTE)
    assert len(written(deployed)) == 1
    [alert] = deployed.store.alerts.list("toy", is_open=True)
    assert (alert["kind"], alert["severity"], alert["subject"]) == ("check_overdue", "error", "")
    assert "due on 2 March 2026, 18:00 UTC" in alert["sentence"]
    assert "It would be the first." in alert["sentence"]
    with deployed.store.connect() as connection:
        rows = connection.exec_driver_sql("SELECT count(*) FROM observations").scalar_one()
    assert rows <= 25, "asking every minute leaves a row an hour"


def test_overdue_check_is_told_again_when_a_reminder_is_due(deployed: Workspace) -> None:
    reminding = toy_config(check={"schedule": "0 */6 * * *"}, alerts={"email": ["ada@example.com"], "remind": "1d"})
    for hours in range(4 * 24):
        ask(deployed, MONDAY + hours * HOUR + MINUTE, reminding)
    assert len(written(deployed)) == 4


def test_overdue_check_that_was_silenced_is_told_when_that_ends(deployed: Workspace) -> None:
    silence(deployed, "toy", until=MONDAY + DAY, reason="planned", actor="ada", now=MONDAY)
    for hours in range(24):
        ask(deployed, MONDAY + hours * HOUR)
    assert written(deployed) == []
    for minutes in range(0, 3 * 24 * 60, 40):
        ask(deployed, MONDAY + DAY + minutes * MINUTE)
    assert len(written(deployed)) == 1


def test_overdue_check_is_told_when_the_failure_that_explained_it_is_over(deployed: Workspace) -> None:
    story = Story(deployed, CONFIG, MONDAY + 6 * HOUR)
    failed = Finding(
        kind=Kind.PIPELINE_FAILURE, subject="toy.drift_check", severity=Severity.ERROR, sentence="It failed."
    )
    story.check(failed, source="pipeline toy.drift_check")
    for hours in range(8, 24):
        ask(deployed, MONDAY + hours * HOUR)
    assert len(written(deployed)) == 1
    story.now = MONDAY + DAY
    story.check(source="pipeline toy.drift_check", examined=[Kind.PIPELINE_FAILURE])
    assert len(written(deployed)) == 2
    for minutes in range(0, 24 * 60, 40):
        ask(deployed, MONDAY + DAY + minutes * MINUTE)
    assert len(written(deployed)) == 3


def test_overdue_check_is_told_again_when_its_schedule_comes_back(deployed: Workspace) -> None:
    without = toy_config(alerts={"email": ["ada@example.com"]})
    for hours, config in [(8, CONFIG), (20, without), (21, CONFIG), (22, CONFIG)]:
        ask(deployed, MONDAY + hours * HOUR, config)
    assert len(written(deployed)) == 3
    assert open_kinds(deployed) == ["check_overdue"]


def test_check_that_comes_at_last_resolves_it_with_one_message(deployed: Workspace) -> None:
    ask(deployed, MONDAY + 8 * HOUR)
    decide(deployed, MONDAY + 9 * HOUR)
    for minutes in range(60):
        ask(deployed, MONDAY + 9 * HOUR + minutes * MINUTE)
    assert len(written(deployed)) == 2
    [alert] = deployed.store.alerts.list("toy")
    assert (alert["state"], alert["resolution"]) == ("resolved", "a check decided on 2 March 2026, 21:00 UTC")
    with deployed.store.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM observations").scalar_one() == 2


def test_check_that_is_late_again_is_a_new_alert(deployed: Workspace) -> None:
    ask(deployed, MONDAY + 8 * HOUR)
    decide(deployed, MONDAY + 9 * HOUR)
    ask(deployed, MONDAY + 9 * HOUR)
    ask(deployed, MONDAY + 13 * HOUR + MINUTE)
    assert len(written(deployed)) == 3
    assert open_kinds(deployed) == ["check_overdue"]


@pytest.mark.parametrize("how", ["no schedule", "no version"])
def test_check_that_is_not_due_any_more_resolves_it(deployed: Workspace, how: str) -> None:
    ask(deployed, MONDAY + 8 * HOUR)
    without = toy_config(alerts={"email": ["ada@example.com"]}) if how == "no schedule" else CONFIG
    if how == "no version":
        deploy(deployed, None, MONDAY + 9 * HOUR)
    ask(deployed, MONDAY + 10 * HOUR, without)
    [alert] = deployed.store.alerts.list("toy")
    assert (alert["state"], alert["resolution"]) == ("resolved", "no check is due any more")


@pytest.mark.parametrize(("dag", "messages"), [("toy.drift_check", 1), ("toy.retrain", 2)])
def test_check_that_has_failed_is_not_told_to_be_overdue_too(deployed: Workspace, dag: str, messages: int) -> None:
    story = Story(deployed, CONFIG, MONDAY + 6 * HOUR)
    failed = Finding(kind=Kind.PIPELINE_FAILURE, subject=dag, severity=Severity.ERROR, sentence="It failed.")
    story.check(failed, source=f"pipeline {dag}")
    ask(deployed, MONDAY + 8 * HOUR)
    assert sorted(open_kinds(deployed)) == ["check_overdue", "pipeline_failure"]
    assert len(written(deployed)) == messages


def question(run: str, at: datetime) -> Observation:
    return asked(3, run, at, until=at + 2 * DAY)


def asked(version: int, run: str, at: datetime, *, until: datetime) -> Observation:
    return observe_question(
        "toy", challenger=version, report_id=f"c{version}", run_id=run, answer_url=f"http://{run}", until=until, now=at
    )


def ask_a_person(ws: Workspace, run: str, at: datetime) -> Posted:
    return observe(ws, CONFIG, question(run, at), partial(compose_alerts, CONFIG, now=at), now=at)


def fail(ws: Workspace, dag_id: str, at: datetime) -> Posted:
    failed = observe_failure(dag_id=dag_id, run_id="r", task_id="a", error="no wind", model="toy", now=at)
    return observe(ws, CONFIG, failed, partial(compose_alerts, CONFIG, now=at), now=at)


def news_of(posted: list[Posted]) -> list[News]:
    return [news for each in posted for news in each.news]


def test_question_is_over_when_nobody_can_answer_it_any_more(ws: Workspace) -> None:
    ask_a_person(ws, "a", MONDAY)
    until = MONDAY + 2 * DAY
    ask(ws, until + GRACE)
    assert open_kinds(ws) == ["approval"], "the run itself says so first"
    for minutes in range(1, 10):
        ask(ws, until + GRACE + minutes * MINUTE)
    assert open_kinds(ws) == []
    assert len(written(ws)) == 2
    assert ask_a_person(ws, "b", MONDAY + 7 * DAY).message_id


@pytest.mark.parametrize("is_acknowledged", [False, True])
def test_question_that_is_asked_again_is_told_again(ws: Workspace, is_acknowledged: bool) -> None:
    ask_a_person(ws, "a/1", MONDAY)
    if is_acknowledged:
        [alert] = ws.store.alerts.list("toy")
        acknowledge(ws, alert["alert_id"], actor="ada", now=MONDAY + HOUR)
    assert ask_a_person(ws, "a/2", MONDAY + DAY).message_id
    assert ask_a_person(ws, "a/2", MONDAY + DAY).repeated
    another = asked(4, "b", MONDAY + DAY, until=MONDAY + 5 * DAY)
    told = observe(ws, CONFIG, another, partial(compose_alerts, CONFIG, now=MONDAY), now=MONDAY + DAY).news
    assert [each.alert.subject for each in told] == ["version 4"], "the other question is no news"
    ask(ws, MONDAY + 2 * DAY + 2 * HOUR)
    assert len(open_kinds(ws)) == 2, "the time of the second question is not over"


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("model", ["toy", ALL_MODELS])
def test_question_that_is_asked_under_a_silence_is_told_when_that_ends(
    ws: Workspace, is_known: bool, model: str
) -> None:
    if is_known:
        ask_a_person(ws, "a/1", MONDAY - HOUR)
    silence(ws, model, until=MONDAY + DAY, reason="planned", actor="ada", now=MONDAY)
    ask_a_person(ws, "a/2", MONDAY)
    for hours in range(24):
        ask(ws, MONDAY + hours * HOUR)
    assert len(written(ws)) == is_known
    for minutes in range(10):
        ask(ws, MONDAY + DAY + minutes * MINUTE)
    assert len(written(ws)) == is_known + 1
    *_, message = ws.store.outbox.messages()
    assert message["links"] == {"Answer": "http://a/2"}
    assert message["todo"] == ["Approve or decline it in Airflow, at the link Answer."]


def test_question_that_is_answered_or_acknowledged_under_a_silence_is_not_told(ws: Workspace) -> None:
    silence(ws, "toy", until=MONDAY + DAY, reason="planned", actor="ada", now=MONDAY)
    for version in (3, 4):
        question = asked(version, "a", MONDAY, until=MONDAY + 2 * DAY)
        observe(ws, CONFIG, question, partial(compose_alerts, CONFIG, now=MONDAY), now=MONDAY)
    first, _ = ws.store.alerts.list("toy")
    acknowledge(ws, first["alert_id"], actor="ada", now=MONDAY + HOUR)
    other = 7 - int(first["subject"].removeprefix("version "))
    answer = observe_answer("toy", challenger=other, sentence="No.", run_id="a", now=MONDAY + HOUR)
    observe(ws, CONFIG, answer, partial(compose_alerts, CONFIG, now=MONDAY), now=MONDAY + HOUR)
    ask(ws, MONDAY + DAY)
    assert written(ws) == []


def test_failure_that_no_run_repeats_is_told_with_its_error_when_a_silence_ends(ws: Workspace) -> None:
    silence(ws, ALL_MODELS, until=MONDAY + DAY, reason="planned", actor="ada", now=MONDAY)
    failed = observe_failure(
        dag_id="load", run_id="r", task_id="a", error="no wind", log_url="http://log", model=None, now=MONDAY
    )
    observe(ws, None, failed, partial(compose_alerts, None, now=MONDAY), now=MONDAY)
    assert find_owed(ws, [None], now=MONDAY + DAY - MINUTE) == []
    for minutes in range(3):
        for each in find_owed(ws, [None], now=MONDAY + DAY + minutes * MINUTE):
            observe(ws, None, each, partial(compose_alerts, None, now=each.at), now=each.at)
    [message] = ws.store.outbox.messages()
    assert (message["happened"], message["verbatim"]) == ("Task a of load failed.", "no wind")
    assert message["links"] == {"Log": "http://log"}
    assert message["todo"][0].startswith("Fix the cause")


@pytest.mark.parametrize("first", ["the look", "a check", "a failure of another run"])
def test_what_a_silence_covered_is_told_whatever_observation_comes_first(ws: Workspace, first: str) -> None:
    until = MONDAY + 4 * HOUR
    silence(ws, "toy", start=MONDAY, until=until, reason="planned", actor="ada", now=MONDAY - HOUR)
    ask_a_person(ws, "a", MONDAY + HOUR)
    fail(ws, "toy.promote", MONDAY + HOUR)
    assert ask(ws, until - MINUTE) == []
    if first == "a check":
        story = Story(ws, CONFIG, until)
        story.check(drift("x", severity=Severity.ERROR), examined=DRIFT)
        assert written(ws) == ["toy: the input x has changed"]
    elif first == "a failure of another run":
        failed = fail(ws, "toy.retrain", until).news
        assert [each.alert.subject for each in failed] == ["toy.retrain"], "its message has no words for the others"
    told = [each.alert.kind for minutes in range(9) for each in news_of(ask(ws, until + minutes * MINUTE))]
    assert sorted(told) == [Kind.APPROVAL, Kind.PIPELINE_FAILURE]


def test_failure_that_no_run_repeats_is_told_again_when_a_reminder_is_due(ws: Workspace) -> None:
    reminding = toy_config(alerts={"email": ["ada@example.com"], "remind": "1d"})
    fail(ws, "toy.promote", MONDAY)
    told = [news_of(ask(ws, MONDAY + hours * HOUR, reminding)) for hours in range(1, 72)]
    assert [hours for hours, news in enumerate(told, 1) if news] == [24, 48]
    [alert] = ws.store.alerts.list("toy")
    acknowledge(ws, alert["alert_id"], actor="ada", now=MONDAY + 3 * DAY)
    assert ask(ws, MONDAY + 9 * DAY, reminding) == []


def test_heartbeat_of_a_check_that_comes_in_time_is_alive(deployed: Workspace) -> None:
    decide(deployed, MONDAY + 6 * HOUR)
    found = heartbeat(deployed, [CONFIG], now=MONDAY + 7 * HOUR)
    assert found.is_alive
    assert found.checks == {"toy": MONDAY + 6 * HOUR}
    late = heartbeat(deployed, [CONFIG], now=MONDAY + 13 * HOUR + MINUTE)
    assert not late.is_alive
    assert "toy: the check that was due on 3 March 2026, 00:00 UTC has not decided." in late.problems[0]
    assert written(deployed) == [], "it opens no alert"


def test_heartbeat_names_messages_that_nothing_sends_and_not_those_that_wait_for_another(ws: Workspace) -> None:
    story = Story(ws, toy_config(alerts={"email": ["ada@example.com"], "digest": None, "resolve_after": 1}), MONDAY)
    story.check(drift("x", severity=Severity.ERROR), examined=DRIFT)
    quiet = [toy_config()]
    assert heartbeat(ws, quiet, now=MONDAY + SENDER_GRACE - MINUTE).is_alive
    [problem] = heartbeat(ws, quiet, now=MONDAY + SENDER_GRACE).problems
    assert problem.startswith("1 message has been due since 2 March 2026, 12:00 UTC, and nothing sends.")
    # the server is slow to recover: the sender works, and messages that follow wait for those before
    busy = Receiver(Answer(accepted=False, detail="451 try later", retry_after=3600))
    for minutes, findings in ((1, [drift("x", severity=Severity.CRITICAL)]), (2, [])):
        story.now = MONDAY + minutes * MINUTE
        story.check(*findings, examined=DRIFT)
        send_due(ws.store, {"email": busy}, busy, now=story.now, clock=lambda: story.now)
    found = heartbeat(ws, quiet, now=MONDAY + 40 * MINUTE)
    assert (found.problems, found.waiting) == ((), 3)


def test_heartbeat_names_a_digest_that_was_not_written(ws: Workspace) -> None:
    weekly = toy_config(alerts={"email": ["ada@example.com"], "digest": "weekly"})
    story = Story(ws, weekly, MONDAY)
    story.checks(2, drift("x"))
    story.send()
    sunday_night = datetime(2026, 3, 9, tzinfo=UTC)
    assert heartbeat(ws, [weekly], now=sunday_night + DIGEST_GRACE - MINUTE).is_alive
    [problem] = heartbeat(ws, [weekly], now=sunday_night + DIGEST_GRACE + MINUTE).problems
    assert problem.startswith("toy: its digest is due and was not written.")


def test_heartbeat_names_a_channel_that_takes_nothing(ws: Workspace) -> None:
    pager = toy_config(alerts={"routes": [{"channel": "pagerduty", "to": "pd"}]})
    story = Story(ws, pager, MONDAY)
    story.check(drift("x", severity=Severity.ERROR), examined=DRIFT)
    story.send()
    [problem] = heartbeat(ws, [pager], now=MONDAY).problems
    assert problem.startswith("Messages by pagerduty: pd do not arrive: pagerduty has no connection.")
    assert problem.endswith("keel alerts test --channel pagerduty")
    story.now += HOUR
    story.check(drift("z", severity=Severity.ERROR), examined=DRIFT)
    taken = Receiver(Answer(accepted=True, detail="202"))
    send_due(ws.store, {"pagerduty": taken}, taken, now=story.now, clock=lambda: story.now)
    assert heartbeat(ws, [pager], now=story.now).is_alive


def test_metrics_show_what_the_store_knows(deployed: Workspace) -> None:
    metrics = Metrics()

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    gauges = PerformanceGauges(deployed, [CONFIG], metrics)
    decide(deployed, MONDAY + 6 * HOUR)
    ask(deployed, MONDAY + 14 * HOUR)
    gauges.refresh_checks(CONFIG, now=MONDAY)
    gauges.refresh_alerts(now=MONDAY)
    assert value("keel_check_last_timestamp_seconds", model="toy") == (MONDAY + 6 * HOUR).timestamp()
    assert value("keel_check_due_timestamp_seconds", model="toy") == (MONDAY + 12 * HOUR).timestamp()
    assert value("keel_alerts_open", model="toy", severity="error") == 1
    assert value("keel_alerts_open", model="", severity="critical") == 0
    assert value("keel_alerts_undelivered", channel="email") == 1
    decide(deployed, MONDAY + 14 * HOUR)
    ask(deployed, MONDAY + 14 * HOUR + MINUTE)
    gauges.refresh_alerts(now=MONDAY)
    assert value("keel_alerts_open", model="toy", severity="error") == 0

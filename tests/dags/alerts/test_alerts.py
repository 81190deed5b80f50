"""Messages by Airflow's connections and tasks, to real servers on this machine."""

from __future__ import annotations

import json
import os
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from keel.window import HOUR, now_utc
from tests.support.airflow.mails import text_of
from tests.support.airflow.tide import DAY, LAUNCH, decision_of, happen, live

END = LAUNCH + DAY
WINDOW = {"start": LAUNCH.isoformat(), "end": END.isoformat()}


@pytest.fixture
def slack(monkeypatch):
    """A real HTTP server in place of Slack's API; its requests as (path, token, body)."""
    posted = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posted.append((self.path, self.headers["Authorization"], body))
            answer = b'{"ok": true, "channel": "C1", "ts": "1.1"}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base_url = f"http://127.0.0.1:{server.server_port}/api/"
    monkeypatch.setenv("KEEL__TIDE__ALERTS__SLACK", "'#harbour'")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(
        "AIRFLOW_CONN_SLACK_DEFAULT",
        json.dumps({"conn_type": "slack", "password": "xoxb-secret", "extra": {"base_url": base_url}}),
    )
    yield posted
    server.shutdown()
    server.server_close()


@pytest.fixture
def drifted(airflow_db, tide):
    live(tide, happen(LAUNCH, END, wind=1.5), LAUNCH, END)
    return tide


def down(monkeypatch):
    """Let the connection to the mail server lead to a port on which nothing listens."""
    no_server = {"conn_type": "smtp", "host": "127.0.0.1", "port": 1, "extra": {"disable_ssl": True, "retry_limit": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(no_server))


def deliveries(workspace):
    return {(row["channel"], row["state"]) for row in workspace.store.outbox.deliveries()}


def of_the_check(workspace, done):
    """Return the mail of a check's message, beside which there may be one about a channel."""
    messages = done.xcoms["compose_message/return_value"]["messages"]
    [found] = workspace.store.outbox.deliveries(message_ids=messages, channel="email")
    return found


def test_message_with_both_connections_leaves_by_both_channels(drifted, mailbox, slack):
    from tests.support.airflow.dag_run import run

    done = run("tide.drift_check", **WINDOW)

    assert done.state == "success"
    assert {"send_email", "post_to_slack"} <= done.path
    [(recipients, mail)] = mailbox
    assert recipients == ["harbour@example.com"]
    assert mail["From"] == "keel@example.com"
    assert "Wind" in text_of(mail)
    [(path, token, posted)] = slack
    assert (path, token, posted["channel"]) == ("/api/chat.postMessage", "Bearer xoxb-secret", "#harbour")
    assert "wind" in json.dumps(posted["blocks"])
    assert decision_of(drifted)["outcome"]["notified"] == ["email", "slack"]
    assert deliveries(drifted) == {("email", "sent"), ("slack", "sent")}
    assert not drifted.outbox.exists()


def test_xcom_has_ids_and_channels_of_messages_and_neither_text_nor_secret(drifted, mailbox, slack):
    from tests.support.airflow.dag_run import run

    done = run("tide.drift_check", **WINDOW)

    composed = done.xcoms["compose_message/return_value"]
    assert set(composed) == {"messages", "channels", "report"}
    assert composed["channels"] == ["email", "slack"]
    assert [drifted.store.outbox.message(each)["message_id"] for each in composed["messages"]] == composed["messages"]
    assert done.xcoms["send_email/return_value"] == {"sent": 1, "pending": 0, "failed": 0}
    assert "xoxb-secret" not in json.dumps(done.xcoms)
    assert "harbour@example.com" not in json.dumps(done.xcoms)


def test_second_check_of_the_same_drift_tells_nobody_again(drifted, mailbox, slack):
    from tests.support.airflow.dag_run import run

    run("tide.drift_check", **WINDOW)
    later = {"start": (LAUNCH + HOUR).isoformat(), "end": END.isoformat()}

    done = run("tide.drift_check", **later)

    assert done.xcoms["compose_message/return_value"]["messages"] == []
    assert {"send_email", "post_to_slack"}.isdisjoint(done.states)
    assert "record" in done.path
    assert (len(mailbox), len(slack)) == (1, 1)


def test_drift_without_harm_in_one_check_tells_nobody_yet(airflow_db, tide, mailbox, slack, monkeypatch):
    from tests.support.airflow.dag_run import run

    monkeypatch.setenv("KEEL__TIDE__ALERTS__FIRE_AFTER", "2")
    live(tide, happen(LAUNCH, END, wind=1.5), LAUNCH, END)

    done = run("tide.drift_check", **WINDOW)

    assert (done.state, decision_of(tide)["action"]) == ("success", "raise_alert")
    assert done.xcoms["compose_message/return_value"]["messages"] == []
    assert (mailbox, slack) == ([], [])


def test_message_that_no_mail_server_takes_waits_and_fails_no_run(drifted, monkeypatch):
    from tests.support.airflow.dag_run import run

    down(monkeypatch)

    done = run("tide.drift_check", **WINDOW)

    assert done.state == "success"
    assert done.xcoms["send_email/return_value"] == {"sent": 0, "pending": 1, "failed": 0}
    assert "record" in done.path
    waiting = of_the_check(drifted, done)
    assert (waiting["state"], waiting["tries"]) == ("pending", 1)
    assert "refused" in waiting["answer"]


def test_what_waits_is_sent_by_the_dag_of_alerts(drifted, mailbox, monkeypatch):
    from tests.support.airflow.dag_run import run

    server = os.environ["AIRFLOW_CONN_SMTP_DEFAULT"]
    down(monkeypatch)
    check = run("tide.drift_check", **WINDOW)
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", server)
    drifted.store.outbox.retry(of_the_check(drifted, check)["delivery_id"], now=now_utc())

    done = run("keel.alerts")

    assert done.state == "success"
    assert done.xcoms["send_due/return_value"]["sent"] >= 1
    sent = of_the_check(drifted, check)
    assert (sent["state"], sent["tries"]) == ("sent", 2)
    assert sum("Wind" in text_of(mail) for _, mail in mailbox) == 1


def test_message_task_that_cannot_reach_the_store_fails_no_run(drifted, mailbox, monkeypatch):
    from keel.alerts import delivery
    from keel.errors import StoreUnavailable
    from tests.support.airflow.dag_run import run

    def unavailable(*_, **__):
        raise StoreUnavailable("the store went away")

    monkeypatch.setattr(delivery, "send_due", unavailable)

    done = run("tide.drift_check", **WINDOW)

    assert done.state == "success"
    assert mailbox == []
    assert drifted.store.outbox.undelivered() == {"email": 1}


def test_failed_run_is_told_once_by_every_channel_and_so_is_that_it_works_again(
    airflow_db, tide, mailbox, slack, monkeypatch
):
    from keel import loop
    from tests.support.airflow.dag_run import run

    def unavailable(*_):
        raise ValueError("what is {{ this }}?")

    with monkeypatch.context() as broken:
        for check in ("check_data_quality", "check_data_drift", "check_performance"):
            broken.setattr(loop, check, unavailable)
        done = run("tide.drift_check", **WINDOW)
        run("tide.drift_check", **WINDOW)

    assert done.state == "failed"
    [(recipients, mail)] = mailbox
    assert recipients == ["harbour@example.com"]
    assert "drift_check failed" in mail["Subject"]
    assert "ValueError: what is {{ this }}?" in text_of(mail)
    assert "It is not an all clear" in text_of(mail)
    assert done.run_id in text_of(mail)
    [(_, _, posted)] = slack
    assert "what is {{ this }}?" in json.dumps(posted)

    live(tide, happen(LAUNCH, END), LAUNCH, END)
    assert run("tide.drift_check", **WINDOW).state == "success"

    assert len(mailbox) == 2
    again = mailbox[1][1]
    assert again["In-Reply-To"] == mail["Message-ID"]
    assert "is over" in text_of(again)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("timed_out", "the run took longer than its dagrun_timeout"),
        ("all_tasks_deadlocked", "no task of the run could start"),
    ],
)
def test_run_that_fails_without_a_failed_task_is_told_too(tide, mailbox, reason, said):
    from keel_airflow.notifications import KeelNotifier
    from tests.support.airflow.dag_bag import parse_dag

    KeelNotifier(model="tide")({"dag": parse_dag("tide.retrain"), "run_id": "manual__1", "reason": reason})

    [(recipients, mail)] = mailbox
    assert recipients == ["harbour@example.com"]
    assert said in text_of(mail)


def test_callback_of_a_task_of_any_dag_tells_of_that_task(tide, mailbox):
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    from keel_airflow.notifications import KeelNotifier

    with DAG("load_weather", schedule=None) as dag:
        load, other = EmptyOperator(task_id="load"), EmptyOperator(task_id="other")

    def context(of, state, error=None):
        ti = SimpleNamespace(task_id=of.task_id, task=of, log_url="http://log", state=state)
        return {"dag": dag, "run_id": "r", "ti": ti, **({"exception": error} if error else {})}

    told = KeelNotifier()
    told(context(load, "failed", ValueError("no wind")))
    told(context(other, "success"))
    assert len(mailbox) == 1
    assert "no wind" in text_of(mailbox[0][1])
    told(context(load, "success"))
    assert mailbox[1][1]["In-Reply-To"] == mailbox[0][1]["Message-ID"]


@pytest.mark.parametrize(("tells_success", "mails"), [(False, 2), (True, 1)])
def test_failure_of_another_day_is_told_again_where_no_success_is_seen(tide, mailbox, tells_success, mails):
    from airflow.sdk import DAG

    from keel_airflow.notifications import KeelNotifier
    from keel_airflow.runs import end_of, report_run

    told = KeelNotifier()
    also = {"on_success_callback": told} if tells_success else {}
    with DAG("load_weather", schedule=None, on_failure_callback=told, **also) as dag:
        pass
    day = datetime(2024, 3, 1, 6, tzinfo=UTC)
    ids = []
    for number, time in enumerate((day, day + timedelta(hours=6), day + timedelta(days=1))):
        end = end_of({"dag": dag, "run_id": f"r{number}", "reason": "timed_out"}, told_by=KeelNotifier)
        ids.append(report_run(tide, end, model="tide", now=time).message_id)
    assert len(set(filter(None, ids))) == mails


def test_error_is_stored_and_told_line_by_line_without_its_credentials(tide, mailbox):
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    from keel.workspace import Workspace
    from keel_airflow.notifications import KeelNotifier
    from keel_airflow.runs import push_error

    with DAG("load_weather", schedule=None) as dag:
        load = EmptyOperator(task_id="load")
    pushed = {}

    def push(*, key, value):
        pushed[key] = value

    def pull(*, key, **_):
        # of a task with a callback of its own
        return "client_secret=canary" if key == "error" else None

    error = OSError("no warehouse: client_secret=canary\nurl: postgresql://etl:canary@db/x\n" + "x" * 5_000_000)
    ti = SimpleNamespace(task_id="load", task=load, log_url="http://log", state="failed", xcom_push=push)
    context = {"dag": dag, "run_id": "r", "ti": ti, "exception": error}
    push_error(context)
    KeelNotifier()(context)
    ti.xcom_pull = pull
    KeelNotifier()(
        {"dag": dag, "run_id": "s", "ti": ti, "reason": "task_failure", "dag_run": SimpleNamespace(run_type="")}
    )

    assert pushed["error"].startswith("OSError: no warehouse: client_secret=***\nurl: postgresql://***@db/x\n")
    assert len(pushed["error"]) <= 2_000
    with Workspace.open() as workspace:
        stored = [*workspace.store.alerts.list(None), *workspace.store.outbox.deliveries()]
    assert len(mailbox) == 2
    told = "".join(text_of(mail) for _, mail in mailbox)
    assert "client_secret=***" in told
    assert "canary" not in f"{pushed} {stored} {told}"


def mapped(numbers, broken):
    """A DAG with one instance of a task for each number, of which some fail."""
    from airflow.sdk import DAG, task

    from keel_airflow.notifications import KeelNotifier

    told = KeelNotifier()

    @task(on_failure_callback=told, on_success_callback=told)
    def load(number):
        if number in broken:
            raise ValueError(f"no wind at {number}")

    with DAG("load_weather", schedule=None) as dag:
        load.expand(number=numbers)
    return dag


def test_instances_of_a_mapped_task_are_one_alert_that_counts_those_that_fail(airflow_db, tide, mailbox):
    from tests.support.airflow.dag_run import run

    def failing():
        return {row["subject"]: row["evidence"]["instances"] for row in tide.store.alerts.list(is_open=True)}

    assert run(mapped([0, 1, 2], broken={0, 2})).state == "failed"
    assert failing() == {"load_weather.load": [0, 2]}
    [(_, mail)] = mailbox
    assert re.search(r"Instance [02] of task load of load_weather failed\.", text_of(mail))  # whichever ran first
    assert "no wind at" in text_of(mail)
    run(mapped([0], broken={}))  # there is no instance 2 any more
    assert failing() == {}
    assert "is over" in text_of(mailbox[1][1])
    assert len(mailbox) == 2


def test_check_that_fails_after_it_decided_says_what_it_had_found(drifted, mailbox, monkeypatch):
    from keel import loop
    from tests.support.airflow.dag_run import run

    def unavailable(*_, **__):
        raise ValueError("no disk")

    monkeypatch.setattr(loop, "publish_report", unavailable)

    assert run("tide.drift_check", **WINDOW).state == "failed"

    [(_, mail)] = mailbox
    assert decision_of(drifted)["sentence"] in " ".join(text_of(mail).split())


def task_with(channel="email", **arguments):
    from keel_airflow.operators.sending import BY_CHANNEL

    task_id, operator = BY_CHANNEL[channel]
    task = operator(task_id=task_id, message={"messages": []})
    for name, value in arguments.items():  # as a cluster policy changes a task
        setattr(task, name, value)
    return task


@pytest.mark.parametrize(
    ("channel", "arguments"),
    [
        ("email", {"to": "a@example.com", "files": ["a.csv"], "conn_id": "other"}),
        ("slack", {"text": "hello", "slack_conn_id": "other"}),
        ("teams", {"data": "hello"}),
    ],
)
def test_provider_argument_that_would_have_no_effect_is_refused(airflow_db, home, channel, arguments):
    from airflow.sdk.exceptions import AirflowFailException

    assert task_with(channel, cc="").execute({}) == {"sent": 0, "pending": 0, "failed": 0}
    with pytest.raises(AirflowFailException, match=f"{', '.join(arguments)} would have no effect on a message"):
        task_with(channel, **arguments).execute({})


def test_tasks_of_channels_are_the_providers_operators():
    from airflow.providers.http.operators.http import HttpOperator
    from airflow.providers.slack.operators.slack import SlackAPIPostOperator
    from airflow.providers.smtp.operators.smtp import EmailOperator

    from keel_airflow.operators.sending import BY_CHANNEL

    made = {name: operator for name, (_, operator) in BY_CHANNEL.items()}
    assert issubclass(made["email"], EmailOperator)
    assert issubclass(made["slack"], SlackAPIPostOperator)
    assert issubclass(made["teams"], HttpOperator)
    assert all(operator.by == name for name, operator in made.items())

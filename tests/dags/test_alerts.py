"""Messages by Airflow's connections and provider operators, to real servers on this machine."""

from __future__ import annotations

import json
import threading
from email import message_from_string, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

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
            answer = b'{"ok": true}'
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


def body_of(mail):
    return text_of(mail)


def test_message_with_both_connections_leaves_by_both_channels(drifted, mailbox, slack):
    from tests.support.airflow.dag_run import run

    done = run("tide.drift_check", **WINDOW)

    assert done.state == "success"
    assert {"send_email", "post_to_slack"} <= done.path
    assert "write_to_outbox" not in done.states
    sentence = decision_of(drifted)["sentence"]
    [(recipients, mail)] = mailbox
    assert recipients == ["harbour@example.com"]
    assert (mail["From"], mail["Subject"]) == ("keel@example.com", "[Keel] tide: needs attention")
    assert sentence in body_of(mail)
    [(path, token, posted)] = slack
    assert (path, token, posted["channel"]) == ("/api/chat.postMessage", "Bearer xoxb-secret", "#harbour")
    assert posted["text"].startswith(f"*[Keel] tide: needs attention*\n{sentence}")
    assert decision_of(drifted)["outcome"]["notified"] == ["email", "slack"]
    assert not drifted.outbox.exists()
    assert "xoxb-secret" not in json.dumps(done.xcoms)


def test_message_with_the_mail_connection_alone_leaves_by_mail(drifted, mailbox):
    from tests.support.airflow.dag_run import run

    done = run("tide.drift_check", **WINDOW)

    assert "send_email" in done.path
    assert {"post_to_slack", "write_to_outbox"}.isdisjoint(done.states)
    assert len(mailbox) == 1


def test_message_without_a_mail_server_fails_the_run_and_reaches_the_outbox(drifted, monkeypatch):
    from tests.support.airflow.dag_run import run

    no_server = {"conn_type": "smtp", "host": "127.0.0.1", "port": 1, "extra": {"disable_ssl": True, "retry_limit": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(no_server))

    done = run("tide.drift_check", **WINDOW)

    assert done.state == "failed"
    assert (done.states["send_email"], done.states["record"]) == ("failed", "upstream_failed")
    assert decision_of(drifted)["action"] == "raise_alert"
    [file] = drifted.outbox.glob("*.eml")
    mail = message_from_string(file.read_text(), policy=policy.default)
    assert mail["Subject"] == "[Keel] tide: tide.drift_check failed"
    assert "Connection refused" in text_of(mail)


def test_failed_run_notifies_once_by_every_channel(airflow_db, tide, mailbox, slack, monkeypatch):
    from keel import loop
    from tests.support.airflow.dag_run import run

    def unavailable(*_):
        raise ValueError("what is {{ this }}?")

    for check in ("check_data_quality", "check_data_drift", "check_performance"):
        monkeypatch.setattr(loop, check, unavailable)

    done = run("tide.drift_check", **WINDOW)

    assert done.state == "failed"
    [(recipients, mail)] = mailbox
    assert recipients == ["harbour@example.com"]
    assert mail["Subject"] == "[Keel] tide: tide.drift_check failed"
    assert "This is not an all clear" in body_of(mail)
    assert "ValueError: what is {{ this }}?" in body_of(mail)
    assert done.run_id in body_of(mail)
    [(_, _, posted)] = slack
    assert "ValueError: what is {{ this }}?" in posted["text"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("timed_out", "the run took longer than its dagrun_timeout"),
        ("all_tasks_deadlocked", "no task of the run could start"),
    ],
)
def test_run_that_fails_without_a_failed_task_notifies_too(home, reason, said):
    from keel_airflow.notifications import FailureNotifier
    from tests.support.airflow.dag_bag import parse_dag

    FailureNotifier(model="tide")({"dag": parse_dag("tide.retrain"), "run_id": "manual__1", "reason": reason})

    [file] = (home / "outbox").glob("*.eml")
    mail = message_from_string(file.read_text(), policy=policy.default)
    assert mail["To"] == "harbour@example.com"
    assert said in text_of(mail)

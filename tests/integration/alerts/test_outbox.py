"""From the door to the receivers: an alert's whole life by every channel, and no credential in any row or log."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from keel.alerts.delivery import send_due
from keel.alerts.door import observe_in
from keel.alerts.outbox import EmlSender
from keel.alerts.records import Examined, Finding, Observation
from keel.config import Kind, ModelConfig, Severity
from keel.store import Store
from tests.support.alerts.canaries import APPRISE, CANARIES, KEY, TOKEN, WEBHOOK, spellings
from tests.support.alerts.channel_messages import delivery, line, message
from tests.support.alerts.formats import texts
from tests.support.alerts.mail_servers import LOGIN, PASSWORD, free_port, mail_server
from tests.support.alerts.observations import MONDAY, alerting, told_plainly
from tests.support.alerts.vendors import Receiver, receiver
from tests.support.paths import PROJECT

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),  # a server of another age
]
Connect = Callable[..., None]
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path, migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    shutil.copy(migrated_sqlite, tmp_path / "store.db")
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened


def told_by(**routes: str) -> ModelConfig:
    return alerting(email=[], routes=[{"channel": channel, "to": to} for channel, to in routes.items()])


def observe(store: Store, config: ModelConfig, at: datetime, *columns: str) -> None:
    """Let a check find that these columns are broken, and no others."""
    kind = Kind.DATA_QUALITY
    found = [Finding(kind=kind, subject=c, severity=Severity.ERROR, sentence=f"{c} is broken") for c in columns]
    observation = Observation(
        observation_id=at.isoformat(),
        model="toy",
        source="check",
        at=at,
        findings=tuple(found),
        examined=(Examined(kind=kind),),
    )
    observe_in(store, config, observation, told_plainly, now=at)


def send(store: Store, folder: Path, at: datetime) -> list[str]:
    from keel_airflow.channels import senders

    fallback = EmlSender(folder / "outbox", "keel@example.com")
    sent = send_due(store, senders(), fallback, now=at, clock=lambda: at)
    return [each.state for each in sent]


def test_alerts_that_end_one_after_the_other_are_one_post_and_an_incident_each(
    store: Store, tmp_path: Path, vendor: Receiver, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect("slack_default", conn_type="slack", password=TOKEN, extra={"base_url": f"{vendor.url}/api/"})
    config = told_by(slack="#ml", pagerduty="pager_ml")
    with receiver(tmp_path) as pager:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        connect("pager_ml", conn_type="pagerduty_events", password=KEY, host=pager.url)
        for hour, columns in enumerate((("temp", "wind"), ("wind",), ())):
            observe(store, config, MONDAY + hour * HOUR, *columns)
            assert send(store, tmp_path, MONDAY + hour * HOUR) == ["sent", "sent"]
        actions = [got.json["event_action"] for got in pager.received]
    assert actions == ["trigger", "trigger", "resolve", "resolve"]
    assert [got.path.rpartition(".")[2] for got in vendor.received] == [
        *("postMessage", "postMessage", "update", "postMessage", "update")
    ]
    one, both = (texts(got.json["blocks"]) for got in vendor.received if got.path.endswith("update"))
    assert one[0].startswith("🔴")
    assert both[0].startswith("✅"), "the first post knows of the answer between"
    assert {"over: temp is broken", "over: wind is broken"} <= {text.rstrip(".").lower() for text in both}


def test_incident_that_pagerduty_refuses_at_first_does_not_begin_after_its_end(
    store: Store, tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = told_by(pagerduty="pager_ml")
    with receiver(tmp_path) as pager:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        connect("pager_ml", conn_type="pagerduty_events", password=KEY, host=pager.url)
        for minutes, columns in enumerate((("temp",), ("wind",))):
            now = MONDAY + timedelta(minutes=minutes)
            pager.then(503)
            observe(store, config, now, *columns)
            assert send(store, tmp_path, now) == ["pending"]
        pager.received.clear()
        assert send(store, tmp_path, MONDAY + HOUR) == ["sent", "sent"]
        events = [(got.json["event_action"], got.json.get("payload", {}).get("component")) for got in pager.received]
    assert events == [("trigger", "temp"), ("trigger", "wind"), ("resolve", None)]


def test_no_credential_is_in_any_row_log_or_file(
    store: Store, tmp_path: Path, vendor: Receiver, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)  # below, libraries log whole requests: see the test of masking
    port = free_port()
    connect("slack_default", conn_type="slack", password=TOKEN, extra={"base_url": f"{vendor.url}/api/"})
    connect("teams_ml", conn_type="http", password=f"http://127.0.0.1:{port}/workflows/{WEBHOOK}?sig={WEBHOOK}")
    connect("pager_ml", conn_type="pagerduty_events", password=KEY, host=f"https://127.0.0.1:{port}")
    path = f"json://keel:{APPRISE}@127.0.0.1:{vendor.port}/{APPRISE}"
    connect("apprise_ml", conn_type="apprise", extra={"config": {"path": path}})
    config = told_by(email="ann@example.com", slack="#ml", teams="teams_ml", pagerduty="pager_ml", apprise="apprise_ml")
    with mail_server(tmp_path, login=True) as mails:
        extra = {"disable_ssl": True, "disable_tls": True}
        wrong = {"login": LOGIN, "password": PASSWORD + "!"}
        connect("smtp_default", conn_type="smtp", host="127.0.0.1", port=mails.port, extra=extra, **wrong)
        observe(store, config, MONDAY, "temp")
        vendor.careless = True
        assert sorted(send(store, tmp_path, MONDAY)) == ["failed", "pending", "pending", "pending", "pending"]
        send(store, tmp_path, MONDAY + HOUR)
    with sqlite3.connect(tmp_path / "store.db") as rows:
        dump = "\n".join(rows.iterdump())
    files = "\n".join(path.read_text(errors="replace") for path in (tmp_path / "outbox").iterdir())
    # what the servers of this test log is not Keel's
    ours = [r for r in caplog.records if not r.name.startswith(("mail.log", "uvicorn", "asyncio"))]
    logged = "\n".join(logging.Formatter().format(record) for record in ours)
    assert "535" in dump, "what was answered is there"
    for secret in CANARIES:
        for spelling in spellings(secret):
            assert spelling not in dump
            assert spelling not in files
            assert spelling not in logged


def test_airflow_masks_addresses_that_libraries_log(connect: Connect) -> None:
    from airflow.sdk.log import redact

    from keel_airflow.channels import senders

    connect("teams_ml", conn_type="http", host=f"http://127.0.0.1:{free_port()}/workflows/{WEBHOOK}?sig=x{WEBHOOK}x")
    about = message(line())
    assert not senders()["teams"].send(about, delivery(about, "teams", "teams_ml"), ()).accepted
    assert WEBHOOK not in redact(f"POST /workflows/{WEBHOOK}?sig=x{WEBHOOK}x HTTP/1.1")


def run_channels(given: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the process by which the command line sends."""
    paths = os.pathsep.join(str(PROJECT / name) for name in ("include", "plugins"))
    return subprocess.run(
        [sys.executable, "-m", "keel_airflow.channels"],
        input=json.dumps(given),
        env={**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_process_without_airflows_database_sends_by_connections_of_the_environment(
    tmp_path: Path, vendor: Receiver
) -> None:
    about = message(line())
    slack = {"conn_type": "slack", "password": TOKEN, "extra": {"base_url": f"{vendor.url}/api/"}}
    ways = [("slack", "#ml"), ("teams", "teams_ml"), ("fax", "1")]
    deliveries = [delivery(about, channel, to).to_dict() for channel, to in ways]
    done = run_channels(
        {"message": about.to_dict(), "deliveries": deliveries},
        AIRFLOW_HOME=str(tmp_path / "airflow"),
        AIRFLOW_CONN_SLACK_DEFAULT=json.dumps(slack),
    )
    assert done.returncode == 0, done.stderr
    sent, missing, unknown = json.loads(done.stdout)["answers"]
    assert (sent["accepted"], sent["no_connection"]) == (True, False)
    assert (missing["accepted"], missing["no_connection"]) == (False, True)
    assert "teams_ml" in missing["detail"]
    assert "no channel 'fax'" in unknown["detail"]
    assert vendor.received[0].json["channel"] == "#ml"


@pytest.mark.slow
def test_process_finds_connections_that_were_made_in_airflows_pages(tmp_path: Path, vendor: Receiver) -> None:
    environment = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    slack = {"conn_type": "slack", "password": TOKEN, "extra": {"base_url": f"{vendor.url}/api/"}}
    airflow = str(Path(sys.executable).parent / "airflow")
    for command in (("db", "migrate"), ("connections", "add", "slack_default", "--conn-json", json.dumps(slack))):
        made = [airflow, *command]
        subprocess.run(made, env={**os.environ, **environment}, check=True, capture_output=True, timeout=240)
    about = message(line())
    given = {"message": about.to_dict(), "deliveries": [delivery(about, "slack", "#ml").to_dict()]}
    done = run_channels(given, **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answers"][0]["accepted"], done.stdout
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize("given", ["", "no JSON", "[]", '{"message": {}}', '{"message": {}, "deliveries": []}'])
def test_process_with_input_that_it_cannot_read_says_so(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    from keel_airflow.channels.__main__ import main

    target = io.StringIO()
    assert main(io.StringIO(given), target) == 2
    assert target.getvalue() == ""
    said = capsys.readouterr()
    assert said.out == ""
    assert "the input is not valid" in said.err

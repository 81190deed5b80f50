"""The snippets of docs/alert-channels.md, each used against a real server in the vendor's place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from keel.alerts.channels import slack
from keel.config import AlertsConfig
from tests.support.alerts.channel_messages import delivery, line, message
from tests.support.alerts.formats import texts
from tests.support.alerts.mail_servers import mail_server
from tests.support.alerts.vendors import Receiver, receiver
from tests.support.paths import PROJECT

pytestmark = pytest.mark.integration
TEXT = (PROJECT / "docs" / "alert-channels.md").read_text()
EXPORTS = dict(re.findall(r"^export (\w+)='(.*)'$", TEXT, re.MULTILINE))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def accepted(channel: str, to: str) -> bool:
    from keel_airflow.channels import senders

    about = message(line())
    return senders()[channel].send(about, delivery(about, channel, to), ()).accepted


def test_routes_of_the_documentation_are_valid_and_name_its_connections() -> None:
    [snippet] = blocks("yaml")
    routes = AlertsConfig.model_validate(yaml.safe_load(snippet)["alerts"]).all_routes()
    assert {route.channel for route in routes} == {"email", "slack", "teams", "pagerduty", "apprise"}
    named = {to for route in routes if route.channel in ("teams", "pagerduty", "apprise") for to in route.to}
    assert {f"AIRFLOW_CONN_{name.upper()}" for name in named} <= set(EXPORTS)


def test_connections_of_the_documentation_send(
    tmp_path: Path, vendor: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def define(name: str, **more: object) -> None:
        fields = json.loads(EXPORTS[name].replace("https://hooks.slack.com", vendor.url)) | more
        text = json.dumps(fields).replace("https://flows.example.com", vendor.url)
        monkeypatch.setenv(name, text.replace("hooks.example.com", f"127.0.0.1:{vendor.port}"))

    define("AIRFLOW_CONN_TEAMS_ML")
    define("AIRFLOW_CONN_APPRISE_ML")
    define("AIRFLOW_CONN_SLACK_WEBHOOK_DEFAULT")
    assert accepted("teams", "teams_ml")
    assert accepted("apprise", "apprise_ml")
    assert accepted("slack", "#ml-alerts")
    define("AIRFLOW_CONN_SLACK_DEFAULT", extra={"base_url": f"{vendor.url}/api/"})
    assert accepted("slack", "#ml-alerts")
    with receiver(tmp_path) as pager:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        define("AIRFLOW_CONN_PAGERDUTY_ML", host=pager.url)
        assert accepted("pagerduty", "pagerduty_ml")
    assert [got.path.split("/")[1] for got in vendor.received] == ["workflows", "keel", "services", "api"]


def test_mail_servers_of_the_documentation_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server(tmp_path, "starttls", login=True, password="secret") as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        here = f"127.0.0.1:{server.port}"
        monkeypatch.setenv("KEEL_SMTP_URL", EXPORTS["KEEL_SMTP_URL"].replace("example.com:587", here))
        assert accepted("email", "ann@example.com")
        monkeypatch.delenv("KEEL_SMTP_URL")
        fields = json.loads(EXPORTS["AIRFLOW_CONN_SMTP_DEFAULT"]) | {"host": "127.0.0.1", "port": server.port}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(fields))
        assert accepted("email", "ann@example.com")
        assert [mail["From"] for mail in server.inbox.mails] == ["keel@example.com"] * 2


def test_template_of_the_documentation_is_a_post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [snippet] = blocks("jinja")
    (tmp_path / "slack.json.j2").write_text(snippet)
    monkeypatch.setenv("KEEL_ALERT_TEMPLATES", str(tmp_path))
    about = message(line())
    assert texts(slack.post(about)["blocks"]) == [about.happened]

"""Secrets to look for: connections of every channel that hold one each, and a search of all files for any of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.support.alerts.mail_servers import LOGIN, PASSWORD

TOKEN = "xoxb-canary-slack-token"
WEBHOOK = "canaryteamssignature"
KEY = "canarypagerdutykey0canarypagerdu"
APPRISE = "canaryapprisetoken"
CANARIES = (PASSWORD, TOKEN, WEBHOOK, KEY, APPRISE)
ROUTES = [
    {"channel": "slack", "to": "#ml"},
    {"channel": "teams", "to": "teams_ml"},
    {"channel": "pagerduty", "to": "pager_ml"},
    {"channel": "apprise", "to": "apprise_ml"},
]


def connections(port: int) -> dict[str, str]:
    """Return variables with a connection for each of `ROUTES`, at a port of the loopback address."""
    path = f"json://keel:{APPRISE}@127.0.0.1:{port}/{APPRISE}"
    found = {
        "slack_default": {
            "conn_type": "slack",
            "password": TOKEN,
            "extra": {"base_url": f"http://127.0.0.1:{port}/api/"},
        },
        "teams_ml": {
            "conn_type": "http",
            "password": f"http://127.0.0.1:{port}/workflows/{WEBHOOK}?sig={WEBHOOK}",
        },
        "pager_ml": {"conn_type": "pagerduty_events", "password": KEY, "host": f"https://127.0.0.1:{port}"},
        "apprise_ml": {"conn_type": "apprise", "extra": {"config": {"path": path}}},
    }
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in found.items()}


def mail_connection(port: int) -> dict[str, str]:
    """Return the variable with a connection to a mail server that wants a login and knows no TLS."""
    extra = {"disable_tls": True, "disable_ssl": True, "from_email": "keel@example.com"}
    value = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "login": LOGIN, "password": PASSWORD}
    return {"AIRFLOW_CONN_SMTP_DEFAULT": json.dumps({**value, "extra": extra})}


def spellings(secret: str) -> tuple[str, ...]:
    """Return a secret as it is, as in an address, and as in a header."""
    return secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()


def found_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each file below a folder that holds one of the secrets, and which: logs, databases, mails."""
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        yield from (
            (str(path.relative_to(folder)), secret)
            for secret in CANARIES
            if any(spelling.encode() in content for spelling in spellings(secret))
        )

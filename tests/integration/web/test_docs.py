"""Every ``curl`` that the documentation shows against Airflow's API server succeeds, as it is written."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.docs.curls import OTHERS, PAGES, curls
from tests.support.paths import PROJECT
from tests.support.web.api_server import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.web.api_server import ApiServer

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MODEL = "flight_delay"
"""The model of the examples. The installation of these tests has its versions under another name."""
COMMANDS = [
    (page.relative_to(PROJECT), command)
    for page in PAGES
    for command in curls(page)
    if not any(other in command for other in OTHERS)
]


def test_the_documentation_has_commands() -> None:
    assert sum(str(page) == "docs/rest.md" for page, _ in COMMANDS) >= 6


@pytest.fixture(scope="module")
def values(web: ApiServer) -> dict[str, str]:
    """Ids that exist, in place of those that the documentation makes up."""
    reports = web.ask("GET", "/drift/reports", params={"model": "tide", "kind": "drift"}).json()["reports"]
    alerts = web.ask("GET", "/models/tide/alerts").json()["alerts"]
    experiments = web.ask("GET", "/models/tide/experiments").json()["experiments"]
    return {
        "REPORT": reports[0]["report_id"],
        "ALERT": str(alerts[0]["alert_id"]),
        "EXPERIMENT": experiments[0]["experiment_id"],
    }


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}-{n}" for n, (page, _) in enumerate(COMMANDS)])
def test_every_curl_succeeds(web: ApiServer, values: dict[str, str], page: Path, command: str) -> None:
    """The address, the token and the password are those of these tests; so are the model and ids."""
    base = web.url + web.root
    text = command.replace("http://127.0.0.1:8080", base).replace(MODEL, "tide").replace("…", PASSWORD)
    text = text.replace('"distance"', '"wind"')  # a feature of this model
    environment = {**os.environ, "AIRFLOW": base, "TOKEN": web.token("olga"), "PASSWORD": PASSWORD, "NO_PROXY": "*"}
    # a failed request fails the command; the token that it prints or keeps is what it is for
    failing = 'curl() { command curl --fail-with-body "$@"; }'
    script = "\n".join([failing, text, "status=$?", "echo", 'echo "${TOKEN:0:20}"', "exit $status"])
    done = subprocess.run(
        ["bash", "-c", script], env={**environment, **values}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    printed, _, token = done.stdout.rstrip().rpartition("\n")
    assert token.startswith("ey")
    if not text.startswith("TOKEN=") and "-o " not in text and "|" not in text:
        assert json.loads(printed), command

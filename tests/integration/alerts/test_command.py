"""``keel alerts test`` and ``send`` from a terminal, against a real mail server and real receivers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from keel.config import get_model
from keel.window import now_utc
from keel.workspace import Workspace
from tests.support.alerts.mail_servers import LOGIN, PASSWORD, free_port, mail_server
from tests.support.alerts.story import HARM, Story
from tests.support.paths import PROJECT

pytestmark = pytest.mark.integration

FILE = """
model: toy
target: {name: bought, label_delay: 24h}
features: {x: numeric, z: numeric, colour: categorical}
alerts:
  email: [ann@example.com, gone@example.com]
"""


@pytest.fixture
def home(tmp_path: Path, new_home: Callable[[Path], Path]) -> Path:
    folder = new_home(tmp_path / "home")
    (folder / "models" / "toy").mkdir(parents=True)
    (folder / "models" / "toy" / "model.yaml").write_text(FILE)
    return folder


def keel(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a person does, in a process of its own."""
    environment = {
        **os.environ,
        "KEEL_HOME": str(home),
        "KEEL_MODELS_FOLDER": str(home / "models"),
        "AIRFLOW_HOME": str(home / "airflow"),
        "PYTHONPATH": str(PROJECT / "include"),
        **variables,
    }
    command = [sys.executable, "-m", "keel.cli.main", "alerts", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def smtp_url(port: int, password: str = PASSWORD) -> str:
    return (
        f"smtp://{quote(LOGIN, safe='')}:{quote(password, safe='')}@127.0.0.1:{port}?tls=starttls&from=keel@example.com"
    )


def test_sample_reaches_a_mail_server_and_each_recipients_answer_is_shown(home: Path, tmp_path: Path) -> None:
    with mail_server(tmp_path, "starttls", login=True) as server:
        server.inbox.refusals = {"gone@example.com": "550 5.1.1 no such person"}
        trusted = {"SSL_CERT_FILE": str(tmp_path / "cert.pem"), "KEEL_SMTP_URL": smtp_url(server.port)}
        done = keel(home, "test", "--channel", "email", "--json", **trusted)
    assert done.returncode == 1, done.stderr
    ann, gone = json.loads(done.stdout)
    assert (ann["recipient"], ann["accepted"]) == ("ann@example.com", True)
    assert "queued as 4711" in ann["detail"]
    assert (gone["accepted"], gone["is_final"]) == (False, True)
    assert "no such person" in gone["detail"]
    [mail] = server.inbox.mails
    assert mail["From"] == "keel@example.com"
    assert "test" in mail["Subject"].lower()
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.slow
def test_wrong_password_is_told_without_it(home: Path, tmp_path: Path) -> None:
    with mail_server(tmp_path, "starttls", login=True) as server:
        trusted = {"SSL_CERT_FILE": str(tmp_path / "cert.pem"), "KEEL_SMTP_URL": smtp_url(server.port, "canary-9f2")}
        done = keel(home, "test", "--channel", "email", "--to", "ann@example.com", **trusted)
    assert done.returncode == 1
    assert "not accepted" in done.stdout
    assert "535" in done.stdout
    assert "canary-9f2" not in done.stdout + done.stderr


@pytest.mark.slow
def test_without_a_mail_server_the_sample_is_a_file_and_the_command_says_so(home: Path) -> None:
    done = keel(home, "test", "--to", "ann@example.com", "--channel", "email")
    assert done.returncode == 0, done.stderr
    assert "written to the outbox as" in done.stdout
    assert "only a file" in done.stdout
    assert "accepted" not in done.stdout
    assert "smtp_default" in done.stdout
    [file] = (home / "outbox").glob("*.eml")
    assert file.name in done.stdout


@pytest.mark.slow
def test_connection_that_airflow_keeps_in_its_database_is_found(home: Path) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(home / "airflow")}
    port = str(free_port())
    for command in (
        ["db", "migrate"],
        ["connections", "add", "smtp_default", "--conn-type", "smtp", "--conn-host", "127.0.0.1", "--conn-port", port],
    ):
        airflow = [str(Path(sys.executable).with_name("airflow")), *command]
        subprocess.run(airflow, env=environment, check=True, capture_output=True, timeout=300)
    done = keel(home, "test", "--channel", "email", "--to", "ann@example.com")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}: connection refused" in done.stdout


@pytest.mark.slow
def test_test_of_a_store_that_is_away_works(home: Path) -> None:
    done = keel(home, "test", "--channel", "email", KEEL_STORE_URL="postgresql://nobody@127.0.0.1:1/keel")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_send_delivers_what_waits_and_tries_again_what_failed(home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(home / "models"))
    with Workspace.open(home=home, environment={}) as ws:
        Story(ws, get_model("toy"), now_utc()).check(HARM)
    away = keel(home, "send", KEEL_SMTP_URL=smtp_url(free_port()))
    assert away.returncode == 1
    assert "connection refused" in away.stdout
    assert "tried again at" in away.stdout
    assert "later: 2 by email" in away.stdout
    with Workspace.open(home=home, environment={}) as ws:
        waiting = ws.store.outbox.deliveries(state="pending")
    with mail_server(tmp_path, "starttls", login=True) as server:
        trusted = {"SSL_CERT_FILE": str(tmp_path / "cert.pem"), "KEEL_SMTP_URL": smtp_url(server.port)}
        again = keel(home, "send", "--retry", waiting[0]["delivery_id"], **trusted)
        assert again.returncode == 0, again.stdout + again.stderr
        assert len(server.inbox.mails) == 1
    assert "worse" in server.inbox.mails[0]["Subject"]

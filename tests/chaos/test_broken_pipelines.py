"""A task that raises or is killed, a scheduler that is killed, a store that is gone: the mail arrives.

Airflow's own processes run a team's own DAGs, whose callbacks are `KeelNotifier`. The mail server is a real one. ``-s``
shows the seconds from the fault to the mail.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from keel.cli.standalone.process import Part, claim_port
from keel.cli.standalone.stack import PROJECT, Stack
from tests.support.airflow.mails import text_of
from tests.support.alerts.canaries import found_in, mail_connection
from tests.support.alerts.mail_servers import LOGIN, PASSWORD
from tests.support.waiting import until

if TYPE_CHECKING:
    from keel.cli.standalone.airflow_api import AirflowApi

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TEAM = '''
"""DAGs of a team that uses Keel to be told when they fail."""
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG, task

from keel_airflow.notifications import KeelNotifier


@task(retries=0)
def load(faults: str) -> None:
    faults = Path(faults)
    fault = faults.read_text()
    if fault == "sleep":
        faults.with_suffix(".began").touch()
        time.sleep(600)
    faults.with_suffix(".at").write_text(str(time.time()))
    if fault == "raise":
        raise ValueError("the weather station does not answer")
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


for name in ("load_weather", "load_tides", "load_ships"):
    told = KeelNotifier()
    with DAG(
        name,
        schedule=None,
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        is_paused_upon_creation=False,
        on_failure_callback=told,
        on_success_callback=told,
    ):
        load(str(Path(os.environ["FAULTS"]) / name))
'''
DAGS = ("load_weather", "load_tides", "load_ships")
LATEST = 90.0
"""Seconds within which a mail must come on a busy machine; in a task's process and the DAG processor it takes a few."""


@dataclass
class Mailbox:
    """A mail server's mails, each with the time of its arrival."""

    mails: list[tuple[float, EmailMessage]] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append((time.time(), message_from_bytes(envelope.content, policy=policy.default)))
        return "250 Message accepted for delivery"

    def about(self, text: str) -> list[tuple[float, EmailMessage]]:
        return [(at, mail) for at, mail in self.mails if text in mail["Subject"]]


@dataclass
class Team:
    """A running Airflow with the team's DAGs."""

    stack: Stack
    api: AirflowApi
    mailbox: Mailbox
    faults: Path

    def run(self, dag_id: str, fault: str) -> str:
        (self.faults / dag_id).write_text(fault)
        return self.api.trigger(dag_id)

    def fault_at(self, dag_id: str) -> float:
        """Return when the task raised or was killed."""
        return float((self.faults / f"{dag_id}.at").read_text())

    def mail(self, text: str, *, number: int = 1, seconds: float = LATEST) -> tuple[float, EmailMessage]:
        until(lambda: len(self.mailbox.about(text)) >= number, seconds, every=0.05)
        return self.mailbox.about(text)[number - 1]

    def ended(self, dag_id: str, run_id: str, seconds: float = LATEST) -> str:
        until(lambda: self.api.run(dag_id, run_id)["state"] in ("success", "failed"), seconds, every=0.2)
        return str(self.api.run(dag_id, run_id)["state"])


@pytest.fixture(scope="module")
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    port, claim = claim_port(0)
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=port,
        auth_require_tls=False,
        authenticator=lambda _server, _session, _envelope, _mechanism, data: AuthResult(
            success=(data.login, data.password) == (LOGIN.encode(), PASSWORD.encode())
        ),
    )
    controller.start()
    yield box, port
    controller.stop()
    claim.close()


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, mailbox: tuple[Mailbox, int]) -> Iterator[Team]:
    folder, (box, port) = tmp_path_factory.mktemp("team"), mailbox
    dags, faults, store = folder / "dags", folder / "faults", folder / "store"
    for each in (dags, faults, store):
        each.mkdir()
    (dags / "team.py").write_text(TEAM)
    environment = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        **mail_connection(port),
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",  # in place of five minutes
        "FAULTS": str(faults),
        "KEEL_MODELS_FOLDER": str(PROJECT / "tests" / "dags" / "models"),
        "KEEL_STORE_URL": f"sqlite:///{store / 'keel.db'}",
        "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT))),
    }
    with Stack(folder / "keel", environment=environment) as stack, stack.api as api:
        api.wait_for_dags(list(DAGS), timeout=LATEST, check=stack.check)
        yield Team(stack, api, box, faults)


def test_task_that_raises_is_told_and_so_is_that_it_works_again(team: Team) -> None:
    team.run("load_weather", "raise")

    at, mail = team.mail("load_weather")
    print(f"\na task that raises: {at - team.fault_at('load_weather'):.1f} s")
    assert mail["To"] == "harbour@example.com"
    assert "the weather station does not answer" in text_of(mail) or "see the task's log" in text_of(mail)

    assert team.ended("load_weather", team.run("load_weather", "none")) == "success"
    _, again = team.mail("load_weather", number=2)
    assert again["In-Reply-To"] == mail["Message-ID"]
    assert "is over" in text_of(again)


def test_task_that_is_killed_is_told(team: Team) -> None:
    team.run("load_tides", "kill")

    at, mail = team.mail("load_tides")
    print(f"\na task killed by SIGKILL: {at - team.fault_at('load_tides'):.1f} s")
    assert "load_tides failed" in mail["Subject"]


def test_failure_while_the_store_is_gone_is_told_once_an_hour(team: Team) -> None:
    store = Path(team.stack.environment["KEEL_STORE_URL"].removeprefix("sqlite:///")).parent
    away = store.with_name("store.away")
    store.rename(away)
    store.write_text("not a folder")  # so that nobody makes another store
    try:
        before = len(team.mailbox.about("load_tides"))
        first = team.run("load_tides", "raise")
        at, mail = team.mail("load_tides", number=before + 1)
        print(f"\na store that is gone: {at - team.fault_at('load_tides'):.1f} s")
        assert "no message follows when it is over" in " ".join(text_of(mail).split())
        assert team.ended("load_tides", first) == "failed"

        told = time.time()
        assert team.ended("load_tides", team.run("load_tides", "raise")) == "failed"
        until(lambda: time.time() > told + 10, 60)
        assert len(team.mailbox.about("load_tides")) == before + 1
    finally:
        store.unlink()
        away.rename(store)


def test_run_of_a_scheduler_that_is_killed_goes_on_with_another_and_its_failure_is_told(team: Team) -> None:
    """Airflow runs the lost task again, whatever its retries, and without a callback: only what then fails is told."""
    team.run("load_ships", "sleep")
    until((team.faults / "load_ships.began").exists, LATEST)

    killed = time.time()
    kill_scheduler(team.stack)
    (team.faults / "load_ships").write_text("raise")
    time.sleep(2)
    assert team.mailbox.about("load_ships") == []
    command = [str(Path(sys.executable).parent / "airflow"), "scheduler", "--skip-serve-logs"]
    another = Part("scheduler-2", command, team.stack.environment, team.stack.logs).start()
    try:
        at, mail = team.mail("load_ships", seconds=240)
        since = at - team.fault_at("load_ships")
        print(
            f"\na scheduler killed with its tasks, another started after 2 s: {at - killed:.1f} s, of it {since:.1f} s"
        )
        assert "load_ships failed" in mail["Subject"]
    finally:
        another.stop()


def test_password_of_the_mail_server_is_in_no_file(team: Team) -> None:
    """After all tests above: whatever failed, no log, row or message has it."""
    assert team.mailbox.mails
    assert list(found_in(team.stack.home.parent)) == []


def kill_scheduler(stack: Stack) -> None:
    """Kill the scheduler and all that it has started, as the end of its container does."""
    [part] = [each for each in stack._parts if each.name == "scheduler"]
    assert part.pid is not None
    for process in psutil.Process(part.pid).children(recursive=True):
        process.kill()

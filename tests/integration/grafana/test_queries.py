"""Every query of the dashboards, on a PostgreSQL with the demo's store and on a Prometheus that scrapes its service."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pyarrow as pa
import pytest
import sqlalchemy as sa
import yaml

from keel.cli.standalone.process import LOOPBACK, claim_port
from keel.config import get_model
from keel.store import Store
from keel.store.database.migrations import reader
from keel.workspace import Workspace
from tests.support.demo_home import copy_home, copy_store, demo_home
from tests.support.grafana import queries as grafana
from tests.support.paths import PROJECT

pytestmark = [pytest.mark.integration, pytest.mark.slow]
MODEL = "flight_delay"
PROMETHEUS = shutil.which("prometheus")
SECONDS = 90
"""Longest time until the service answers and its metrics are there."""


@pytest.mark.postgres
def test_every_sql_of_the_dashboards_returns_rows_to_the_reader(new_postgres_database: Callable[..., str]) -> None:
    url = new_postgres_database()
    copy_store(demo_home(), url)
    with Store.open(url, timeout=20) as store, store.begin() as connection:
        reader.prepare(connection, "keel_grafana_test", password="hunter2", page="http://localhost/keel")
    span = {"start": "2013-01-01", "end": "2100-01-01"}
    asked = 0
    connection = psycopg2.connect(sa.make_url(url).set(username="keel_grafana_test").render_as_string())
    with connection.cursor() as cursor:
        for path in grafana.DASHBOARDS:
            for title, target in grafana.targets(grafana.read(path), "grafana-postgresql-datasource"):
                cursor.execute(grafana.sql(target["rawSql"], **span, models=[MODEL]))
                rows, names = cursor.fetchall(), [column.name for column in cursor.description or ()]
                assert rows, (path.stem, title)
                if target.get("format") == "time_series":
                    assert names == ["time", "metric", "value"], title
                    assert any(value is not None for _, _, value in rows), title
                asked += 1
    connection.close()
    assert asked > 35


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A scoring service on a copy of the demo's home, with answered requests and labels; its port."""
    home = copy_home(tmp_path_factory.mktemp("grafana") / "home")
    store_yesterday(home)
    port, _ = claim_port(0)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "KEEL_", "MLFLOW_"))}
    environment |= {"KEEL_HOME": str(home), "KEEL_SERVING_PORT": str(port), "PYTHONPATH": str(PROJECT / "include")}
    command = [sys.executable, "-m", "keel.cli.main", "serve"]
    with started(command, environment, home / "serve.log"):
        wait(lambda: httpx.get(f"http://{LOOPBACK}:{port}/ready").status_code == 200, home / "serve.log")
        yield port


def store_yesterday(home: Path) -> None:
    """Store labelled predictions of two days ago, as realised performance is of the last days."""
    config = get_model(MODEL)
    at = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=40)
    ids = [f"recent-{number}" for number in range(60)]
    with Workspace.open(home=home, environment={}) as ws:
        times = pa.array([at + timedelta(minutes=n) for n in range(60)], pa.timestamp("us", tz="UTC"))
        labels = [float(n % 2) for n in range(60)]
        log = ws.predictions(config)
        log.append(pa.table({"id": ids, "time": times, "version": pa.array([3] * 60, pa.int64()),
                             "score": [0.25 + n / 120 for n in range(60)], "prediction": labels}))  # fmt: skip
        log.add_labels(pa.table({"id": ids, "label": labels, "observed_at": times}))


class started:
    """A process in a group of its own, which ends with the block."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.command, self.environment, self.log = command, environment, log

    def __enter__(self) -> None:
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)


def wait(ready: Callable[[], Any], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)


def ask(port: int, number: int) -> None:
    """Ask for a prediction, and submit its label."""
    features = get_model(MODEL).features
    row = {name: 1.0 if kind == "numeric" else "UA" for name, kind in features.items()}
    url, name = f"http://{LOOPBACK}:{port}", f"asked-{time.time_ns()}-{number}"
    body = {"dataframe_records": [row], "ids": [name]}
    answer = httpx.post(f"{url}/models/{MODEL}/invocations", json=body)
    assert answer.status_code == 200, answer.text
    label = httpx.post(f"{url}/models/{MODEL}/feedback", json={"id": name, "label": 1.0})
    assert label.status_code == 202, label.text


@pytest.mark.skipif(PROMETHEUS is None, reason="needs tool: prometheus")
def test_every_promql_of_the_dashboards_returns_series(service: int, tmp_path: Path) -> None:
    config = yaml.safe_load((PROJECT / "prometheus" / "prometheus.yml").read_text())
    [keel] = [job for job in config["scrape_configs"] if job["job_name"] == "keel"]
    del keel["authorization"]  # without API keys the service asks for none
    keel["static_configs"] = [{"targets": [f"{LOOPBACK}:{service}"]}]
    config |= {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "scrape_configs": [keel]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(PROJECT / "prometheus" / "keel.rules.yaml", tmp_path)
    port, _ = claim_port(0)
    url = f"http://{LOOPBACK}:{port}"
    command = [str(PROMETHEUS), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
               f"--web.listen-address={LOOPBACK}:{port}"]  # fmt: skip
    expressions = [
        (f"{path.stem}: {title}", grafana.promql(target["expr"]))
        for path in grafana.DASHBOARDS
        for title, target in grafana.targets(grafana.read(path), "prometheus")
    ]
    assert len(expressions) > 25
    missing: dict[str, str] = {}
    with started(command, dict(os.environ), tmp_path / "prometheus.log"):

        def all_there() -> bool:
            ask(service, len(missing))
            missing.clear()
            for title, expression in expressions:
                answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}).json()
                assert answer["status"] == "success", (title, answer)
                if not answer["data"]["result"]:
                    missing[title] = expression
            return not missing

        try:
            wait(all_there, tmp_path / "prometheus.log")
        except AssertionError:
            pytest.fail(f"no series for {missing}")
        rules = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}
        alerts = {alert["labels"]["alertname"] for alert in httpx.get(f"{url}/api/v1/alerts").json()["data"]["alerts"]}
        assert "KeelHeartbeat" in alerts
        assert "KeelServiceDown" not in alerts

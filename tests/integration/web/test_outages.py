"""An API server below a path, whose store goes away and comes back, and whose MLflow is not there at all."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keel.cli.standalone.process import LOOPBACK
from tests.support.demo_home import copy_store
from tests.support.waiting import until
from tests.support.web.api_server import NOBODY, api_server

if TYPE_CHECKING:
    import httpx

    from tests.support.web.api_server import ApiServer

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.postgres]

ROOT = "/team/airflow"
READS = (
    "/models",
    "/models/tide/versions",
    "/models/tide/deployments",
    "/models/tide/alerts",
    "/models/tide/experiments",
    "/drift/reports?model=tide",
)
PAGES = ("/keel/", "/keel/models/tide")
PATIENCE = 15.0
"""Seconds within which an answer has come, whatever is down. Keel waits five for the store."""


class Proxy:
    """A port that leads to a server's socket, to nothing, or to silence."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.mode = "open"
        """``open``, ``closed``: connections end at once, ``silent``: no byte passes."""
        self._server = socket.create_server((LOOPBACK, 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.mode = "closed"
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                if self.mode == "closed":
                    client.close()
                    continue
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(self._target)
                for one, other in ((client, upstream), (upstream, client)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), closing(source), closing(target):
            source.settimeout(0.1)
            while self.mode != "closed":
                try:
                    data = source.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    return
                while self.mode == "silent":
                    time.sleep(0.05)
                target.sendall(data)


@contextmanager
def mode(proxy: Proxy, name: str) -> Iterator[None]:
    """Let the store be away meanwhile."""
    proxy.mode = name
    try:
        yield
    finally:
        proxy.mode = "open"


@pytest.fixture(scope="module")
def proxy(postgres_server: str, filled_home: Path) -> Iterator[Proxy]:
    """The way to a store on PostgreSQL, which has what the installation of the other tests has."""
    import psycopg2

    connection = psycopg2.connect(postgres_server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE keel_away")
        cursor.execute("SHOW unix_socket_directories")
        folder = cursor.fetchone()[0]
    connection.close()
    copy_store(filled_home, postgres_server.replace("/postgres?", "/keel_away?"))
    made = Proxy(f"{folder}/.s.PGSQL.5432")
    yield made
    made.close()


@pytest.fixture(scope="module")
def away(
    proxy: Proxy,
    tmp_path_factory: pytest.TempPathFactory,
    new_web_home: Callable[[], Path],
    web_models: Path,
    airflow_with_dags: Path,
) -> Iterator[ApiServer]:
    """The API server."""
    store = f"postgresql://postgres@{LOOPBACK}:{proxy.port}/keel_away"
    nothing = f"http://{LOOPBACK}:9"
    settings = {
        "KEEL_STORE_URL": store,
        "AIRFLOW_CONN_KEEL_STORE": store,
        "MLFLOW_TRACKING_URI": nothing,
        "AIRFLOW_CONN_MLFLOW_DEFAULT": nothing,
    }
    folder = tmp_path_factory.mktemp("away")
    with api_server(folder, new_web_home(), web_models, database=airflow_with_dags, root=ROOT, **settings) as server:
        yield server


def ask(server: ApiServer, path: str, **request: object) -> httpx.Response:
    begun = time.monotonic()
    answer = server.ask("GET", path, **request)
    assert time.monotonic() - begun < PATIENCE, path
    return answer


def test_below_a_path_everything_is_there(away: ApiServer) -> None:
    for path in (*READS, *PAGES):
        assert ask(away, path).status_code == 200, path
        assert ask(away, path, user=NOBODY).status_code == 401, path


def test_runs_start_below_a_path(away: ApiServer) -> None:
    answer = away.ask("POST", "/models/rollback", json={"model": "tide"})
    assert answer.status_code == 202, answer.text
    base = away.url + ROOT
    assert all(answer.json()[name].startswith(f"{base}/") for name in ("url", "status_url"))
    assert away.ask("GET", answer.json()["status_url"].removeprefix(base)).json()["triggering_user_name"] == "olga"


def test_pages_below_a_path_link_below_it(away: ApiServer) -> None:
    for path in PAGES:
        text = ask(away, path).text
        addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', text)
        assert addresses, path
        assert [address for address in addresses if not address.startswith(f"{ROOT}/")] == [], path
        for address in {address for address in addresses if "/static/" in address}:
            assert ask(away, address.removeprefix(ROOT)).status_code == 200, address


def test_views_in_airflow_lead_below_the_path(away: ApiServer) -> None:
    plugins = ask(away, "/api/v2/plugins", user="admin").json()["plugins"]
    views = [view for plugin in plugins for view in plugin["external_views"] if plugin["name"] == "keel"]
    assert {view["destination"] for view in views} == {"nav", "dag"}
    assert all(view["href"].startswith(f"{ROOT}/keel/") for view in views)


@pytest.mark.parametrize("how", ["closed", "silent"])
def test_a_store_that_is_away_is_named_and_comes_back(away: ApiServer, proxy: Proxy, how: str) -> None:
    with mode(proxy, how):
        for path in READS[:3]:
            answer = ask(away, path)
            assert answer.status_code == 503, (path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert "postgres" not in answer.text.lower(), "the address of the store is nobody's business"
        page = ask(away, PAGES[0])
        assert page.status_code == 503
        assert "postgres" not in page.text.lower()
        assert page.headers["content-type"].startswith("text/html")
        assert ask(away, "/api/v2/version").status_code == 200
    until(lambda: ask(away, READS[0]).status_code == 200, 30)


def test_a_store_that_is_silent_leaves_airflow_its_threads(away: ApiServer, proxy: Proxy) -> None:
    """Sixty requests of Keel's wait; Airflow has forty threads, and answers at once all the same."""
    with mode(proxy, "silent"), ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(away.ask, "GET", READS[n % len(READS)]) for n in range(60)]
        time.sleep(1)
        slowest = 0.0
        for _ in range(10):
            begun = time.monotonic()
            assert away.ask("GET", "/api/v2/dags", user="vera").status_code == 200
            slowest = max(slowest, time.monotonic() - begun)
        answers = [each.result() for each in asked]
    assert slowest < 3
    assert {answer.status_code for answer in answers} == {503}
    assert all(answer.headers["retry-after"] for answer in answers)
    until(lambda: ask(away, READS[0]).status_code == 200, 30)


def test_a_registry_that_is_away_is_named(away: ApiServer) -> None:
    """What is stored is answered without it; a question that needs a version's files is not."""
    assert ask(away, READS[1]).status_code == 200

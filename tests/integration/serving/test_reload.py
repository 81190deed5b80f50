"""Promotion and rollback under load: no request fails, and a version answers within one poll plus its load time."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pytest

from tests.support.serving.process import ROW, ForkedServing, Serving, copy_home, deploy, make_home, stored_ids
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow]
POLL_SECONDS = 2.0
"""The default, for which the documented times hold."""
CLIENTS = 4


@dataclass
class Load:
    """Clients that send one request after the other. seen: (when, status, version) of each answer."""

    url: str
    seen: list[tuple[float, int, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self):
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _send(self, worker):
        number = 0
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as client:
            while not self._end.is_set():
                body = {"dataframe_records": [ROW], "keel": {"ids": [f"{worker}-{number}"]}}
                try:
                    answer = client.post("/invocations", json=body)
                except httpx.HTTPError as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                    continue
                self.seen.append((time.monotonic(), answer.status_code, answer.headers.get("x-keel-version", "")))
                if answer.status_code == 200:
                    self.ids.append(f"{worker}-{number}")
                number += 1

    def first(self, version, since):
        """Wait until ``version`` answers; return how many seconds after ``since`` that happened."""
        deadline = time.monotonic() + 60
        while True:
            for at, _, number in list(self.seen):
                if at > since and number == version:
                    return at - since
            assert time.monotonic() < deadline, f"version {version} never answered"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reload")
    return copy_home(make_home(folder / "trained", versions=2), folder)


def test_promotion_and_rollback_under_load_fail_no_request(home, capsys):
    with Serving(home, KEEL_SERVING_POLL=str(POLL_SECONDS)) as serving, Load(serving.url) as load:
        load.first("1", time.monotonic())
        promoted_at = deploy(home, 2, now=datetime.now(UTC))
        promoted = load.first("2", promoted_at)
        took = float(re.search(r"version 2 loaded in ([\d.]+) s", serving.logged())[1])
        time.sleep(1.0)
        rolled_back_at = deploy(home, 1, now=datetime.now(UTC))
        rolled_back = load.first("1", rolled_back_at)
        time.sleep(1.0)
        state = serving.client.get("/version").json()["models"]["toy"]
        load.__exit__()
        assert serving.stop() == 0
        with capsys.disabled():
            rate = len(load.seen) / (load.seen[-1][0] - load.seen[0][0])
            print(
                f"\npromotion: version 2 after {promoted:.2f} s (poll {POLL_SECONDS:.0f} s, load {took:.2f} s); "
                f"rollback: version 1 after {rolled_back:.2f} s (in memory); {len(load.seen):,} requests "
                f"({rate:,.0f}/s), {len(load.failures)} failed"
            )
    assert load.failures == []
    assert {status for _, status, _ in load.seen} == {200}
    assert promoted <= POLL_SECONDS + took + 0.5
    assert rolled_back <= POLL_SECONDS + 0.5, "the previous version is in memory"
    assert state["in_memory"] == [1, 2]
    assert "version 1 loaded" not in serving.logged().partition("version 2 answers now")[2], "not loaded again"
    # half a second for requests in progress, and for a busy machine
    after = [number for at, _, number in load.seen if at > promoted_at + promoted + 0.5 and at < rolled_back_at]
    assert set(after) == {"2"}, "the old version answers no request any more"
    assert sorted(load.ids) == sorted(stored_ids(home))
    assert len(load.ids) == len(set(load.ids)) == len(load.seen)


def test_version_that_cannot_be_loaded_leaves_the_one_that_answers(home):
    with ForkedServing(home) as serving:
        deploy(home, 99, now=datetime.now(UTC))
        until(lambda: "version 99 cannot be loaded" in serving.logged())
        answer = serving.predict()
        assert (answer.status_code, answer.headers["x-keel-version"]) == (200, "1")
        assert serving.client.get("/ready").status_code == 200
        assert "99" in serving.client.get("/version").json()["models"]["toy"]["errors"]
        assert serving.metric("keel_reloads_total", outcome="failed") >= 1


FIRST_LOAD = """
import sys
from keel.config import load_models
from keel.serving.models.loader import ModelLoader
from keel.serving.models.loaded_version import preload
from keel.workspace import Workspace
import keel.serving.http.app

with Workspace.open() as ws:
    preload()
    before = set(sys.modules)
    loader = ModelLoader(ws, load_models().values())
    loader.refresh()
    assert loader.loads["toy", "loaded"], loader.missing
    print(*sorted(set(sys.modules) - before))
"""


def test_preload_imports_the_libraries_of_the_first_load(home):
    """Imports would take seconds of the first load; few modules may be left to it."""
    environment = Serving(home).environment
    found = subprocess.run(
        [sys.executable, "-c", FIRST_LOAD], env=environment, cwd=home, text=True, capture_output=True, check=True
    )
    libraries = {"mlflow", "sklearn", "skops", "pandas", "scipy", "sqlalchemy", "alembic", "pyarrow"}
    imported = [module for module in found.stdout.split() if module.partition(".")[0] in libraries]
    assert len(imported) < 60, imported

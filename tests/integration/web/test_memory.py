"""The API server's memory: what Keel's endpoints and pages add to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.web.test_every_route import CALLS
from tests.support.web.api_server import ApiServer, api_server

if TYPE_CHECKING:
    import httpx

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MOST = 100 * 2**20
"""Bytes that the server may grow by."""
ROUNDS = 30
HEAVY = ("mlflow", "sklearn", "scipy", "pandas")


@pytest.fixture(scope="module")
def fresh(
    tmp_path_factory: pytest.TempPathFactory,
    new_web_home: Callable[[], Path],
    web_models: Path,
    airflow_with_dags: Path,
) -> Iterator[ApiServer]:
    """A server that nobody has asked anything of Keel's."""
    folder = tmp_path_factory.mktemp("memory")
    with api_server(folder, new_web_home(), web_models, database=airflow_with_dags) as server:
        yield server


def test_every_question_asked_often_grows_the_server_by_little(fresh: ApiServer) -> None:
    for path in ("/api/v2/dags", "/api/v2/dags/tide.drift_check/dagRuns", "/api/v2/plugins"):
        assert fresh.ask("GET", path, user="admin").status_code == 200
    before = fresh.resident_bytes()
    ids = {"model": "tide", "report_id": "none", "alert_id": "none", "experiment_id": "none", "silence_id": "none"}
    reads = [call for call in CALLS if call.method == "GET"]

    def one_round(_: int) -> list[httpx.Response]:
        return [call.send(fresh, ids, user="olga") for call in reads]

    first = {call.id: answer.status_code for call, answer in zip(reads, one_round(0), strict=True)}
    once = fresh.resident_bytes()
    with ThreadPoolExecutor(8) as pool:
        answers = [answer for answers in pool.map(one_round, range(ROUNDS)) for answer in answers]
    grown = fresh.resident_bytes() - before
    print(f"{(once - before) / 1e6:.0f} MB after {len(reads)} requests, {grown / 1e6:.0f} MB after {len(answers)} more")
    assert set(first.values()) <= {200, 404}, first
    assert {answer.status_code for answer in answers} <= {200, 404, 503}
    assert grown < MOST


def test_nothing_heavy_is_loaded(fresh: ApiServer) -> None:
    """The shared libraries of these packages are not mapped into the server's process, whatever was asked of it."""
    [process] = fresh.processes()
    loaded = {Path(each.path).as_posix() for each in process.memory_maps()}
    found = [path for path in loaded if any(f"/site-packages/{name}/" in path for name in HEAVY)]
    assert found == []

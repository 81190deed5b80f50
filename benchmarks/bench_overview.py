"""Time Keel's overview beside Evidently's UI: ``python -m benchmarks.bench_overview``.

Keel: Airflow's API server with the plugin, on a store of 50 models with a year of hourly counts, and checks every six
hours: 73,000 checks with 365,000 reports. A request is the whole page, of a user who is logged in. Evidently: its UI on
a project a model, with twenty reports each, as many as the page draws; a listing is its list of projects, and the list
of reports of each. Both servers run at the same time, and are asked in turns: first right after their start, then
again. Later figures are the median of the rounds. Evidently's UI keeps the metadata of all reports in memory after its
first listing; Keel's page keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil

from benchmarks.bench_drift import PEERS, ROOT, ensure_peers
from keel.cli.standalone.process import LOOPBACK, claim_port
from keel.store import Store
from tests.support import fleet_world
from tests.support.web.api_server import ApiServer, airflow_database, api_server

SECONDS, TIMES_FASTER, MEGABYTES = 0.3, 10, 100
"""The goals: of a page right after the start, against Evidently, and of the memory that the API server gains."""


Taken = tuple[float, float]


@contextmanager
def evidently_ui(folder: Path, projects: list[str]) -> Iterator[tuple[Callable[[], int], psutil.Process]]:
    """Start Evidently's UI on a workspace. Yields a function that lists all reports, and the process."""
    port, claim = claim_port(0)
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    command = [str(PEERS / "bin" / "evidently"), "ui", "--workspace", str(folder), "--port", str(port)]
    with closing(claim), (folder.parent / "evidently.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{LOOPBACK}:{port}", timeout=1800, trust_env=False) as client:
                _wait(client)

                def listed() -> int:
                    assert len(_answer(client, "/api/projects")) >= len(projects)
                    return sum(len(_answer(client, f"/api/projects/{each}/reports")) for each in projects)

                yield listed, psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait()


def _answer(client: httpx.Client, path: str) -> list[object]:
    response = client.get(path)
    response.raise_for_status()
    found: list[object] = response.json()
    return found


def _wait(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            if client.get("/api/version").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit("Evidently's UI does not answer; see evidently.log")


def timed(work: Callable[[], object], processes: list[psutil.Process]) -> Taken:
    """Return the seconds that a call takes, and the processor's seconds of the server's processes."""
    started, used = time.perf_counter(), _used(processes)
    work()
    return time.perf_counter() - started, _used(processes) - used


def _used(processes: list[psutil.Process]) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def overview(server: ApiServer, models: int) -> Callable[[], None]:
    """Return a function that reads the overview, and checks that every model is in it."""
    headers = server.headers("admin")  # the login is no part of a request

    def read() -> None:
        page = server.client.get("/keel/", headers=headers)
        page.raise_for_status()
        assert all(name in page.text for name in fleet_world.names(models))

    return read


def memory(server: ApiServer) -> int:
    """Return the bytes that belong to the API server's processes alone, as what they share counts once."""
    return sum(psutil.Process(each.pid).memory_full_info().uss for each in server.processes())


def made_store(home: Path, url: str, models: int, days: int) -> float:
    """Fill a store, unless it is filled, and return its size in gigabytes where it is a file."""
    file = home / "keel.db"
    with Store.open(url or f"sqlite:///{file}") as store:
        if not store.fleet.last_checks(fleet_world.names(models)):
            fleet_world.fill(store, models=models, days=days, now=datetime.now(UTC))
    return file.stat().st_size / 1e9 if not url else 0.0


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Run both servers and print the figures."""
    home, models = folder / "home", folder / "models"
    for each in (home, models, folder / "none", folder / "server"):
        each.mkdir(parents=True, exist_ok=True)
    fleet_world.configure(models, options.models)
    size = made_store(home, options.store_url, options.models, options.days)
    database = airflow_database(folder / "airflow", home, folder / "none")
    python = str(PEERS / "bin" / "python")
    fill = [python, str(ROOT / "benchmarks" / "overview_evidently.py"), str(folder / "evidently")]
    made = subprocess.run(
        [*fill, str(options.models), str(options.reports)], env={**os.environ, "DO_NOT_TRACK": "1"},
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    projects = json.loads(made.stdout.splitlines()[-1])
    settings = {"KEEL_STORE_URL": options.store_url} if options.store_url else {}
    with (
        api_server(folder / "server", home, models, database=database, **settings) as server,
        evidently_ui(folder / "evidently", projects) as (listing, other),
    ):
        read = overview(server, options.models)
        server.ask("GET", "/keel/", user="")  # loads the plugin; nobody is logged in, so that nothing is read
        before = memory(server)
        ours, theirs = server.processes(), [other]
        keel, evidently = [timed(read, ours)], [timed(listing, theirs)]
        for _ in range(options.rounds):
            keel.append(timed(read, ours))
            evidently.append(timed(listing, theirs))
        for _ in range(50):
            read()
        gained = (memory(server) - before) / 2**20
        print(table(keel, evidently, gained, size, options))


def table(keel: list[Taken], evidently: list[Taken], gained: float, size: float, options: argparse.Namespace) -> str:
    """Return the figures as text, with the goals. The first request of each server reads everything anew."""
    kind = "PostgreSQL" if options.store_url else f"SQLite, {size:.1f} GB"
    lines = [
        f"{options.models} models, {options.days} days, {options.models * options.days * 4:,} checks ({kind}); "
        f"Evidently: {options.models * options.reports:,} reports; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.0f}",
        "",
        f"{'':28} {'Keel':>10} {'Evidently':>10} {'ratio':>8}",
        _line("first request, ms", keel[0][0], evidently[0][0]),
        _line("processor time of it, ms", keel[0][1], evidently[0][1]),
    ]
    again = [(statistics.median(each[i] for each in keel[1:]), statistics.median(each[i] for each in evidently[1:]))
             for i in (0, 1)]  # fmt: skip
    lines += [_line("again, ms", *again[0]), _line("processor time of it, ms", *again[1])]
    in_time = _met(keel[0][0] <= SECONDS), _met(again[0][0] <= SECONDS)
    ratio, later = evidently[0][0] / keel[0][0], again[0][1] / again[0][0]
    lines += [
        f"API server's memory after {len(keel) + 50} pages: {gained:+.0f} MB",
        f"goal: at most {1e3 * SECONDS:.0f} ms: first {in_time[0]}, again {in_time[1]}",
        f"goal: at least {TIMES_FASTER} times faster than Evidently: "
        f"first {_met(ratio >= TIMES_FASTER)} ({ratio:.1f}), again {_met(later >= TIMES_FASTER)} ({later:.1f})",
        f"goal: less than {MEGABYTES} MB more: {_met(gained < MEGABYTES)}",
    ]
    return "\n".join(lines)


def _line(title: str, keel: float, evidently: float) -> str:
    ratio = f"{evidently / keel:8.1f}" if keel else ""
    return f"{title:28} {1e3 * keel:10,.0f} {1e3 * evidently:10,.0f} {ratio}"


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--reports", type=int, default=20, help="of each project in Evidently")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store-url", default="", help="a store on PostgreSQL; it is filled where it is empty")
    parser.add_argument("--keep", type=Path, help="a folder whose store is filled once, and kept")
    options = parser.parse_args()
    ensure_peers()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="keel-bench-", dir=options.keep) as name:
        folder = Path(name)
        if options.keep:
            (options.keep / "home").mkdir(exist_ok=True)
            (folder / "home").symlink_to(options.keep.resolve() / "home")
        compare(folder, options)


if __name__ == "__main__":
    sys.exit(main())

"""Benchmark of the scoring service against ``mlflow models serve``: ``python -m benchmarks.bench_serving``.

Both serve the flights' pipeline to the same client. Keel logs every prediction (fsync) and runs an A/B test between two
versions; MLflow serves the first of them. All servers run all the time, one process each. The client measures one
server after the other. A comparison is the median over rounds of two measurements of the same round, so that a slow
moment of the machine affects both. A measurement starts when the rows of the one before are in the store, and its CPU
time includes shipping to the store. So CPU time shows the cost of logging whatever else the machine does. It does not
show what waits for logging: on a free core, the database works in parallel to the requests.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil

from keel import loop, rollout
from keel.cli.standalone.replay import replay
from keel.config import get_model
from keel.deployments import experiments
from keel.evaluation.experiment.plan import Plan, Stage
from keel.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
MODEL = "flight_delay"
BEGIN, TRAINED = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 4, 25, tzinfo=UTC)
BY = {"actor": "benchmark", "run_id": "benchmark"}
BODIES = 200
"""Number of different requests of each size."""
GOAL_TIMES, GOAL_LOGGING = 2.0, 0.10
TITLES = {"mlflow": "mlflow models serve", "keel": "Keel, logging and A/B on", "unlogged": "Keel, A/B on, logging off"}


@dataclass
class Server:
    """A server process that answers at ``url``."""

    name: str
    url: str
    ready: str
    """URL that shows readiness: MLflow's answers; Keel's names the experiment once it has taken effect."""
    process: subprocess.Popen[bytes]
    latencies: dict[tuple[int, int], list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    """In seconds, by rows and connections, of each round."""
    cpu: dict[tuple[int, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    """CPU time in milliseconds per request, of each round."""

    def until_ready(self, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with suppress(OSError):  # it does not listen yet
                status = _get(self.ready)
                if self.name == "mlflow" or json.loads(status)["models"][MODEL]["experiment"]:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} is not ready within {seconds:.0f} s; see its log")
            time.sleep(0.2)

    def settle(self, seconds: float = 60) -> None:
        """Wait until logged rows are in the store."""
        deadline = time.monotonic() + seconds
        while self.name != "mlflow" and json.loads(_get(self.ready))["spool"]["records"]:
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name} does not store its logged rows within {seconds:.0f} s")
            time.sleep(0.2)

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server has used, in seconds."""
        own = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def percentile(self, cell: tuple[int, int], share: float) -> float:
        """Return a latency in milliseconds, of all rounds together."""
        return float(np.quantile(np.concatenate(self.latencies[cell]), share)) * 1e3

    def rates(self, cell: tuple[int, int]) -> list[float]:
        """Return requests a second, of each round."""
        return [cell[1] / statistics.fmean(latencies) for latencies in self.latencies[cell]]

    def medians(self, cell: tuple[int, int]) -> list[float]:
        return [statistics.median(latencies) for latencies in self.latencies[cell]]


def make_home(home: Path, *, thin: int = 8) -> None:
    """Train two versions on some of the flights, put the first into production and start an experiment between them."""
    config = get_model(MODEL)
    assert config.retrain is not None
    history = import_module(config.retrain.pipeline).labelled_history(config)
    rows = history.take(np.arange(0, history.num_rows, thin))
    with Workspace.open(home=home, environment={}) as ws:
        replay(ws, config, rows, start=BEGIN, end=TRAINED)
        for number, end in enumerate((TRAINED, TRAINED - timedelta(days=7)), 1):
            window = loop.resolve_window(config, end=end, now=TRAINED)
            decision = loop.request_retrain(ws, config, window=window, reason="benchmark", run_id=f"run-{number}")
            made = loop.retrain(ws, config, decision, **BY)
            if number == 1:
                rollout.promote(ws, config, rollout.compare(ws, config, made).report_id, **BY)
        plan = Plan(
            "benchmark", MODEL, 1, 2, "ab", (Stage(0.5),), "salt", "brier", 0.0, 0.05, 10_000_000, datetime.now(UTC)
        )
        evidence = {"sentence": "for the benchmark"}
        experiments.start(ws.store, plan, actor="benchmark", now=plan.started_at, evidence=evidence, run_id=None)
        ws.registry.fetch(MODEL, 1, _made(home / "served"))


def write_bodies(home: Path, sizes: list[int]) -> dict[int, Path]:
    """Write requests of so many rows, from flights that no version was trained on; return the files."""
    config = get_model(MODEL)
    assert config.retrain is not None
    history = import_module(config.retrain.pipeline).labelled_history(config)
    later = history.slice(history.num_rows // 2)
    columns = list(config.features)
    files = {}
    for size in sizes:
        lines = []
        for number in range(BODIES):
            rows = later.slice(number * size, size)
            data = list(zip(*(rows[name].to_pylist() for name in columns), strict=True))
            lines.append(json.dumps({"dataframe_split": {"columns": columns, "data": data}}))
        files[size] = home / f"bodies-{size}"
        files[size].write_text("\n".join(lines))
    return files


def start(name: str, home: Path, stack: ExitStack) -> Server:
    port = _free_port()
    keel = ["serve", "--port", str(port)]
    commands = {
        "mlflow": [
            *("-m", "mlflow", "models", "serve", "--model-uri", str(home / "served"), "--env-manager", "local"),
            *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        ],
        "keel": ["-m", "keel.cli.main", *keel],
        "unlogged": ["-m", "benchmarks.serving_unlogged", *keel],
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEEL_", "MLFLOW_"))} | {
        "PYTHONPATH": f"{ROOT / 'include'}:{ROOT}",
        "KEEL_HOME": str(home),
        "KEEL_SPOOL": str(home / f"spool-{name}"),
        "PYTHONWARNINGS": "ignore",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = stack.enter_context((home / f"{name}.log").open("wb"))
    process = subprocess.Popen([sys.executable, *commands[name]], env=environment, stdout=log, stderr=log)
    stack.callback(_end, process)
    place = f"http://127.0.0.1:{port}"
    if name == "mlflow":
        return Server(name, f"{place}/invocations", f"{place}/ping", process)
    return Server(name, f"{place}/models/{MODEL}/invocations", f"{place}/version", process)


def measure(
    servers: list[Server], bodies: dict[int, Path], connections: list[int], rounds: int, seconds: float
) -> None:
    cells = [(size, number) for size in bodies for number in connections]
    for current in range(rounds + 1):
        for cell in cells:
            size, number = cell
            for server in servers if current % 2 else servers[::-1]:
                before = server.cpu_seconds()
                found = run_client(server, bodies[size], number, seconds if current else 1.0)  # round 0 only warms up
                server.settle()
                if current:
                    server.latencies[cell].append(found)
                    # at its end, the client has one unanswered request per connection
                    server.cpu[cell].append((server.cpu_seconds() - before) / (len(found) + number) * 1e3)


def run_client(server: Server, bodies: Path, connections: int, seconds: float) -> list[float]:
    arguments = [server.url, str(bodies), str(connections), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.serving_client", *arguments]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{server.name}: {done.stderr.decode()[-2000:]}")
    return json.loads(done.stdout)


def table(servers: list[Server]) -> str:
    lines = [
        "| rows | connections | server | requests/s | p50 ms | p95 ms | p99 ms | CPU ms a request |",
        "|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for cell in servers[0].latencies:
        for server in servers:
            shares = " | ".join(f"{server.percentile(cell, share):.2f}" for share in (0.5, 0.95, 0.99))
            rate = statistics.median(server.rates(cell))
            cpu = statistics.median(server.cpu[cell])
            lines.append(f"| {cell[0]} | {cell[1]} | {TITLES[server.name]} | {rate:,.0f} | {shares} | {cpu:.2f} |")
    return "\n".join(lines)


def verdicts(servers: list[Server]) -> list[str]:
    """Return a line per cell: the ratios, and whether they meet the goals."""
    mlflow, keel, unlogged = servers
    lines = []
    for cell in keel.latencies:
        times = _median_ratio(keel.rates(cell), mlflow.rates(cell))
        costs = _median_ratio(keel.medians(cell), unlogged.medians(cell)) - 1
        cpu = _median_ratio(keel.cpu[cell], unlogged.cpu[cell]) - 1
        goal = "" if cell[0] != 1 else f" ({_met(times >= GOAL_TIMES)} {GOAL_TIMES:g} ×)"
        lines.append(
            f"{cell[0]:>3} rows, {cell[1]:>2} connections: {times:.1f} × the requests of MLflow{goal}; logging costs "
            f"{costs:+.1%} of the median latency ({_met(costs < GOAL_LOGGING)} {GOAL_LOGGING:.0%}) and "
            f"{cpu:+.1%} of the CPU time"
        )
    return lines


def same_predictions(servers: list[Server], bodies: Path) -> int:
    """Return how many rows of the champion were compared; SystemExit if one differs from MLflow's."""
    compared = 0
    for body in bodies.read_text().splitlines()[:20]:
        mlflow, keel = (json.loads(_get(server.url, body)) for server in servers[:2])
        arms = keel["keel"]["arms"]
        pairs = [
            (a, b)
            for a, b, arm in zip(mlflow["predictions"], keel["predictions"], arms, strict=True)
            if arm == "champion"
        ]
        if any(a != b for a, b in pairs):
            raise SystemExit("Keel and MLflow give different predictions")
        compared += len(pairs)
    return compared


def _get(url: str, body: str | None = None) -> bytes:
    request = urllib.request.Request(url, body and body.encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return bytes(answer.read())


def _median_ratio(these: list[float], those: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def _met(met: bool) -> str:
    return "meets" if met else "MISSES"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 100])
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each server in each cell of each round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keel-bench-") as name, ExitStack() as stack:
        home = Path(name)
        make_home(home)
        bodies = write_bodies(home, options.rows)
        servers = [start(name, home, stack) for name in TITLES]
        for server in servers:
            server.until_ready()
        compared = same_predictions(servers, bodies[options.rows[-1]])
        measure(servers, bodies, options.connections, options.rounds, options.seconds)
    print(f"{MODEL}: {os.cpu_count()} cores, one process each, {compared} predictions compared and equal\n")
    print(table(servers))
    print()
    print("\n".join(verdicts(servers)))


if __name__ == "__main__":
    main()

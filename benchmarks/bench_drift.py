"""Keel's drift check beside its peers', same data, one run, one table: ``python -m benchmarks.bench_drift``.

Every contestant has a process of its own and only one works at a time. Each round runs Keel and then a peer, and the
ratio is the median over rounds of that pair, so that a slow moment of the machine slows both. The peers live in
``.venv-peers``, which is made when it is missing or its requirements have changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers"
REQUIREMENTS = ROOT / "benchmarks" / "requirements-peers.txt"

TITLES = {
    "keel": "Keel: KS, PSI, χ², JS, Wasserstein, rates, FDR",
    "scipy": "scipy loop: ks_2samp, chi2_contingency",
    "nannyml": "NannyML: KS, χ²",
    "evidently": "Evidently: DataDriftPreset",
}
GOALS = {"evidently": 250.0, "nannyml": 4.0}
GOAL_SECONDS = 0.05


@dataclass
class Contestant:
    """A process that runs one check each time it is told to."""

    name: str
    process: subprocess.Popen[str]
    fit: float = 0.0
    seconds: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, name: str, folder: Path) -> Contestant:
        python = PEERS / "bin" / "python" if name in {"nannyml", "evidently"} else Path(sys.executable)
        command = [str(python), str(ROOT / "benchmarks" / "contestants.py"), name, str(folder)]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "include"),
            "DO_NOT_TRACK": "1",
            "NML_DISABLE_USAGE_LOGGING": "1",
        }
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        contestant = cls(name, process)
        contestant.fit = contestant._answer()["fit"]
        contestant.run()  # the first run also pays for imports and caches
        contestant.seconds.clear()
        contestant.peak.clear()
        return contestant

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self.process.wait()}")
        return json.loads(line)

    def run(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.peak.append(int(answer["peak"]))
        return answer["seconds"]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def ensure_peers() -> None:
    """Make or refresh the peers' environment."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = PEERS / ".requirements"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    uv = str(Path(sys.executable).parent / "uv")
    print(f"making {PEERS.name} …", file=sys.stderr)
    if not (PEERS / "bin" / "python").exists():
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(PEERS)], check=True)
    python = str(PEERS / "bin" / "python")
    subprocess.run([uv, "pip", "sync", "-q", "--python", python, str(REQUIREMENTS)], check=True)
    stamp.write_text(wanted)


def make_data(folder: Path, rows: int, numeric: int, categorical: int) -> None:
    """Write a reference and a window of four shapes of number and one of text; a third of the columns has moved."""
    rng = np.random.default_rng(0)
    for name, shift in (("reference", 0.0), ("window", 0.3)):
        frame = {}
        for i in range(numeric):
            move = shift if i % 3 == 0 else 0.0
            frame[f"x{i}"] = [
                lambda m: rng.normal(m, 1, rows),
                lambda m: np.exp(rng.normal(m, 1, rows)),
                lambda m: rng.integers(0, 24, rows).astype(float) + np.rint(m),
                lambda m: rng.gamma(2, 1 + m, rows),
            ][i % 4](move)
        for i in range(categorical):
            share = np.arange(1, 11) ** (shift if i % 3 == 0 else 0.0)
            frame[f"c{i}"] = rng.choice([f"category {j}" for j in range(10)], rows, p=share / share.sum())
        pd.DataFrame(frame).to_parquet(folder / f"{name}.parquet")


def measure(folder: Path, peers: list[str], rounds: int, slow_rounds: int) -> list[Contestant]:
    keel = Contestant.start("keel", folder)
    others = []
    for name in peers:
        peer = Contestant.start(name, folder)
        for _ in range(slow_rounds if name == "evidently" else rounds):
            ours = keel.run()
            peer.ratios.append(peer.run() / ours)
        peer.stop()
        others.append(peer)
    keel.stop()
    return [keel, *others]


def table(contestants: list[Contestant]) -> str:
    head = f"{'':50} {'fit s':>8} {'check s':>9} {'× Keel':>8} {'peak MB':>8} {'runs':>5}"
    lines = [head, "-" * len(head)]
    for c in contestants:
        ratio = f"{statistics.median(c.ratios):8.1f}" if c.ratios else f"{'1':>8}"
        lines.append(
            f"{TITLES[c.name]:50} {c.fit:8.3f} {statistics.median(c.seconds):9.4f} {ratio} "
            f"{max(c.peak) / 2**20:8.0f} {len(c.seconds):5d}"
        )
    return "\n".join(lines)


def verdicts(contestants: list[Contestant]) -> list[str]:
    median = statistics.median(contestants[0].seconds)
    lines = [
        f"goal: Keel in {GOAL_SECONDS} s or less: {'met' if median <= GOAL_SECONDS else 'missed'} ({median:.4f} s)"
    ]
    for c in contestants[1:]:
        if c.name in GOALS:
            ratio = statistics.median(c.ratios)
            lines.append(
                f"goal: {GOALS[c.name]:g} × {c.name}: {'met' if ratio >= GOALS[c.name] else 'missed'} ({ratio:.1f})"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--numeric", type=int, default=40)
    parser.add_argument("--categorical", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of runs against scipy and NannyML")
    parser.add_argument("--slow-rounds", type=int, default=3, help="pairs of runs against Evidently")
    parser.add_argument("--peers", nargs="*", default=["scipy", "nannyml", "evidently"], choices=list(TITLES)[1:])
    options = parser.parse_args()
    if {"nannyml", "evidently"} & set(options.peers):
        ensure_peers()
    with tempfile.TemporaryDirectory(prefix="keel-bench-") as name:
        make_data(Path(name), options.rows, options.numeric, options.categorical)
        contestants = measure(Path(name), options.peers, options.rounds, options.slow_rounds)
    print(
        f"{options.rows:,} rows × {options.numeric} numeric and {options.categorical} text columns, "
        f"reference and window; {os.cpu_count()} cores; medians; peak memory of the whole process\n"
    )
    print(table(contestants))
    print()
    print("\n".join(verdicts(contestants)))


if __name__ == "__main__":
    main()

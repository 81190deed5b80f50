"""Compare the time of Keel's drift check with its peers', on the same data: ``python -m benchmarks.bench_drift``.

Every contestant has a process of its own, and only one works at a time. A round runs Keel and its contestants in turn.
A ratio is the median over rounds of the ratio within a round, so that a slow moment of the machine slows both sides.
The peers live in ``.venv-peers``, which is made when it is missing or its requirements have changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
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
    "batches": "the same, from batches of 1,000 rows",
    "numbers": "Keel: counting the numeric columns only",
    "sort": "numpy.sort of the numeric columns, in threads",
    "scipy": "scipy loop: ks_2samp, chi2_contingency",
    "nannyml": "NannyML: KS, χ²",
    "evidently": "Evidently: DataDriftPreset",
}
OWN = ["keel", "batches", "numbers", "sort"]
PEERS_OF_KEEL = ["scipy", "nannyml", "evidently"]
IN_PEERS = {"nannyml", "evidently", "adwin", "kswin", "page_hinkley"}
"""Contestants that need the peers' environment."""


@dataclass(frozen=True)
class Goal:
    """A bound of the ratio of two contestants' times."""

    name: str
    to: str
    least: float = 0.0
    most: float = math.inf

    def verdict(self, ratio: float) -> str:
        bound = f"at least {self.least:g}" if self.least else f"at most {self.most:g}"
        met = "met" if self.least <= ratio <= self.most else "missed"
        return f"goal: {self.name} / {self.to} {bound}: {met} ({ratio:.2f})"


GOALS = [
    Goal("evidently", "keel", least=400),
    Goal("nannyml", "keel", least=4),
    Goal("batches", "keel", most=1.3),
    Goal("numbers", "sort", most=1.3),
]


@dataclass
class Contestant:
    """A process that runs one check for each line that it reads."""

    name: str
    process: subprocess.Popen[str]
    fit: float = 0.0
    seconds: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)

    @classmethod
    def start(cls, name: str, folder: Path, script: str = "contestants.py") -> Contestant:
        python = PEERS / "bin" / "python" if name in IN_PEERS else Path(sys.executable)
        command = [str(python), str(ROOT / "benchmarks" / script), name, str(folder)]
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

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio_to(self, other: Contestant) -> float:
        """Return the median over rounds of this contestant's time by the other's."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))

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


Group = dict[str, Contestant]


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
    """Write a reference and a window of four shapes of number and one of text; the window moves a third of them."""
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


def measure(folder: Path, peers: list[str], rounds: int, slow_rounds: int) -> list[Group]:
    """Run Keel beside its own parts, then beside each peer."""
    return [
        _run_group([*OWN], folder, rounds),
        *(_run_group(["keel", peer], folder, slow_rounds if peer == "evidently" else rounds) for peer in peers),
    ]


def _run_group(names: list[str], folder: Path, rounds: int) -> Group:
    group = {name: Contestant.start(name, folder) for name in names}
    for _ in range(rounds):
        for contestant in group.values():
            contestant.run()
    for contestant in group.values():
        contestant.stop()
    return group


def table(groups: list[Group]) -> str:
    head = f"{'':50} {'fit s':>8} {'check s':>9} {'× Keel':>8} {'peak MB':>8} {'runs':>5}"
    lines = [head, "-" * len(head)]
    for group in groups:
        for c in group.values():
            if c.name != "keel" or group is groups[0]:
                lines.append(
                    f"{TITLES[c.name]:50} {c.fit:8.3f} {c.median:9.4f} {c.ratio_to(group['keel']):8.2f} "
                    f"{max(c.peak) / 2**20:8.0f} {len(c.seconds):5d}"
                )
    return "\n".join(lines)


def verdicts(groups: list[Group]) -> list[str]:
    return [
        goal.verdict(group[goal.name].ratio_to(group[goal.to]))
        for goal in GOALS
        for group in groups
        if {goal.name, goal.to} <= set(group)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--numeric", type=int, default=40)
    parser.add_argument("--categorical", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15, help="rounds; of those with Evidently there are fewer")
    parser.add_argument("--slow-rounds", type=int, default=3, help="rounds with Evidently")
    parser.add_argument("--peers", nargs="*", default=PEERS_OF_KEEL, choices=PEERS_OF_KEEL)
    options = parser.parse_args()
    if IN_PEERS & set(options.peers):
        ensure_peers()
    with tempfile.TemporaryDirectory(prefix="keel-bench-") as name:
        make_data(Path(name), options.rows, options.numeric, options.categorical)
        groups = measure(Path(name), options.peers, options.rounds, options.slow_rounds)
    print(
        f"{options.rows:,} rows × {options.numeric} numeric and {options.categorical} text columns, "
        f"reference and window; {os.cpu_count()} cores; medians; peak memory of the whole process\n"
    )
    print(table(groups))
    print()
    print("\n".join(verdicts(groups)))


if __name__ == "__main__":
    main()

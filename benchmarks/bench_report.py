"""Compare Keel's HTML report with Evidently's on the same tables: ``python -m benchmarks.bench_report``.

Each report is written by a process of its own, one at a time. A round runs both. Figures are the least of
all rounds, because other work on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.bench_drift import PEERS, ROOT, ensure_peers
from benchmarks.report_examples import car_loans

NAMES = ("keel", "evidently", "performance")
"""The third is Keel's report with the target, the score and the time of the rows, where the tables have them."""
FASTER, SMALLER = 50, 5
"""The goals: how many times faster, and how many times smaller."""

Figures = dict[str, float]


def write_car_loans(folder: Path) -> str:
    """Write a week of NannyML's car loans and their reference."""
    reference, week, roles = car_loans()
    _write(folder, reference, week, roles)
    return f"car loans: {len(week):,} rows against {len(reference):,}, {reference.shape[1]} columns"


def write_wide(folder: Path, rows: int = 100_000) -> str:
    """Write 40 columns of numbers and 10 of texts, a third of which move."""
    rng = np.random.default_rng(0)
    tables = []
    for shift in (0.0, 0.3):
        frame = {f"x{i}": rng.gamma(2, 1 + (shift if i % 3 == 0 else 0.0), rows) for i in range(40)}
        for i in range(10):
            share = np.arange(1, 11) ** (shift if i % 3 == 0 else 0.0)
            frame[f"c{i}"] = rng.choice([f"category {j}" for j in range(10)], rows, p=share / share.sum())
        tables.append(pd.DataFrame(frame))
    _write(folder, *tables, {})
    return f"{rows:,} rows on each side, 40 columns of numbers and 10 of texts"


def _write(folder: Path, reference: pd.DataFrame, current: pd.DataFrame, roles: dict[str, object]) -> None:
    reference.to_parquet(folder / "reference.parquet")
    current.to_parquet(folder / "current.parquet")
    (folder / "roles.json").write_text(json.dumps(roles))


def run(name: str, folder: Path, keep: Path | None, case: str) -> Figures:
    """Write a report in a new process and return its figures."""
    python = PEERS / "bin" / "python" if name == "evidently" else Path(sys.executable)
    file = (keep or folder) / f"{case}-{name}.html"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "include"), "DO_NOT_TRACK": "1"}
    command = [str(python), str(ROOT / "benchmarks" / "report_contestants.py"), name, str(folder), str(file)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def measure(folder: Path, rounds: int, keep: Path | None, case: str) -> dict[str, Figures]:
    """Return each contestant's least figures over the rounds."""
    names = NAMES if json.loads((folder / "roles.json").read_text()) else NAMES[:2]
    found: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(run(name, folder, keep, case))
    return {name: {key: min(each[key] for each in runs) for key in runs[0]} for name, runs in found.items()}


def table(figures: dict[str, Figures]) -> str:
    """Return the figures as aligned text, with the ratios and the goals."""
    more = figures.get("performance")
    beside = f" {'Keel, performance too':>24}" if more else ""
    lines = [f"{'':28} {'Keel':>12} {'Evidently':>12} {'ratio':>8}{beside}"]
    for key, title, form in (
        ("first", "first call to HTML file, s", "{:.2f}"),
        ("second", "second call, s", "{:.2f}"),
        ("processor", "processor time of it, s", "{:.2f}"),
        ("bytes", "bytes of the file", "{:,.0f}"),
        ("peak", "peak memory, MB", "{:,.0f}"),
    ):
        scale = 2**20 if key == "peak" else 1
        keel, evidently = (figures[name][key] / scale for name in NAMES[:2])
        beside = f" {form.format(more[key] / scale):>24}" if more else ""
        lines.append(f"{title:28} {form.format(keel):>12} {form.format(evidently):>12} {evidently / keel:8.1f}{beside}")
    for key, goal, words in (("second", FASTER, "times faster"), ("bytes", SMALLER, "times smaller")):
        ratio = figures["evidently"][key] / figures["keel"][key]
        lines.append(f"goal: at least {goal} {words}: {'met' if ratio >= goal else 'missed'} ({ratio:.1f})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("car-loans", "wide"))
    parser.add_argument("--keep", type=Path, help="a folder for the reports")
    options = parser.parse_args()
    ensure_peers()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    for case, write in (("car-loans", write_car_loans), ("wide", write_wide)):
        if options.only in (None, case):
            with tempfile.TemporaryDirectory(prefix="keel-bench-") as name:
                title = write(Path(name))
                print(f"{title}; {os.cpu_count()} cores, {options.rounds} rounds\n")
                print(table(measure(Path(name), options.rounds, options.keep, case)), end="\n\n")


if __name__ == "__main__":
    main()

"""Measure the stated error rates at full size and write the tables of ``docs/statistics.md``.

``python -m benchmarks.validate`` takes about twenty minutes on two cores; ``--trials 200`` makes a quick look.
"""

from __future__ import annotations

import argparse
import math
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.simulations import ALPHA, WINDOWS_A_REFERENCE, false_alarms, promotions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "statistics.md"
WINDOWS = [(50, 1000), (100, 5000), (500, 5000), (2500, 1000), (10000, 5000)]
METRICS = ["brier", "log_loss", "roc_auc", "accuracy", "mae"]
QUALITIES = [1.4, 1.5, 1.6, 1.8]
HOLDOUT = 2_000


def false_alarm_table(trials: int) -> str:
    """Nothing wrong: how often each part of the check says otherwise."""
    with ProcessPoolExecutor(2) as pool:
        measured = list(pool.map(false_alarms, *zip(*WINDOWS, strict=True), [trials] * len(WINDOWS)))
    error = math.sqrt(ALPHA * (1 - ALPHA) / (trials / WINDOWS_A_REFERENCE))
    lines = [
        "| window rows | reference rows | drift status | any single test | quality status |",
        "|---|---|---|---|---|",
    ]
    for (rows, reference), wrong in zip(WINDOWS, measured, strict=True):
        lines.append(
            f"| {rows:,} | {reference:,} | {wrong['drift']:.3f} | {wrong['any test']:.3f} | {wrong['quality']:.3f} |"
        )
    note = f"{trials:,} windows a row, α = {ALPHA}; a share of {ALPHA} has a standard error of at most {error:.3f}."
    return "\n".join([*lines, "", note])


def gate_table(trials: int) -> str:
    """How often the gate promotes a challenger of known quality; the champion's is 1.5."""
    jobs = [(metric, HOLDOUT, trials, quality) for metric in METRICS for quality in QUALITIES]
    with ProcessPoolExecutor(2) as pool:
        shares = list(pool.map(_promoted, jobs))
    head = ["worse (1.4)", "equal (1.5)", "better (1.6)", "better (1.8)"]
    lines = [f"| metric | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for i, metric in enumerate(METRICS):
        row = shares[i * len(QUALITIES) : (i + 1) * len(QUALITIES)]
        lines.append(f"| {metric} | " + " | ".join(f"{share:.3f}" for share in row) + " |")
    error = math.sqrt(ALPHA * (1 - ALPHA) / trials)
    note = f"{trials:,} holdouts of {HOLDOUT:,} rows each; a share of {ALPHA} has a standard error of {error:.3f}."
    return "\n".join([*lines, "", note])


def write(page: str, name: str, table: str) -> str:
    """Put a table between its markers on a page; `ValueError` where the page has no such markers."""
    pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end of table -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"no markers for the table {name!r}")
    return pattern.sub(lambda m: f"{m[1]}{table}\n{m[2]}", page)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4_000)
    trials = parser.parse_args().trials
    page = PAGE.read_text(encoding="utf-8")
    for name, table in (("false alarms", false_alarm_table(trials)), ("gate", gate_table(trials))):
        print(f"{name}\n\n{table}\n", flush=True)
        page = write(page, name, table)
    PAGE.write_text(page, encoding="utf-8")


def _promoted(job: tuple[str, int, int, float]) -> float:
    metric, rows, trials, quality = job
    return promotions(metric, rows, trials, quality=quality)


if __name__ == "__main__":
    main()

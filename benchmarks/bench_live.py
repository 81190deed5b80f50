"""Compare the time of a live monitor with river's detectors, on the same rows: ``python -m benchmarks.bench_live``.

Keel judges blocks of 100 rows, all features at once; river's detectors take one value at a time, each feature with one
of its own, at their defaults. Times are the processor's, for one observation of one feature, in one process.
Contestants run in turn, see `benchmarks.bench_drift`. Afterwards one process judges many more rows, and its memory is
read before and after.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import live_catch_up
from benchmarks.bench_drift import Contestant, Goal, Group, ensure_peers
from benchmarks.live_contestants import BLOCK, CONTEXTS, prepare_keel

TITLES = {
    "keel": f"Keel, each row in a random one of {CONTEXTS} hours",
    "one_hour": "Keel, all rows in one hour",
    "values": "Keel, from values and times, pages of 10,000 rows",
    "adwin": "river ADWIN",
    "page_hinkley": "river PageHinkley",
    "kswin": "river KSWIN",
}
MOST_MICROSECONDS = 0.3
GOALS = [Goal("adwin", "keel", least=6)]
MOST_GROWTH = 2**20
"""Bytes by which memory may differ after many rows: what the interpreter itself comes and goes by."""


def measure(folder: Path, names: list[str], rounds: int) -> Group:
    """Run the contestants in turn."""
    group = {name: Contestant.start(name, folder, script="live_contestants.py") for name in names}
    for _ in range(rounds):
        for contestant in group.values():
            contestant.run()
    for contestant in group.values():
        contestant.stop()
    return group


def table(group: Group) -> str:
    head = f"{'':50} {'µs':>8} {'× Keel':>8} {'peak MB':>8} {'runs':>5}"
    lines = [head, "-" * len(head)]
    for c in group.values():
        lines.append(
            f"{TITLES[c.name]:50} {c.median * 1e6:8.3f} {c.ratio_to(group['keel']):8.2f} "
            f"{max(c.peak) / 2**20:8.0f} {len(c.seconds):5d}"
        )
    return "\n".join(lines)


def verdicts(group: Group) -> list[str]:
    """Return whether the goals are met."""
    slowest = max(group[name].median for name in ("keel", "one_hour", "values")) * 1e6
    met = "met" if slowest <= MOST_MICROSECONDS else "missed"
    return [
        f"goal: at most {MOST_MICROSECONDS:g} µs: {met} ({slowest:.3f})",
        *(goal.verdict(group[goal.name].ratio_to(group[goal.to])) for goal in GOALS if goal.name in group),
    ]


def memory(rows: int, features: int) -> str:
    """Judge many rows in this process, and compare its memory after the first hundredth and after the last."""
    stream = np.random.default_rng(0).normal(size=(rows // 100, features))
    run = prepare_keel(stream)
    run()
    before, started = resident(), time.perf_counter()
    for _ in range(99):
        run()
    grown, seconds = resident() - before, time.perf_counter() - started
    met = "met" if grown <= MOST_GROWTH else "missed"
    return (
        f"goal: memory constant over {rows:,} rows × {features} features: {met} ({grown / 2**10:+,.0f} kB after the "
        f"first {rows // 100:,}; {seconds:.0f} s)"
    )


def resident() -> int:
    """Return the bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--many-rows", type=int, default=10_000_000, help="rows after which memory is compared")
    options = parser.parse_args()
    ensure_peers()
    with tempfile.TemporaryDirectory(prefix="keel-bench-") as name:
        stream = np.random.default_rng(0).normal(size=(options.rows, options.features))
        np.save(Path(name) / "stream.npy", stream)
        group = measure(Path(name), list(TITLES), options.rounds)
    print(
        f"{options.rows:,} rows × {options.features} features, blocks of {BLOCK}; processor time for one observation "
        f"of one feature; {os.cpu_count()} cores; medians\n"
    )
    print(table(group))
    print()
    print("\n".join(verdicts(group)))
    if sys.platform == "linux":
        print(memory(options.many_rows, options.features))
    print("\n".join(live_catch_up.report()))


if __name__ == "__main__":
    main()

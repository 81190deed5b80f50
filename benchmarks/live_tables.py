"""The tables of ``docs/statistics.md`` on the live monitors of columns: ``python -m benchmarks.live_tables``.

``--trials 20`` makes a quick look. river's detectors need the peers' environment, which is made when it is missing.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks import friedman, live, live_friedman
from benchmarks.bench_drift import ensure_peers
from benchmarks.live import ALPHA, BLOCK, BLOCKS, CHANGE, ROWS_A_DAY, Floats, Integers

COLUMNS = 50
"""Repetitions that are monitored at once, as the columns of one table."""
REFERENCES = (1_000, 5_000, 50_000)
CONTEXTS: dict[str, tuple[str, ...]] = {
    "by hour and weekday": ("hour", "weekday"),
    "by hour": ("hour",),
    "without context": (),
}
WORLDS = {
    "iid": "independent rows",
    "cycle": "daily cycle of 1 sd",
    "dependent": "rows correlated by .2",
}
THINNING = 5
PEERS_REFERENCE = 5_000
KSWIN_SHARE = 5
"""Of so many streams it runs on one: it takes a thousand times as long as the others."""
CHANGES = {
    "mean + .25 sd": (0.25, 1.0),
    "mean + .5 sd": (0.5, 1.0),
    "mean + 1 sd": (1.0, 1.0),
    "sd × .75": (0.0, 0.75),
    "sd × 1.25": (0.0, 1.25),
    "sd × 1.5": (0.0, 1.5),
    "sd × 2": (0.0, 2.0),
}
LONGEST = 10_000
"""Rows after the change."""
PUBLISHED = {
    "PITMonitor (published)": ("96.2 / 3.8", "77", "189", "1,919"),
    "ADWIN (published)": ("99.1 / .9", "27", "27", "115"),
    "HDDM_A (published)": ("94.0 / 6.0", "60", "168", "2,032"),
}


def batches(trials: int) -> Iterator[tuple[int, int]]:
    """Return the number and the columns of each batch."""
    return ((i, min(COLUMNS, trials - start)) for i, start in enumerate(range(0, trials, COLUMNS)))


def unchanged(kind: str, batch: int, columns: int) -> dict[tuple[str, object], Integers]:
    """Return the first alarms on a batch of streams of `BLOCKS` blocks in which nothing changes."""
    days = np.arange(BLOCKS * BLOCK) / ROWS_A_DAY
    stream = live.draw(kind, np.random.default_rng([1, batch]), days, columns)
    found: dict[tuple[str, object], Integers] = {}
    for rows in REFERENCES:
        for name, context in CONTEXTS.items():
            reference = live.reference_of(kind, rows, columns, [2, batch, rows], context)
            found[name, rows] = live.first_alarms(reference, stream, seed=batch)
            if kind == "dependent" and not context:
                threshold = math.log(BLOCKS / THINNING / ALPHA)
                found["thinned", rows] = live.first_alarms(
                    reference, stream, seed=batch, thinning=THINNING, threshold=threshold
                )
    peers_days = np.arange(PEERS_REFERENCE) * live.REFERENCE_DAYS / PEERS_REFERENCE
    given = live.draw(kind, np.random.default_rng([3, batch]), peers_days, columns)
    others = (
        live.naive_alarms(given, stream)
        | live.river_alarms(stream, ["ADWIN", "PageHinkley"])
        | live.river_alarms(stream[:, ::KSWIN_SHARE], ["KSWIN"])
    )
    return found | {("other", name): alarms for name, alarms in others.items()}


def false_alarm_table(trials: int) -> str:
    """Nothing changes: how often a monitor alarms all the same, and the usual detectors do."""
    ensure_peers()
    jobs = [(kind, *batch) for kind in WORLDS for batch in batches(trials)]
    with _pool() as pool:
        each = list(pool.map(unchanged, *zip(*jobs, strict=True)))

    def share(kind: str, *key: object) -> str:
        alarms = np.concatenate([found[key] for job, found in zip(jobs, each, strict=True) if job[0] == kind])
        return f"{(alarms > 0).mean():.3f}"

    others = (*live.NAIVE, *live.RIVER)
    lines = []
    for kind, world in WORLDS.items():
        for rows in REFERENCES:
            own = [share(kind, name, rows) for name in CONTEXTS]
            thinned = share(kind, "thinned", rows) if kind == "dependent" else ""
            peers = [share(kind, "other", name) for name in others] if rows == PEERS_REFERENCE else [""] * len(others)
            lines.append([world, f"{rows:,}", *own, thinned, *peers])
    head = ["rows", "reference", *(f"Keel, {name}" for name in CONTEXTS), f"Keel, every {THINNING}th row", *others]
    note = (
        f"Shares of {trials:,} streams of {BLOCKS:,} blocks of {BLOCK} rows with an alarm. Keel's bound is {ALPHA:g} "
        "for independent rows and, by hour, for the cycle; a share of it has a standard error of "
        f"{_error(trials):.3f}. KS and PSI test the last 100 rows; river's detectors have their defaults and no "
        f"reference. KSWIN, which takes longest, runs on every {KSWIN_SHARE}th stream."
    )
    return _table(head, lines, note)


def changed(kind: str, rows: int, context: str, change: str, batch: int, columns: int) -> Integers:
    """Return the rows from the change to the first alarm; negative for an alarm before it, 0 for none."""
    days = np.arange(CHANGE + LONGEST) / ROWS_A_DAY
    stream = live.draw(kind, np.random.default_rng([4, batch]), days, columns)
    cycle = stream - live.draw("iid", np.random.default_rng([4, batch]), days, columns)
    by, scale = CHANGES[change]
    stream[CHANGE:] = (stream - cycle)[CHANGE:] * scale + cycle[CHANGE:] + by
    reference = live.reference_of(kind, rows, columns, [5, batch, rows], CONTEXTS[context])
    alarms = live.first_alarms(reference, stream, seed=batch)
    return np.where(alarms < 0, 0, alarms - CHANGE)


def delay_table(trials: int) -> str:
    """Something changes: how soon a monitor alarms."""
    cases = [("iid", rows, "without context") for rows in REFERENCES] + [("cycle", 50_000, "by hour")]
    jobs = [(*case, change, *batch) for change in CHANGES for case in cases for batch in batches(trials)]
    with _pool() as pool:
        each = list(pool.map(changed, *zip(*jobs, strict=True)))
    lines, early, missed = [], 0, 0
    for change in CHANGES:
        cells = []
        for case in cases:
            delays = np.concatenate([d for job, d in zip(jobs, each, strict=True) if job[:4] == (*case, change)])
            late = delays[delays > 0]
            early, missed = early + int((delays < 0).sum()), missed + int((delays == 0).sum())
            cells.append(f"{np.median(late):,.0f} ({np.quantile(late, 0.9):,.0f})" if len(late) else "–")
        lines.append([change, *cells])
    head = ["change", *(f"{WORLDS[kind]}, {context}, reference {rows:,}" for kind, rows, context in cases)]
    note = (
        f"Median (and 90% quantile) of the rows from the change to the alarm, {trials:,} streams each, changed after "
        f"{CHANGE:,} rows. The bound is {ALPHA:g} in {BLOCKS:,} blocks. Of all {len(jobs and np.concatenate(each)):,} "
        f"streams, {early:,} alarmed before the change and {missed:,} not within {LONGEST:,} rows after it."
    )
    return _table(head, lines, note)


def friedman_table(trials: int) -> str:
    """river's FriedmanDrift: false alarms, detections and delays beside the published ones."""
    ensure_peers()
    parts = [range(start, min(start + COLUMNS, trials)) for start in range(0, trials, COLUMNS)]
    jobs = [(kind, size, part) for kind in friedman.KINDS for size in live_friedman.BLOCK_SIZES for part in parts]
    adwin_jobs = [(kind, part) for kind in friedman.KINDS for part in parts]
    with _pool() as pool:
        own = list(pool.map(_friedman_trials, *zip(*jobs, strict=True)))
        peer = list(pool.map(live_friedman.adwin, *zip(*adwin_jobs, strict=True)))
    lines = []
    for which, name in enumerate(("loss monitor alone", f"all {live_friedman.MONITORS} monitors")):
        for size in live_friedman.BLOCK_SIZES:
            rows = [
                np.concatenate([r[which] for job, r in zip(jobs, own, strict=True) if job[:2] == (kind, size)])
                for kind in friedman.KINDS
            ]
            lines.append([f"Keel, {name}, blocks of {size}", *_friedman_cells(rows)])
    rows = [
        np.concatenate([r for job, r in zip(adwin_jobs, peer, strict=True) if job[0] == kind])
        for kind in friedman.KINDS
    ]
    lines.append(["river ADWIN on the same streams", *_friedman_cells(rows)])
    lines += [[name, *cells] for name, cells in PUBLISHED.items()]
    note = (
        f"{trials:,} trials of each kind, of 2,500 rows before the drift and 2,500 after. Where the kinds differ in "
        f"detections or false alarms, the worst is named. Keel's bound on false alarms is {ALPHA:.0%} over all rows."
    )
    head = ("monitor", "detected / false alarms, %", *(f"mean delay {kind.upper()}" for kind in friedman.KINDS))
    return _table(head, lines, note)


def _friedman_trials(kind: str, size: int, seeds: range) -> Integers:
    return np.array([live_friedman.trial(kind, seed, size) for seed in seeds]).T


def _friedman_cells(rows: Sequence[Integers]) -> list[str]:
    """rows: for each kind of drift, the rows up to the first alarm of each trial, or -1."""
    delays: list[Floats] = [each[each > live_friedman.BEFORE] - live_friedman.BEFORE for each in rows]
    found = min(len(late) / len(each) for late, each in zip(delays, rows, strict=True))
    false = max(((each > 0) & (each <= live_friedman.BEFORE)).mean() for each in rows)
    return [
        f"{found * 100:.1f} / {false * 100:.1f}",
        *(f"{late.mean():,.0f}" if len(late) else "–" for late in delays),
    ]


TABLES = {
    "live false alarms": false_alarm_table, "live delays": delay_table, "live friedman": friedman_table,
}  # fmt: skip
"""By the name of their markers on the page."""


def _pool() -> ProcessPoolExecutor:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # two processes already use both cores
        os.environ.setdefault(name, "1")
    return ProcessPoolExecutor(2)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], note: str) -> str:
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *rows, "", note])


def _error(trials: int) -> float:
    return math.sqrt(ALPHA * (1 - ALPHA) / trials)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--only", action="append", choices=TABLES)
    asked = parser.parse_args()
    for name in asked.only or TABLES:
        print(f"{name}\n\n{TABLES[name](asked.trials)}\n", flush=True)


if __name__ == "__main__":
    main()

"""Measure the stated error rates at full size and write the tables of ``docs/statistics.md``.

``python -m benchmarks.validate`` takes about an hour and a half on two cores; ``--trials 200`` makes a quick look, and
``--only`` a single table.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks import (
    accepted,
    experiments,
    experiments_flights,
    gate_flights,
    gate_tables,
    hard_columns,
    live_losses,
    live_tables,
    probation,
)
from benchmarks.simulations import ALPHA, WINDOWS_A_REFERENCE, false_alarms

PAGE = Path(__file__).resolve().parents[1] / "docs" / "statistics.md"
WINDOWS = [(50, 1000), (100, 5000), (500, 5000), (2500, 1000), (10000, 5000)]


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


def hard_column_tables(trials: int) -> dict[str, str]:
    """Measure level and power on the columns on which drift checks go wrong; power on a tenth of the trials."""
    sizes, reference = (100, 500, 5000), 5000
    with ProcessPoolExecutor(2) as pool:
        wrong = list(pool.map(hard_columns.false_alarms, sizes, [reference] * 3, [trials] * 3))
        found = list(pool.map(hard_columns.power, sizes, [reference] * 3, [max(1, trials // 10)] * 3))
    error = math.sqrt(ALPHA * (1 - ALPHA) / (trials / WINDOWS_A_REFERENCE))
    level = [
        "| window rows | drift status | any single test | test of the summed impact |",
        "|---|---|---|---|",
        *(
            f"| {rows:,} | {each['drift']:.3f} | {each['any test']:.3f} | {each['impact']:.3f} |"
            for rows, each in zip(sizes, wrong, strict=True)
        ),
        "",
        f"{trials:,} windows a row, {len(hard_columns.COLUMNS)} columns, reference of {reference:,} rows, α = {ALPHA}; "
        f"a share of {ALPHA} has a standard error of at most {error:.3f}.",
    ]
    power = [
        f"| change | {' | '.join(f'{rows:,} rows' for rows in sizes)} |",
        "|---|---|---|---|",
        *(f"| {change} | {' | '.join(f'{each[change]:.2f}' for each in found)} |" for change in hard_columns.CHANGES),
        "",
        f"{max(1, trials // 10):,} windows each.",
    ]
    return {"hard columns": "\n".join(level), "changes of hard columns": "\n".join(power)}


def write(page: str, name: str, table: str) -> str:
    """Put a table between its markers on a page; `ValueError` where the page has no such markers."""
    pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end of table -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"no markers for the table {name!r}")
    return pattern.sub(lambda m: f"{m[1]}{table}\n{m[2]}", page)


def gate_flights_table(trials: int) -> str:
    """Judge versions trained on flights, of which there are no more than there are."""
    return gate_flights.flights_table()


def probation_tables(trials: int) -> dict[str, str]:
    """Measure as many probations as the fourth of the trials, and the flights as they are."""
    return probation.run(trials=max(1, trials // 4))


def experiment_tables(trials: int) -> dict[str, str]:
    """Measure as many experiments of a kind as the eighth of the trials, and the flights as they are."""
    return experiments.run(trials=max(2, trials // 8)) | {"experiments on flights": experiments_flights.flights_table()}


def live_column_tables(trials: int) -> dict[str, str]:
    """Measure as many streams as the eighth of the trials, and as many of FriedmanDrift as the fourth."""
    streams = max(2, trials // 8)
    return {
        "live false alarms": live_tables.false_alarm_table(streams),
        "live delays": live_tables.delay_table(streams),
        "live friedman": live_tables.friedman_table(max(2, trials // 4)),
    }


def live_loss_tables(trials: int) -> dict[str, str]:
    """Measure as many runs of the monitors of the mean loss as the eighth of the trials."""
    return {name: measure(max(40, trials // 8)) for name, measure in live_losses.TABLES.items()}


Measured = Callable[[int], dict[str, str]]


def _one(name: str, measure: Callable[[int], str]) -> Measured:
    return lambda trials: {name: measure(trials)}


MEASURES = {"false alarms": false_alarm_table, **gate_tables.TABLES, "gate flights": gate_flights_table}
SUITES: dict[str, Measured] = {name: _one(name, measure) for name, measure in MEASURES.items()} | {
    "hard columns": hard_column_tables,
    "accepted drifts": accepted.tables,
    "probation": probation_tables,
    "experiments": experiment_tables,
    "live columns": live_column_tables,
    "live losses": live_loss_tables,
}
"""What gives tables, by the names of their markers on the page."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4_000)
    parser.add_argument("--only", action="append", choices=SUITES, help="may be given again for more than one")
    asked = parser.parse_args()
    for suite in asked.only or SUITES:
        for name, table in SUITES[suite](asked.trials).items():
            print(f"{name}\n\n{table}\n", flush=True)
            PAGE.write_text(write(PAGE.read_text(encoding="utf-8"), name, table), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Models with few rows, where nothing is wrong: how often chance alone looks like a fault to people.

At full size: KEEL_FULL_SIZE=1.
"""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from keel.alerts.budget import alert_levels, promise
from keel.alerts.findings.harm import judge_performance
from keel.alerts.findings.quality import judge_arrival
from keel.stats.arrivals import chance_of_silence
from keel.stats.label_profile import LabelBaseline
from tests.support.alerts.reports import labels, performance, quality
from tests.support.toy import toy_config

FULL = bool(os.environ.get("KEEL_FULL_SIZE"))
RUNS = 200 if FULL else 12
WEEK = 168
DAY = np.timedelta64(1, "D")


def hours(n):
    return np.arange(n)


def poisson(rate):
    return lambda rng, n: rng.poisson(rate, n)


def daily(rate):
    return lambda rng, n: rng.poisson(rate * np.maximum(0, 1 + 1.2 * np.sin(hours(n) * 2 * np.pi / 24)))


def workdays(rate):
    return lambda rng, n: rng.poisson(rate * (hours(n) // 24 % 7 < 5))


def batches(rate, size):
    return lambda rng, n: np.array([rng.geometric(1 / size, k).sum() for k in rng.poisson(rate, n)])


def equal_batches(rate, size):
    return lambda rng, n: rng.poisson(rate, n) * size


def unlike_days(rate):
    return lambda rng, n: rng.poisson(rate * np.repeat(rng.lognormal(0, 0.5, n // 24 + 1), 24)[:n])


TRAFFIC = {
    "3 an hour": poisson(3),
    "7 a day": poisson(0.3),
    "3 by day": daily(3),
    "2 on workdays": workdays(2),
    "batches of 1,000, one a day": batches(1 / 24, 1_000),
    "batches of 10": equal_batches(0.2, 10),
    "unlike days": unlike_days(3),
}


def chance_at(rows):
    """Return the chance of the silence up to now, as `keel.loop.arrivals` does; 1 without one."""
    last = int(np.flatnonzero(rows)[-1])
    silent = len(rows) - 1 - last
    return chance_of_silence(rows[max(0, last - 4 * WEEK) : last], silent, gap=1) if silent else 1.0


def at_most(level, n, correlated=1):
    """Return a share that chance exceeds once in a thousand times; looks that follow each other share a silence."""
    return level + 3.3 * math.sqrt(level * (1 - level) * correlated / n)


@pytest.mark.parametrize("name", TRAFFIC)
def test_silence_is_called_improbable_at_most_as_often_as_the_level_says(name):
    rng = np.random.default_rng(1)
    chances = []
    for _ in range(RUNS):
        rows = TRAFFIC[name](rng, 8 * WEEK)
        chances += [chance_at(rows[:now]) for now in range(4 * WEEK, 8 * WEEK, 6)]
    for level in (0.05, 0.01, 0.001):
        assert np.mean(np.array(chances) <= level) <= at_most(level, len(chances), correlated=4), level


def test_hourly_checks_of_three_rows_an_hour_tell_as_few_as_is_promised():
    config = toy_config(check={"schedule": "0 * * * *", "lookback": "1h"}, alerts={"email": ["ann@example.com"]})
    level, rng, messages = alert_levels(config, [config]).level, np.random.default_rng(2), 0
    for _ in range(RUNS):
        rows, is_open = rng.poisson(3, 4 * WEEK + 720), False
        for now in range(4 * WEEK, len(rows)):
            report = quality("ok" if rows[now - 1] else "empty")
            found = judge_arrival(report, is_new=False, chance=chance_at(rows[:now]), level=level)
            messages += bool(found.findings) is not is_open and bool(found.examined)
            is_open = bool(found.findings) or (is_open and not found.examined)
    made = promise([config])
    mine = 2 * 720 * level * RUNS
    assert mine < made.expected(made.people[0]) * RUNS
    assert messages <= mine + 3.3 * math.sqrt(2 * mine)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_labels_of_one_class_by_chance_tell_as_few_as_is_promised(spread):
    """Sixty labels a day, one in fifty positive: one day in three has too few for an AUC."""
    rng = np.random.default_rng(3)

    def positives(n):
        odds = math.log(0.02 / 0.98) + spread * rng.standard_normal((n, 1))
        return rng.random((n, 60)) < 1 / (1 + np.exp(-odds))

    config = toy_config(check={"lookback": "1d"}, alerts={"email": ["ann@example.com"]})
    level, days, told, undefined = alert_levels(config, [config]).level, 30 * RUNS, 0, 0
    times = np.repeat(np.datetime64("2026-01-01") + np.arange(60) * DAY, 60).astype("datetime64[us]")
    base = LabelBaseline.measure(times, positives(60).ravel().astype(float))
    checked = labels("ok").model_copy(update={"reference": base.to_dict()})
    estimate = {"value": 0.7, "standard_error": 0.01, "n": 60}
    for found in positives(days).sum(axis=1):
        if found >= 2:
            continue
        undefined += 1
        report = performance(
            "undefined", metric="roc_auc", n=60,
            current={"roc_auc": {**estimate, "standard_error": None}}, reference={"roc_auc": estimate},
        )  # fmt: skip
        told += bool(_judged(report, checked, level).findings)
    assert undefined > days / 5
    assert told <= days * level / 3
    thousands = performance(
        "undefined", metric="roc_auc", n=3_000, current={"roc_auc": {**estimate, "value": None, "n": 3_000}},
        reference={"roc_auc": estimate},
    )  # fmt: skip
    assert _judged(thousands, checked, level).findings, "a column of zeros is a fault"


def _judged(report, checked, level):
    return judge_performance(
        report, checked, level=level, long_run_level=0.05, label_level=level, is_trusted=True, min_rows=50
    )

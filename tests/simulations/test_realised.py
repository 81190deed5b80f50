"""95% intervals of realised performance cover the truth about as often, also where the rows of an hour go together."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest
from scipy.stats import binom

from keel.stats.metrics.hourly_sums import Sums
from keel.stats.metrics.hourly_table import HourlyTable
from keel.stats.metrics.intervals import LEVEL, interval_estimate
from keel.stats.metrics.losses import Scored

REPETITIONS = 1000 if os.environ.get("KEEL_FULL_SIZE") else 100
METRICS = {"binary": ("brier", "accuracy", "roc_auc", "log_loss"), "regression": ("mae", "rmse")}
WORLDS = {"independent rows": (0.0, 0.0), "hours": (0.5, 0.0), "hours that last": (0.5, 0.6), "days": (0.5, 0.95)}
"""Standard deviation of what the rows of an hour share, on the scale of a logit or of a row's noise, and how much of it
lasts to the next hour."""
LEVELS_OFF = {"independent rows": 0.05, "hours": 0.05, "hours that last": 0.07, "days": 0.35}
"""How often an interval may miss, as documented. What lasts for a day makes a week a handful of independent times, and
a day one: nothing that is known of these says how different others would have been."""
START = np.datetime64("2026-01-01T00:00:00", "s")
ROWS = 20


def hourly_effects(rng, hours, size, lasting):
    effects = rng.normal(0, size, hours)
    for i in range(1, hours):
        effects[i] = lasting * effects[i - 1] + np.sqrt(1 - lasting**2) * effects[i]
    return np.repeat(effects, ROWS)


def rows_of(rng, kind, hours, size, lasting):
    """Scores that are right but for what an hour adds to the truth."""
    known, shared = rng.normal(0, 1.2, hours * ROWS), hourly_effects(rng, hours, size, lasting)
    if kind == "regression":
        return Scored(known + shared + rng.normal(0, 1, len(known)), np.full(len(known), np.nan), known)
    score = 1 / (1 + np.exp(-known))
    label = (rng.random(len(known)) < 1 / (1 + np.exp(-(known + shared)))).astype(float)
    return Scored(label, score, (score > 0.5).astype(float))


@functools.cache
def truth(kind, size):
    rows = rows_of(np.random.default_rng(99), kind, 40_000, size, 0.0)
    whole = HourlyTable.read([Sums.measure(rows, METRICS[kind]).to_json()])
    return {metric: interval_estimate(metric, whole, np.array([START])).value for metric in METRICS[kind]}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("kind", "hours"), [("binary", 24), ("binary", 168), ("regression", 24), ("regression", 168)])
def test_intervals_miss_about_as_often_as_stated(kind, hours, world):
    missed = dict.fromkeys(METRICS[kind], 0)
    times = START + np.timedelta64(1, "h") * np.arange(hours)
    for repetition in range(REPETITIONS):
        rows = rows_of(np.random.default_rng([hours, repetition]), kind, hours, *WORLDS[world])
        parts = [Sums.measure(rows.take(slice(i * ROWS, (i + 1) * ROWS)), METRICS[kind]) for i in range(hours)]
        stretch = HourlyTable.read([part.to_json() for part in parts])
        for metric in METRICS[kind]:
            found = interval_estimate(metric, stretch, times)
            missed[metric] += not found.lower <= truth(kind, WORLDS[world][0])[metric] <= found.upper
    print(kind, hours, world, {metric: count / REPETITIONS for metric, count in missed.items()})
    for metric, count in missed.items():
        assert count <= binom.ppf(0.999, REPETITIONS, LEVELS_OFF[world]), (metric, count / REPETITIONS)
        assert count >= binom.ppf(0.001, REPETITIONS, LEVEL / 3), (metric, "so wide that it says too little")

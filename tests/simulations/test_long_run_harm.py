"""Harm on all labels since the promotion: how often a version that does none is ever said to do some."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from keel.config import PerformanceConfig
from keel.monitoring.performance import measure_long_run
from keel.stats.metrics.hourly_sums import Sums
from keel.stats.metrics.hourly_table import HourlyTable
from keel.stats.metrics.losses import Scored, estimate

FULL = bool(os.environ.get("KEEL_FULL_SIZE"))
PATHS, DAYS, HOLDOUT, PER_DAY = (400 if FULL else 40), (365 if FULL else 120), 21, 60
CONFIG = PerformanceConfig(metric="mae", max_degradation=0.0, min_rows=200)


def day(rng, shared):
    """Return a day whose rows share a normal effect with a standard deviation of ``shared``."""
    off = rng.normal(size=PER_DAY) + shared * rng.normal()
    return Scored(np.zeros(PER_DAY), np.zeros(PER_DAY), 3 + off)


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_a_version_that_does_no_harm_is_said_to_at_most_as_often_as_stated_however_often_it_is_checked(shared):
    alarms = 0
    times = np.datetime64("2026-01-01", "s") + np.arange(DAYS) * np.timedelta64(1, "D")
    for path in range(PATHS):
        rng = np.random.default_rng(path)
        holdout = [day(rng, shared) for _ in range(HOLDOUT)]
        reference = estimate("mae", Scored(*(np.concatenate([getattr(each, name) for each in holdout])
                                             for name in ("label", "score", "prediction"))))  # fmt: skip
        table = HourlyTable.read([Sums.measure(day(rng, shared), ["mae"]).to_json() for _ in range(DAYS)])
        looks = (measure_long_run("mae", table.between(0, n), times[:n], reference, CONFIG) for n in range(5, DAYS + 1))
        alarms += any(found is not None and found.is_harm(0.0) for found in looks)
    print(f"shared {shared}: {alarms} of {PATHS} paths of {DAYS} days, level {CONFIG.alpha}")
    assert alarms <= PATHS * CONFIG.alpha + 3 * math.sqrt(PATHS * CONFIG.alpha * (1 - CONFIG.alpha))

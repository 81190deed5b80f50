"""The live tests of the mean loss in worlds with a known truth: how often they alarm without harm, how soon with it."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.live_losses import AUDIT_BOUND, BLOCKS, BOUND, CHANGE, late_labels, one_in_ten, wrong_decisions

FULL = bool(os.environ.get("KEEL_FULL_SIZE"))
TRIALS, DELAYS = (500, 100) if FULL else (30, 14)
CONFIDENCE = 0.999
"""Of each test: a monitor that keeps its level fails one in a thousand of them, with other seeds than these."""


def at_most(level: float) -> float:
    """Return the largest number of alarms that chance explains where the level is kept."""
    return float(binom.ppf(CONFIDENCE, TRIALS, level))


def alarms(kind, *args, trials=TRIALS, **options) -> int:
    return sum(kind(*args, trial, **options) is not None for trial in range(trials))


def median_delay(kind, *args, **options) -> float:
    """Return the median of the rows from the change to the alarm; a run that never alarms counts as infinite."""
    found = [kind(*args, trial, **options) or math.inf for trial in range(DELAYS)]
    assert min(found) > CHANGE, "a false alarm"
    return float(np.median(found)) - CHANGE


def test_harm_monitor_at_the_limit_alarms_at_most_as_often_as_stated():
    found = alarms(wrong_decisions, None)
    print(f"{found} of {TRIALS} runs at the limit")
    assert found <= at_most(BLOCKS / BOUND)


def test_harm_monitor_on_days_that_differ_rarely_alarms_and_would_if_rows_were_taken_as_independent():
    shock = {"shock": 0.25}
    found, naive = (alarms(wrong_decisions, 0.15, with_days=days, **shock) for days in (True, False))
    print(f"{found} of {TRIALS} runs on days that differ, {naive} with rows taken as independent")
    assert found <= 0.2 * TRIALS
    assert naive >= 0.7 * TRIALS


@pytest.mark.parametrize(("after", "sketch"), [(0.20, 3_500), (0.25, 600), (0.30, 300)])
def test_harm_monitor_is_about_as_fast_as_the_sketch(after, sketch):
    delay = median_delay(wrong_decisions, after)
    print(f"error .15 to {after}: {delay:.0f} labels, the sketch {sketch}")
    assert delay <= 1.4 * sketch


@pytest.mark.parametrize("method", ["labelled", "powered"])
def test_audit_test_at_the_limit_alarms_at_most_as_often_as_stated(method):
    found = alarms(one_in_ten, method, 0.0, tolerance=0.0)
    print(f"{method}: {found} of {TRIALS} runs at the limit")
    assert found <= at_most(BLOCKS / AUDIT_BOUND)


@pytest.mark.parametrize(("shift", "sketch"), [(1.0, 2_200), (1.5, 1_200), (2.0, 800)])
def test_audit_test_is_as_fast_as_the_sketch_and_faster_than_its_labels_alone(shift, sketch):
    powered, labelled = (median_delay(one_in_ten, method, shift) for method in ("powered", "labelled"))
    print(f"shift {shift}: {powered:.0f} predictions, {labelled:.0f} by the labels alone, the sketch {sketch}")
    assert powered <= 1.3 * sketch
    assert powered < labelled


def test_late_labels_mislead_every_method_but_those_that_wait_or_refuse():
    few = 10
    false = {method: alarms(late_labels, method, "positives", 0.0, trials=few)
             for method in ("sample", "impatient", "audit", "matured")}  # fmt: skip
    missed = alarms(late_labels, "sample", "negatives", 1.5, trials=few)
    print(f"positives first, false alarms of {few}: {false}; negatives first, harm found from early ones: {missed}")
    assert false == {"sample": few, "impatient": few, "audit": 0, "matured": 0}
    assert missed == 0
    assert median_delay(late_labels, "matured", "negatives", 1.5) <= 200

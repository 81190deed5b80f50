"""Live monitors of columns in worlds with a known truth: how often they alarm without a change, how soon with one."""

from __future__ import annotations

import functools
import math
import os
import random

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import friedman, live, live_friedman, live_tables
from benchmarks.live import ALPHA, BLOCK, BLOCKS, ROWS_A_DAY

TRIALS = 500 if os.environ.get("KEEL_FULL_SIZE") else 100
CONFIDENCE = 0.999
"""Of each test: a monitor that keeps its level fails one in a thousand of them, with other seeds than these."""
HOURLY = ("hour",)


def at_most(level, trials=TRIALS):
    """The largest share that chance explains where the level is kept."""
    return binom.ppf(CONFIDENCE, trials, level) / trials


@functools.cache
def unchanged(kind, batch, columns):
    days = np.arange(BLOCKS * BLOCK) / ROWS_A_DAY
    return live.draw(kind, np.random.default_rng([1, batch]), days, columns)


def share_of_alarms(kind, rows, context):
    alarms = []
    for batch, columns in live_tables.batches(TRIALS):
        reference = live.reference_of(kind, rows, columns, [2, batch, rows], context)
        alarms.append(live.first_alarms(reference, unchanged(kind, batch, columns), seed=batch) > 0)
    return np.concatenate(alarms).mean()


@pytest.mark.parametrize("rows", [1_000, 5_000, 50_000])
@pytest.mark.parametrize(("kind", "context"), [("iid", ()), ("cycle", HOURLY)])
def test_a_column_that_does_not_change_alarms_at_most_as_often_as_stated(kind, context, rows):
    share = share_of_alarms(kind, rows, context)
    print(f"{kind}, context {context}, reference {rows}: {share:.3f} of {TRIALS} within {BLOCKS} blocks")
    assert share <= at_most(ALPHA)


def test_a_column_whose_contexts_have_few_rows_alarms_in_its_first_blocks_at_most_as_often_as_stated():
    """Fifteen reference rows a context. Most false alarms come early, while the reference is most of what is known."""
    rows, columns, blocks, level = 2_500, live_tables.COLUMNS, 40, 0.03
    threshold = math.log(blocks / level)
    alarms = []
    for i in range(max(12, 5 * TRIALS // columns)):
        rng = np.random.default_rng([6, i])
        before, later = (rng.uniform(0, 28, n) for n in (rows, blocks * BLOCK))
        reference = live.reference_of("iid", rows, columns, [7, i], ("hour", "weekday"), days=before)
        stream = live.draw("iid", rng, later, columns)
        alarms.append(live.first_alarms(reference, stream, seed=i, threshold=threshold, days=later) > 0)
    share = np.mean(alarms)
    print(f"hour and weekday, reference {rows:,}: {share:.3f} of {np.size(alarms)} within {blocks} blocks")
    assert share <= at_most(level, np.size(alarms))


def test_a_daily_cycle_alarms_without_contexts():
    assert share_of_alarms("cycle", 5_000, ()) > 0.95


@pytest.mark.parametrize(
    ("change", "sketch"), [("mean + .25 sd", 500), ("mean + .5 sd", 200), ("mean + 1 sd", 100), ("sd × 2", 200)]
)
def test_a_change_is_found_as_soon_as_by_the_sketch(change, sketch):
    delays = live_tables.changed("iid", 50_000, "without context", change, 0, live_tables.COLUMNS)
    assert np.median(delays) <= sketch
    assert (delays > 0).mean() > 0.95


def test_a_shift_on_top_of_a_daily_cycle_is_found_with_contexts():
    delays = live_tables.changed("cycle", 50_000, "by hour", "mean + .5 sd", 0, live_tables.COLUMNS)
    assert np.median(delays) <= 200


def rivers_stream(seed, rows):
    """Return the features and the noise that river draws: ten uniform numbers a row, then a normal one."""
    rng = random.Random(seed)
    drawn = [([rng.uniform(0, 1) for _ in range(friedman.FEATURES)], rng.gauss(0, 1)) for _ in range(rows)]
    return np.array([x for x, _ in drawn]), np.array([noise for _, noise in drawn])


@pytest.mark.parametrize(
    ("kind", "positions", "documented"),
    [
        ("lea", (1, 2, 3), [7.66, 8.33, 7.04, 18.16, -2.65]),
        ("gra", (2, 3), [7.66, 8.33, 8.96, 18.16, 8.90]),
        ("gsg", (1, 4), [7.66, 8.33, 8.92, 17.32, 6.05]),
    ],
)
def test_friedman_equals_the_examples_in_rivers_documentation(kind, positions, documented):
    x, noise = rivers_stream(42, 5)
    row = np.arange(5)
    if kind == "gsg":  # river draws old or new from a generator of the same seed, within the window alone
        mixed = random.Random(42)
        old = np.array([bool(positions[0] <= i < positions[0] + 2 and mixed.getrandbits(1)) for i in row])
        found = friedman.gsg(x, row, positions, window=2, old=old) + noise
        found, documented = found[:4], documented[:4]  # the last row is behind the second position
    else:
        found = getattr(friedman, kind)(x, row, positions) + noise
    assert found == pytest.approx(documented, abs=0.01)


@pytest.mark.parametrize(("kind", "adwin"), [("gra", 27), ("gsg", 27)])
def test_friedman_drift_everywhere_is_found_within_twice_the_delay_of_adwin(kind, adwin):
    trials = 1_000 if os.environ.get("KEEL_FULL_SIZE") else 40
    for monitor in np.array([live_friedman.trial(kind, seed, 10) for seed in range(trials)]).T:
        false = ((monitor > 0) & (monitor <= live_friedman.BEFORE)).mean()
        delays = monitor[monitor > live_friedman.BEFORE] - live_friedman.BEFORE
        assert false <= at_most(ALPHA, trials)
        assert len(delays) >= trials * (1 - ALPHA) - 3.1 * math.sqrt(trials * ALPHA * (1 - ALPHA))
        assert delays.mean() <= 2 * adwin

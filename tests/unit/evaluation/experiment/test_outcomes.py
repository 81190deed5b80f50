"""When a row of an experiment counts: once its label has come and was due, in both arms alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from keel.evaluation.experiment.outcomes import read_rows
from keel.evaluation.experiment.plan import Plan, Stage

START, HOUR, DELAY = datetime(2026, 1, 5, tzinfo=UTC), timedelta(hours=1), timedelta(hours=24)
PLAN = Plan("e", "m", 1, 2, "ab", (Stage(0.5),), "s", "brier", 0.0, 0.05, 1_000, START, label_delay=DELAY)
TIMES = pa.timestamp("us", "UTC")


def at(now):
    """What is known at so many hours of four rows of the first hour: their labels come after 1, 24, 30 and 1 hours."""
    assigned = pa.table(
        {
            "entity": ["early", "in time", "late", "nameless"],
            "time": pa.array([START] * 4, TIMES),
            "arm": ["champion", "challenger", "champion", "challenger"],
            "allocation": [0.5] * 4,
        }
    )
    nothing = pa.nulls(4, pa.float64())
    outcomes = assigned.append_column("version", pa.array([1, 2, 1, 1]))  # the last was answered by the other version
    for name, values in {
        "score": [0.2, 0.4, 0.6, 0.8], "prediction": [0.0, 0.0, 1.0, 1.0], "label": [0.0, 1.0, 1.0, 1.0],
        "observed_at": pa.array([START + hours * HOUR for hours in (1, 24, 30, 1)], TIMES),
        "shadow_version": nothing, "shadow_score": nothing, "shadow_prediction": nothing,
    }.items():  # fmt: skip
        outcomes = outcomes.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    return read_rows(PLAN, outcomes, assigned, now=START + now * HOUR)


def test_an_early_label_counts_when_it_matures_and_a_late_one_when_it_arrives():
    for now, scores in (
        (1, []),
        (23.99, []),
        (24, [0.2, 0.4, 0.8]),
        (29.99, [0.2, 0.4, 0.8]),
        (30, [0.2, 0.4, 0.8, 0.6]),
    ):
        labelled, rows = at(now)
        assert labelled.answered.score.tolist() == scores
        assert len(rows) == 4
    hours = (labelled.known_at - labelled.time) / np.timedelta64(1, "h")
    assert hours.tolist() == [24, 24, 24, 30]


def test_a_row_of_another_version_is_unusable_but_stays_in_its_arm():
    labelled, rows = at(30)
    assert labelled.usable.tolist() == [True, True, False, True]
    assert labelled.challenger.tolist() == [False, True, True, False]
    assert rows.challenger.tolist() == [False, True, False, True]
    assert rows.labelled.tolist() == [True, True, False, False]  # the late one had none when it was due

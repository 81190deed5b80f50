"""What policies are worth: metrics and differences on the same rows, by the same functions as the gate's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from keel.backtest.past import Past, record_past
from keel.backtest.results import difference, estimated, measure
from keel.backtest.simulation import Scores
from keel.stats.metrics.losses import Scored
from tests.support.backtest.plans import plan_of
from tests.support.backtest.result import step
from tests.support.pipelines import past as pipeline
from tests.support.toy import toy_rows

HOURS = np.arange("2026-01-01", "2026-01-31", dtype="datetime64[h]").astype("datetime64[us]")
RNG = np.random.default_rng(1)
LABEL = (RNG.random(len(HOURS)) < 0.5).astype(float)
GOOD = Scored(LABEL, np.where(LABEL > 0, 0.8, 0.2), LABEL)
POOR = Scored(LABEL, np.where(LABEL > 0, 0.6, 0.4), LABEL)


def test_measure_leaves_out_labels_that_the_target_cannot_have_and_the_notes_say_how_many(tmp_path, monkeypatch):
    rows = toy_rows(days=60, per_hour=1)
    wrong = pa.array([*rows["label"].to_pylist()[:-2], 2.0, 0.5])
    monkeypatch.setattr(pipeline, "labelled_history", lambda config: rows.set_column(2, "label", wrong))
    plan = plan_of("never")
    recorded = record_past(plan, tmp_path / "past", source="pipeline", store_url=None)
    past = Past.open(tmp_path / "past")
    answers = [np.full(sum(table.num_rows for table in past.rows(*span)), 0.5) for span in plan.steps]
    run = [step(number) for number in range(len(answers))], [Scores(each, each) for each in answers]
    found = measure(plan, past, {"never": run}, backtest_id="a", recorded=recorded, first_version="")
    assert found.notes[-1] == "2 labels are left out, because a label is 0 or 1 for a binary target."
    assert (found.predictions, found.labelled, found.source_option) == (25 * 24, 25 * 24 - 2, "pipeline")


def test_estimated_returns_the_mean_loss_with_an_interval_around_it():
    noisy = Scored(LABEL, RNG.random(len(LABEL)), LABEL)
    found = estimated("brier", noisy, HOURS)
    assert found.value == pytest.approx(((noisy.score - LABEL) ** 2).mean())
    assert found.lower < found.value < found.upper
    assert found.n == len(HOURS)


@pytest.mark.parametrize(("metric", "value"), [("brier", 0.12), ("accuracy", 0.0), ("log_loss", np.log(0.8 / 0.6))])
def test_difference_is_positive_for_the_better_policy_and_changes_sign_with_the_order(metric, value):
    assert difference(metric, "never", POOR, GOOD, HOURS).value == pytest.approx(value)
    assert difference(metric, "never", GOOD, POOR, HOURS).value == pytest.approx(-value)


def test_difference_uses_only_rows_with_a_label_and_both_scores():
    unlabelled, unscored = LABEL.copy(), GOOD.score.copy()
    unlabelled[:100], unscored[100:150] = np.nan, np.nan
    found = difference(
        "brier", "never", Scored(unlabelled, POOR.score, LABEL), Scored(unlabelled, unscored, LABEL), HOURS
    )
    assert found.n == len(HOURS) - 150
    assert found.clusters == {"unit": "day", "count": 24}


def test_difference_of_equal_policies_is_zero_without_a_sign():
    found = difference("brier", "never", GOOD, GOOD, HOURS)
    assert [str(each) for each in (found.value, found.lower, found.upper)] == ["0.0", "0.0", "0.0"]


@pytest.mark.parametrize("n", [0, 1])
def test_estimates_of_too_few_rows_are_not_known(n):
    few = slice(0, n)
    rows = Scored(LABEL[few], GOOD.score[few], LABEL[few])
    assert estimated("brier", rows, HOURS[few]).value is None
    found = difference("brier", "never", rows, rows, HOURS[few])
    assert (found.value, found.lower, found.upper, found.n) == (None, None, None, n)


def test_estimated_area_under_the_curve_of_one_class_is_not_known():
    ones = Scored(np.ones(len(HOURS)), GOOD.score, LABEL)
    found = estimated("roc_auc", ones, HOURS)
    assert (found.value, found.lower, found.n) == (None, None, len(HOURS))

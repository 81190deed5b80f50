"""Metrics that do not fit, tolerances that mean nothing, and rows that no metric is defined on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import keel
from keel.errors import ConfigError

N = 200
RNG = np.random.default_rng(0)
BINARY = pd.DataFrame({"y": np.arange(N) % 2, "p": np.where(np.arange(N) % 2, 0.8, 0.3), "x": RNG.normal(0, 1, N)})
NUMBERS = pd.DataFrame({"y": RNG.normal(5, 2, N)}).assign(p=lambda f: f["y"] + 0.5)
ROLES = {"target": "y", "score": "p"}


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "x"])
def test_detect_of_a_tolerance_that_is_none_names_it(value):
    with pytest.raises(ConfigError, match="max_degradation"):
        keel.detect(BINARY, BINARY, **ROLES, max_degradation=value)


@pytest.mark.parametrize("metric", ["brier", "log_loss", "roc_auc", "accuracy"])
def test_detect_of_a_metric_for_two_classes_on_numbers_names_those_that_fit(metric):
    with pytest.raises(ConfigError, match=rf"metric: {metric} is of a target of 0 and 1, .*: mae, rmse"):
        keel.detect(NUMBERS, NUMBERS, **ROLES, metric=metric)


def test_detect_of_an_unknown_metric_suggests_one():
    with pytest.raises(ConfigError, match="unknown metric 'brie'; did you mean 'brier'"):
        keel.detect(BINARY, BINARY, **ROLES, metric="brie")


@pytest.mark.parametrize("metric", ["brier", "log_loss"])
def test_detect_of_rows_that_the_metric_is_not_defined_on_excludes_and_counts_them(metric):
    odd = BINARY.astype(float)
    odd.loc[:4, "y"] = 2
    odd.loc[10:16, "p"] = 1.5
    report = keel.detect(BINARY, odd, **ROLES, metric=metric).to_dict()
    rest = keel.detect(BINARY, odd.drop(index=[*range(5), *range(10, 17)]), **ROLES, metric=metric).to_dict()
    assert report["performance"]["current"][metric] == rest["performance"]["current"][metric]
    notes = " ".join(report["notes"])
    assert "5 of 200 rows of current have a target that is neither 0 nor 1." in notes
    assert "7 of 200 rows of current have a score outside 0 to 1." in notes


def test_detect_beside_an_error_of_nothing_does_not_call_rounding_harm():
    exact = NUMBERS.assign(p=NUMBERS["y"])
    assert not keel.detect(exact, exact.assign(p=exact["y"] + 1e-9), **ROLES).degraded
    assert keel.detect(exact, exact.assign(p=exact["y"] + 0.1), **ROLES).degraded


def timed(frame, freq):
    return frame.assign(at=pd.date_range("2024-03-04", periods=N, freq=freq))


@pytest.mark.parametrize(
    ("before", "after", "units", "said"),
    [
        ("2h", "2h", ("day", "day"), "Rows of the same day may depend on each other; the intervals allow for it."),
        ("s", "s", ("row", "row"), "The intervals take rows as independent, because the times span too few hours"),
        ("2h", "s", ("day", "row"), "Rows of current count as independent, because they span too few hours."),
    ],
)
def test_detect_says_which_rows_its_intervals_let_depend_on_each_other(before, after, units, said):
    report = keel.detect(timed(BINARY, before), timed(BINARY, after), **ROLES, time="at")
    assert (report.to_dict()["reference"]["clusters"], report.to_dict()["current"]["clusters"]) == units
    assert said in " ".join(str(report).split())

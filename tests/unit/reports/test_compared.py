"""`keel.compare` gives the gate's bound for arrays of any form, and says what is wrong with others."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import keel
from keel.config import PromotionConfig
from keel.errors import ConfigError
from keel.evaluation.holdout.comparison import compare_versions
from keel.stats.metrics.losses import Scored

N = 2_000
START = np.datetime64("2026-01-01T00:00:00", "us")


@pytest.fixture(scope="module")
def scores():
    """Labels, a noisy and a better version's probabilities."""
    rng = np.random.default_rng(11)
    truth = rng.uniform(size=N)
    label = (rng.uniform(size=N) < truth).astype(float)
    return label, np.clip(truth + rng.normal(0, 0.25, N), 0, 1), np.clip(truth + rng.normal(0, 0.1, N), 0, 1)


@pytest.fixture(scope="module")
def found(scores):
    return keel.compare(*scores, names=("today", "candidate"))


def test_compare_gives_the_bound_of_the_gate(scores):
    label, a, b = scores
    times = START + np.arange(N) * np.timedelta64(20, "m")
    mine = keel.compare(label, a, b, times=times, prior_comparisons=2, alpha=0.1, margin=0.001)
    gate = compare_versions(
        *(Scored(label, score, (score >= 0.5).astype(float)) for score in (a, b)),
        metric="brier", policy=PromotionConfig(alpha=0.1, margin=0.001, min_rows=30), times=times, segments={},
        prior_comparisons=2, holdout_end=pd.Timestamp(times[-1], tz="UTC").to_pydatetime(),
    )  # fmt: skip
    assert (mine.improvement, mine.lower_bound) == (gate.improvement, gate.lower_bound)
    assert mine.verdict == str(gate.verdict) == "pass"
    assert mine.to_dict()["clusters"]["unit"] == "day"


@pytest.mark.parametrize(
    "form",
    [list, np.asarray, pd.Series, pl.Series, pa.array, lambda x: pa.chunked_array([x[:7], x[7:]])],
    ids=["list", "numpy", "pandas", "polars", "arrow", "chunked"],
)
def test_compare_reads_arrays_of_any_form_alike(scores, found, form):
    assert keel.compare(*map(form, scores), names=("today", "candidate")).to_dict() == found.to_dict()


def test_compare_pairs_series_by_position_whatever_their_index(scores, found):
    label, a, b = scores
    shifted = [pd.Series(values, index=np.arange(N) + k) for k, values in enumerate((label, a, b))]
    assert keel.compare(*shifted, names=("today", "candidate")).improvement == found.improvement


def test_compare_shows_itself_under_the_given_names(found):
    assert found.page().headline == "candidate is better than today."
    assert "candidate against today: better by" in str(found)
    assert "No times were given." in str(found)
    assert "<iframe" in found._repr_html_()
    assert found.to_html().count("<svg") >= 3
    assert "Of 2,000 predictions" in found.to_markdown()
    json.dumps(found.to_dict(), allow_nan=False)


def test_compare_counts_rows_without_a_usable_value(scores):
    label, a, b = (each.copy() for each in scores)
    label[:10], a[10:30], b[30:40] = np.nan, np.inf, 1.5
    got = keel.compare(label, a, b, metric="brier").to_dict()
    assert got["n"] == N - 40
    assert got["n_excluded"] == {
        "total": 40, "no label of 0 or 1": 10, "no usable score of a": 20, "no usable score of b": 10,
    }  # fmt: skip


def test_compare_with_too_many_excluded_rows_is_inconclusive(scores):
    label, a, b = scores
    got = keel.compare(np.where(np.arange(N) % 4 == 0, np.nan, label), a, b)
    assert got.verdict == "inconclusive"
    assert got.improvement is None
    assert "500 of 2,000 rows are unusable, more than 5% (500 with no label of 0 or 1)" in got.sentence
    assert "retrain" not in str(got)


@pytest.mark.parametrize(
    ("y", "a", "b"),
    [
        ([], [], []),
        ([1], [0.5], [0.6]),
        ([None] * 50, [0.5] * 50, [0.6] * 50),
        ([0, 1] * 50, [None] * 100, [0.6] * 100),
        ([0] * 100, [0.5] * 100, [0.5] * 100),
        ([3.5] * 100, [3.5] * 100, [3.5] * 100),
    ],
    ids=["nothing", "one row", "no label", "no score", "one class", "constant"],
)
def test_compare_of_rows_that_show_nothing_says_so(y, a, b):
    got = keel.compare(y, a, b)
    assert got.verdict in {"inconclusive", "fail"}
    assert "retrain" not in str(got)
    assert "None" not in str(got)
    json.dumps(got.to_dict(), allow_nan=False)


def test_compare_of_numbers_uses_the_mean_absolute_error():
    rng = np.random.default_rng(2)
    y = rng.normal(100, 20, 500)
    got = keel.compare(y, y + rng.normal(0, 9, 500), y + rng.normal(0, 3, 500))
    assert (got.verdict, got.to_dict()["metric"]) == ("pass", "mae")
    assert {section.title for section in got.page().sections} >= {
        "How far off they are",
        "Which predictions would change",
    }


def test_compare_of_scores_that_are_no_probabilities_ranks_them(scores):
    label, a, b = scores
    got = keel.compare(label, 9 * a - 4, 9 * b - 4).to_dict()
    assert (got["metric"], got["mcnemar"], got["extra_metrics"], got.get("flips")) == ("roc_auc", None, {}, None)


def test_compare_within_segments_decides_only_with_their_margin(scores):
    label, a, b = scores
    b = np.where(np.arange(N) % 5 == 0, 1 - b, b)
    places = np.where(np.arange(N) % 5 == 0, "<b>x</b>", "y")
    free = keel.compare(label, a, b, segments={"place": pd.Series(places)}, margin=-0.5)
    strict = keel.compare(label, a, b, segments={"place": places}, margin=-0.5, segment_margin=0.01)
    assert (free.verdict, strict.verdict) == ("pass", "fail")
    assert "worse within place = <b>x</b>" in strict.page().headline
    assert "segments decide nothing" in str(free)
    assert "<b>x" not in strict.to_html()
    assert [each["n"] for each in free.to_dict()["flips"]["segments"]["found"]] == [400, 1600]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"a": [0.5] * 3}, "y has 2,000, a has 3, b has 2,000: pass the label and both scores of the same rows"),
        ({"a": ["x"] * N}, "a: holds .x., which is no number"),
        ({"a": np.zeros((N, 2))}, "a: cannot be read as a table: .*1-dimensional"),
        ({"a": "0.5"}, "a: is a str; pass a list, an array or a Series"),
        ({"a": 0.5}, "a: is a float; pass a list"),
        ({"metric": "brierr"}, "unknown metric 'brierr', did you mean|unknown metric 'brierr'"),
        ({"metric": "mae", "kind": "binary"}, "mae is of a regression target, and kind is 'binary'"),
        ({"kind": "multi"}, "kind: .*multi.* is neither 'binary' nor 'regression'"),
        ({"times": [1.0] * N}, "times: .* holds .*, which is no time"),
        ({"times": ["2026-01-01"] * 3}, "times: has 3 values, and y has 2,000"),
        ({"segments": {"place": ["x"]}}, "place: has 1 values, and y has 2,000"),
        ({"margin": float("nan")}, "margin: .*nan.* is no finite number"),
        ({"alpha": 2}, "keel.compare: alpha"),
        ({"prior_comparisons": -1}, "prior_comparisons: .*-1.* is no number of comparisons"),
        ({"names": ("x", "x")}, "names: takes two different texts"),
        ({"names": "ab"}, "names: takes two different texts"),
        ({"names": ("<b>x</b>", "")}, "names: .*<b>x</b>.* has an empty name: give both a text"),
    ],
)  # fmt: skip
def test_compare_of_what_cannot_be_compared_names_it(scores, more, message):
    label, a, b = scores
    values = {"y": label, "a": a, "b": b, **more}
    with pytest.raises(ConfigError, match=message):
        keel.compare(values.pop("y"), values.pop("a"), values.pop("b"), **values)


def test_compare_without_a_segment_margin_stores_none():
    record = keel.compare([0, 1] * 50, [0.4, 0.6] * 50, [0.3, 0.7] * 50).to_dict()
    assert record["segment_margin"] is None
    assert "segment_margin" not in record["policy"]

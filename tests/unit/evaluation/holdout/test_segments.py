"""No segment is left in which the challenger may be worse by the margin, and one that is worse is found."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks import gate
from keel.config import PromotionConfig
from keel.evaluation.holdout.comparison import Verdict, compare_versions
from keel.evaluation.holdout.segments import MISSING, SegmentStatus
from keel.stats.metrics.losses import Scored

N = 8_400


def compare(gains, *, values=None, metric="mae", noise=0.05, seed=0, **policy):
    """A challenger better than the champion by a gain within each of as many segments as there are gains."""
    rng = np.random.default_rng(seed)
    segment = np.arange(N) % len(gains)
    better = np.asarray(gains)[segment] + noise * rng.standard_normal(N)
    zero = np.zeros(N)
    names = np.array([f"s{number}" for number in segment], dtype=object) if values is None else values
    return compare_versions(
        Scored(zero, zero, 9 + better), Scored(zero, zero, zero + 9), metric=metric,
        policy=PromotionConfig(segments=("carrier",), **policy), times=gate.spread(N), segments={"carrier": names},
        prior_comparisons=0, holdout_end=gate.HOLDOUT_END,
    )  # fmt: skip


def test_a_challenger_that_is_better_in_each_segment_passes():
    found = compare([0.02] * 14)
    assert found.verdict is Verdict.PASS
    assert "any of the 14 segments of carrier" in found.reason
    assert {segment.status for segment in found.segments.found} == {SegmentStatus.NON_INFERIOR}
    assert all(segment.n == 600 for segment in found.segments.found)


def test_a_much_worse_segment_fails_a_challenger_that_is_better_overall():
    found = compare([0.05] * 13 + [-0.1])
    assert found.improvement > 0.03
    assert found.verdict is Verdict.FAIL
    assert found.reason.startswith("worse by more than 0.02 within carrier=s13 (-0.1")
    worst = found.segments.found[0]
    assert (worst.value, worst.status) == ("s13", SegmentStatus.INFERIOR)
    assert worst.simultaneous[0] < worst.lower_bound < worst.improvement < worst.simultaneous[1] < -0.02


def test_a_segment_that_is_not_shown_to_be_as_good_fails_the_challenger():
    found = compare([0.05] * 13 + [-0.02])
    assert found.verdict is Verdict.FAIL
    assert found.reason.startswith("not shown to be worse by less than 0.02 within carrier=s13")
    assert compare([0.05] * 13 + [-0.02], segment_margin=0.05).verdict is Verdict.PASS


def test_at_most_ten_are_named():
    found = compare([0.1, *[-0.03] * 13], margin=-0.05, segment_margin=0.01)
    assert found.verdict is Verdict.FAIL
    assert found.reason.count("carrier=") == 10
    assert found.reason.endswith("and 3 more")


def test_a_segment_with_too_few_rows_is_reported_and_not_evaluated():
    values = np.where(np.arange(N) < 100, "rare", "usual").astype(object)
    found = compare([0.02], values=values)
    assert found.verdict is Verdict.PASS
    rare = found.segments.found[-1]
    assert (rare.value, rare.n, rare.status) == ("rare", 100, SegmentStatus.TOO_FEW)
    assert rare.improvement == pytest.approx(0.02, abs=0.02)
    assert math.isnan(rare.lower_bound)


def test_segments_beyond_the_listed_ones_are_counted():
    found = compare([0.02], values=np.array([f"id-{i}" for i in range(N)], dtype=object))
    record = found.to_dict()["segments"]
    assert (record["evaluated"], len(record["found"]), record["not_listed"]) == (0, 50, N - 50)
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_rows_without_a_value_are_a_segment_of_their_own(missing):
    values = np.array([missing if i % 2 else "known" for i in range(N)], dtype=object)
    assert {segment.value for segment in compare([0.02], values=values).segments.evaluated} == {MISSING, "known"}


def test_a_segment_in_which_the_metric_is_not_defined_is_inconclusive():
    champion, challenger = gate.versions_in(gate.INDEPENDENT, (1.5, 2.5), seed=1, n=N, binary=True)
    segment = np.where(champion.label > 0, "late", np.where(np.arange(N) % 2, "late", "never")).astype(object)
    found = compare_versions(
        champion, challenger, metric="roc_auc", policy=PromotionConfig(segments=("carrier",)), times=gate.spread(N),
        segments={"carrier": segment}, prior_comparisons=0, holdout_end=gate.HOLDOUT_END,
    )  # fmt: skip
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "not defined within carrier=never" in found.reason
    json.dumps(found.to_dict(), allow_nan=False)


def test_rows_without_a_segments_column_are_inconclusive():
    found = compare_versions(
        *gate.versions_in(gate.INDEPENDENT, (1.5, 2.5), seed=1, n=N, binary=True), metric="brier",
        policy=PromotionConfig(segments=("carrier", "origin")), times=gate.spread(N), segments={"carrier": np.empty(N)},
        prior_comparisons=0, holdout_end=gate.HOLDOUT_END,
    )  # fmt: skip
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the rows have no column origin" in found.reason


def test_segments_are_those_of_the_usable_rows():
    """A row that is left out shifts nothing."""
    champion, challenger = gate.versions_in(gate.INDEPENDENT, (1.5, 2.5), seed=1, n=N, binary=True)
    hole = Scored(champion.label, np.where(np.arange(N) < 80, np.nan, champion.score), champion.prediction)
    values = np.where(np.arange(N) < 80, "gone", np.where(np.arange(N) % 2, "a", "b")).astype(object)
    found = compare_versions(
        hole, challenger, metric="brier", policy=PromotionConfig(segments=("carrier",)), times=gate.spread(N),
        segments={"carrier": values}, prior_comparisons=0, holdout_end=gate.HOLDOUT_END,
    )  # fmt: skip
    assert {segment.value: segment.n for segment in found.segments.found} == {"a": 4_160, "b": 4_160}


@pytest.mark.slow
@pytest.mark.parametrize("worse", [gate.LARGEST, gate.SMALLEST])
def test_a_segment_worse_by_the_margin_is_missed_at_most_as_often_as_stated(worse):
    trials = 120
    bound = gate.LEVEL + 3.1 * math.sqrt(gate.LEVEL * (1 - gate.LEVEL) / trials)
    assert gate.segments_shown(gate.REFRESH, 0.01, worse, trials)[0] <= bound


@pytest.mark.slow
def test_an_equal_challenger_of_the_same_recipe_does_not_fail_by_its_segments():
    assert gate.segments_shown(gate.REFRESH, 0.0, None, 40)[0] > 0.9

"""Versions on probation on real flights: a bad one is taken back within a week, good ones stay."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from scipy.stats import binom

from benchmarks import probation_flights as probation
from keel.evaluation.probation.verdict import ProbationVerdict

APART = probation.WEEK * (1 if os.environ.get("KEEL_FULL_SIZE") else 4)
"""Between the trainings of versions that good ones may replace: on these days none passes the gate, so few will do."""
DATES = probation.promotion_dates(3, probation.FIRST + probation.CHAMPION_AGE)


@pytest.mark.parametrize("promoted", DATES, ids=lambda date: f"{date:%b-%d}")
def test_a_version_trained_on_shuffled_labels_is_taken_back_within_its_probation(promoted):
    for report, _ in probation.bad_retrains(promoted, range(2)):
        assert report.verdict is ProbationVerdict.HARM
        assert report.harm.crossed_at <= report.n


def test_versions_as_good_as_the_one_before_are_taken_back_no_more_often_than_stated():
    watched = probation.good_versions(probation.promotion_dates(3), apart=APART)
    taken_back = [kind for kind, (report, _) in watched if report.verdict is ProbationVerdict.HARM]
    assert len(watched) >= 12
    assert len(taken_back) <= binom.ppf(0.999, len(watched), probation.ALPHA), taken_back


def test_looking_every_hour_takes_back_what_one_look_at_the_end_does_and_nothing_else():
    promoted = DATES[1]
    champion = probation.version(promoted - probation.CHAMPION_AGE)
    bad = probation.version(promoted, "shuffled", 0)
    (last, _) = probation.put_on_probation(bad, champion, promoted)
    days = [timedelta(days=day) for day in range(1, 8)]
    config, _ = probation.flights()
    looks = []
    for day in days:
        rows = probation.between(promoted, promoted + day)
        report = probation.evaluate_probation(
            probation.scored(bad, rows), probation.scored(champion, rows), times=rows["time"].to_numpy(),
            metric=config.performance.metric, reference=bad.reference, policy=config.promotion,
            max_degradation=probation.TOLERANCE, over=False,
        )  # fmt: skip
        looks.append(report.harm.crossed_at)
    found = [crossed for crossed in looks if crossed]
    assert set(found) == {last.harm.crossed_at}

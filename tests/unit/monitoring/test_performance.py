"""The performance check detects harm at its stated level, and has a status for what it cannot evaluate."""

import json

import numpy as np
import pytest

from keel.config import PerformanceConfig
from keel.monitoring.performance import LabelArrival, detect_degradation, measure_long_run
from keel.stats.metrics.hourly_sums import Sums
from keel.stats.metrics.hourly_table import HourlyTable
from keel.stats.metrics.losses import Scored, estimate, row_loss

CONFIG = PerformanceConfig(metric="brier", max_degradation=0.0, extra_metrics=("roc_auc",), min_rows=200)


def rows(n, *, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    truth = np.clip(rng.beta(2, 5, n), 0, 1)
    label = (rng.random(n) < np.clip(truth + shift, 0, 1)).astype(float)
    return Scored(label, truth, (truth > 0.3).astype(float))


def check(current, reference, config=CONFIG, **more):
    held = {name: estimate(name, reference) for name in (config.metric, *config.extra_metrics)}
    return detect_degradation(current, held, float(row_loss(config.metric, reference).mean()), config, **more)


@pytest.mark.slow
def test_false_alarms_stay_at_the_stated_level():
    repetitions = 1_000
    alarms = sum(
        check(rows(800, seed=2 * s), rows(1_500, seed=2 * s + 1)).status == "degraded" for s in range(repetitions)
    )
    # one-sided 99.9% upper binomial bound around alpha
    assert alarms / repetitions <= CONFIG.alpha + 3.1 * np.sqrt(CONFIG.alpha * (1 - CONFIG.alpha) / repetitions)
    assert alarms > 0  # a test that never alarms would pass for the wrong reason


def test_harm_is_found():
    found = sum(
        check(rows(3_000, seed=s, shift=0.15), rows(3_000, seed=s + 100)).status == "degraded" for s in range(50)
    )
    assert found == 50


def test_significant_but_immaterial_is_not_harm():
    config = CONFIG.model_copy(update={"max_degradation": 0.2})
    report = check(rows(3_000, seed=1, shift=0.15), rows(3_000, seed=2), config)
    assert report.status == "ok"
    assert report.p_value < 0.001


@pytest.mark.parametrize(("n", "status"), [(0, "no_labels"), (1, "insufficient"), (199, "insufficient"), (200, "ok")])
def test_too_few_labels_have_their_own_status(n, status):
    assert check(rows(n, seed=3), rows(3_000, seed=4)).status == status


@pytest.mark.parametrize(
    ("due", "labelled", "least", "missing"),
    [
        (0, 0, 0.5, False),
        (199, 0, 0.5, False),
        (200, 0, 0.5, True),
        (6_540, 196, 0.5, True),
        (6_540, 3_270, 0.5, False),
        (6_540, 0, 0.0, False),
    ],
)
def test_matured_labels_that_did_not_arrive_are_missing(due, labelled, least, missing):
    config = CONFIG.model_copy(update={"min_label_rate": least})
    report = check(rows(labelled, seed=3), rows(3_000, seed=4), config, arrival=LabelArrival(due, labelled)).to_dict()
    assert report["labels_missing"] is missing
    assert (report["due"], report["label_rate"]) == (due, labelled / due if due else None)


def test_metric_that_the_holdout_lacks_is_undefined_on_no_rows():
    config = CONFIG.model_copy(update={"metric": "log_loss"})
    held = {"brier": estimate("brier", rows(3_000, seed=4))}
    report = detect_degradation(rows(900, seed=3), held, None, config)
    assert (report.status, report.reference["log_loss"].n, report.loss_change) == ("undefined", 0, None)
    assert report.to_dict()["reference"]["log_loss"] == {"value": None, "standard_error": None, "n": 0}


def test_metric_whose_loss_the_holdout_lacks_is_tested_without_a_change_of_the_loss():
    config = CONFIG.model_copy(update={"metric": "log_loss"})
    held = {name: estimate(name, rows(3_000, seed=4)) for name in ("brier", "log_loss")}
    report = detect_degradation(rows(3_000, seed=3, shift=0.15), held, None, config, explained=0.1)
    assert (report.status, report.loss_change, report.explained) == ("degraded", None, None)


def test_unusable_rows_are_counted():
    good = rows(1_000, seed=5)
    score = good.score.copy()
    score[:100] = np.nan
    report = check(Scored(good.label, score, good.prediction), rows(3_000, seed=6))
    assert (report.n, report.unusable) == (900, 100)


def test_loss_change_is_split_into_input_drift_and_changed_relation():
    report = check(rows(3_000, seed=1, shift=0.15), rows(3_000, seed=2), explained=0.01)
    assert report.unexplained == pytest.approx(report.loss_change - 0.01)


def test_one_class_leaves_auc_undefined_and_the_report_json():
    ones = rows(2_000, seed=7)
    report = check(Scored(np.ones(2_000), ones.score, ones.prediction), rows(3_000, seed=8)).to_dict()
    assert report["current"]["roc_auc"]["value"] is None
    json.loads(json.dumps(report, allow_nan=False))


@pytest.mark.parametrize("positives", [0, 1, 2_000])
@pytest.mark.parametrize("one_class", ["window", "holdout"])
def test_undefined_auc_is_neither_ok_nor_insufficient(one_class, positives):
    config = PerformanceConfig(metric="roc_auc", min_rows=200)
    answers, good = rows(2_000, seed=7), rows(3_000, seed=8)
    alike = Scored((np.arange(2_000) < positives).astype(float), answers.score, answers.prediction)
    report = check(alike, good, config) if one_class == "window" else check(good, alike, config)
    assert report.status == "undefined"
    json.dumps(report.to_dict(), allow_nan=False)
    too_few = alike.take(np.arange(199))
    assert check(too_few, good, config).status == "insufficient"


def weeks(number, *, per_day=160, seed=0, shift=0.0):
    """Return the labelled rows of some weeks by day, and the table of their sums."""
    days = [rows(per_day, seed=1_000 * seed + day, shift=shift) for day in range(7 * number)]
    table = HourlyTable.read([Sums.measure(each, ["brier", "roc_auc"]).to_json() for each in days])
    return days, table, np.datetime64("2026-01-01", "s") + np.arange(len(days)) * np.timedelta64(1, "D")


def test_weeks_that_each_show_nothing_add_up():
    """Labels that are worse by a little more than the limit: few weeks show it, all of them do."""
    holdout = rows(50_000, seed=9)
    limit = PerformanceConfig(metric="brier", max_degradation=0.003, min_rows=200, alpha=0.01)
    days, table, times = weeks(40, per_day=60, shift=0.03)
    shown = 0
    for week in range(40):
        own = days[7 * week : 7 * week + 7]
        columns = (np.concatenate([getattr(day, name) for day in own]) for name in ("label", "score", "prediction"))
        shown += check(Scored(*columns), holdout, limit).status == "degraded"
    assert shown <= 8
    whole = measure_long_run("brier", table, times, estimate("brier", holdout), limit)
    assert (whole.n, whole.clusters) == (40 * 7 * 60, 280)
    assert whole.is_harm(limit.max_degradation)
    report = check(days[0], holdout, limit, long_run=whole)
    assert (report.status, report.n) == ("degraded", 60)
    assert report.to_dict()["long_run"]["lower_bound"] == whole.lower_bound > 0
    json.dumps(report.to_dict(), allow_nan=False)
    held = {"brier": estimate("brier", holdout)}  # of a version trained for another metric, whose loss is not this one
    sound = rows(5_000, seed=11)
    assert detect_degradation(sound, held, None, limit).status == "ok"
    assert detect_degradation(sound, held, None, limit, long_run=whole).status == "degraded"


def test_all_labels_show_no_harm_below_the_limit_or_on_few_days():
    holdout = rows(20_000, seed=9)
    _, table, times = weeks(20, shift=0.03)
    reference = estimate("brier", holdout)
    lenient = PerformanceConfig(metric="brier", max_degradation=0.05, min_rows=200)
    assert not measure_long_run("brier", table, times, reference, lenient).is_harm(0.05)
    assert measure_long_run("brier", table.between(0, 4), times[:4], reference, lenient) is None  # too few clusters
    assert measure_long_run("brier", table.between(0, 0), times[:0], reference, lenient) is None
    assert measure_long_run("brier", table, times, None, lenient) is None
    strict = PerformanceConfig(metric="brier", max_degradation=0.0, min_rows=50_000)
    assert measure_long_run("brier", table, times, reference, strict) is None


@pytest.mark.parametrize("metric", ["brier", "roc_auc"])
def test_all_labels_of_a_version_as_good_as_its_holdout_are_no_harm(metric):
    config = PerformanceConfig(metric=metric, max_degradation=0.0, min_rows=200)
    _, table, times = weeks(12, seed=4)
    found = measure_long_run(metric, table, times, estimate(metric, rows(20_000, seed=9)), config)
    assert found.lower_bound < 0
    assert abs(found.increase) < 4 * found.standard_error

"""The check of the labels themselves, on hours of labels whose fault is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from keel.monitoring.labels import LabelStatus, LabelStretch
from keel.stats.label_profile import LabelBaseline, LabelHours
from keel.window import DAY, HOUR, Window

START = datetime(2026, 3, 1, tzinfo=UTC)
PER_HOUR = 20
DAYS = 7
ONSET = START + 5 * DAY


def draw(rng, days, per_hour=PER_HOUR, binary=True):
    """Return labels, shape (hours, per hour)."""
    shape = (days * 24, per_hour)
    return (rng.random(shape) < 0.5).astype(float) if binary else rng.normal(100, 10, shape)


def baseline(binary=True):
    labels = draw(np.random.default_rng(99), 30, binary=binary)
    hours = np.repeat(np.arange(len(labels)), PER_HOUR)
    times = np.datetime64("2026-01-01", "us") + hours.astype("timedelta64[h]")
    return LabelBaseline.measure(times, labels.ravel())


BINARY, AMOUNTS = baseline(), baseline(binary=False)


def stretch(labels, *, base=BINARY, binary=True, end=None, coverage=0.5):
    """Return the stretch of labels by hour from START; NaN is a prediction without a label."""
    known = np.isfinite(labels)
    off = np.where(known, labels - (base.mean if base else 0.0), 0.0)
    with np.errstate(all="ignore"):
        lowest = np.where(known.any(axis=1), np.nanmin(np.where(known, labels, np.inf), axis=1), np.nan)
        highest = np.where(known.any(axis=1), np.nanmax(np.where(known, labels, -np.inf), axis=1), np.nan)
    n = len(labels)
    stamps = np.datetime64(START.replace(tzinfo=None), "h") + np.arange(n)
    zero = np.zeros(n)
    hours = LabelHours(
        stamps, np.full(n, float(labels.shape[1])), known.sum(axis=1).astype(float), off.sum(axis=1),
        (off**2).sum(axis=1), lowest, highest, zero, zero, base.mean if base else 0.0,
    )  # fmt: skip
    return LabelStretch(Window(START, end or START + n * HOUR), hours, base, binary, coverage)


def after(labels, onset=ONSET):
    """Return the labels from a time on, as a view."""
    return labels[(onset - START) // HOUR :]


@pytest.mark.parametrize(("binary", "base"), [(True, BINARY), (False, AMOUNTS)])
def test_sound_labels_have_no_finding(binary, base):
    for seed in range(30):
        labels = draw(np.random.default_rng(seed), DAYS, binary=binary)
        assert stretch(labels, base=base, binary=binary).findings() == ()


def test_labels_of_one_value_break_their_hours_at_once():
    labels = draw(np.random.default_rng(0), 2)
    onset = START + 2 * DAY - 2 * HOUR
    after(labels, onset)[:] = 0.0
    [found] = stretch(labels).findings()
    assert (found.kind, found.status, found.n) == ("single_value", LabelStatus.BROKEN, 2 * PER_HOUR)
    assert (found.start, found.end) == (onset - HOUR, START + 2 * DAY)
    assert found.p_value < 1e-9
    assert "all 40 labels from 2026-03-02 22:00" not in found.sentence  # the hour before may hold the first wrong one
    assert "all 40 labels from 2026-03-02 21:00 to 2026-03-03 00:00 UTC are 0" in found.sentence


def test_single_value_of_a_regression_breaks_its_hours():
    labels = draw(np.random.default_rng(0), DAYS, binary=False)
    after(labels)[:5] = 100.0
    findings = stretch(labels, base=AMOUNTS, binary=False).findings()
    assert "single_value" in {each.kind for each in findings}
    assert all(each.start >= ONSET - HOUR and each.end <= ONSET + DAY for each in findings)


def test_base_rate_that_changes_breaks_the_days_of_the_change():
    rng = np.random.default_rng(1)
    labels = draw(rng, DAYS)
    lost = after(labels)
    lost[(lost == 1) & (rng.random(lost.shape) < 0.7)] = 0.0
    [found] = stretch(labels).findings()
    assert (found.kind, found.status) == ("base_rate", LabelStatus.BROKEN)
    assert (found.start, found.end) == (ONSET, START + DAYS * DAY)
    assert found.sentence.endswith("15.2%, 49.2% in the reference (p < 0.0001)")


def test_smaller_change_of_the_base_rate_warns():
    labels = (np.random.default_rng(2).random((DAYS * 24, PER_HOUR)) < 0.31).astype(float)
    [found] = stretch(labels).findings()
    assert (found.kind, found.status) == ("base_rate", LabelStatus.WARN)
    assert stretch(np.where(np.random.default_rng(2).random(labels.shape) < 0.42, 1.0, 0.0)).findings() == ()


def in_quarantine(labels):
    """Return which hours the faults of the labels quarantine."""
    found = np.zeros(len(labels), dtype=bool)
    for each in stretch(labels).findings():
        if each.status is LabelStatus.BROKEN:
            found[(each.start - START) // HOUR : (each.end - START) // HOUR] = True
    return found


@pytest.mark.parametrize(("per_hour", "rate"), [(10, 0.05), (10, 0.1), (60, 0.02), (60, 0.05)])
def test_days_of_a_feed_that_is_nearly_dead_break_whole(per_hour, rate):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels = draw(rng, 14, per_hour)
        labels[7 * 24 :] = rng.random((7 * 24, per_hour)) < rate
        found = in_quarantine(labels)
        assert found[7 * 24 :].all()
        assert not found[: 7 * 24 - 1].any()  # a run of one value takes the hour before it too


@pytest.mark.parametrize(
    ("change", "kind"),
    [(lambda y: y + 8, "mean"), (lambda y: 100 + (y - 100) * 2, "spread")],
)
def test_amounts_in_another_unit_or_of_another_spread_break_their_days(change, kind):
    labels = draw(np.random.default_rng(3), DAYS, binary=False)
    after(labels)[:] = change(after(labels))
    findings = stretch(labels, base=AMOUNTS, binary=False).findings()
    assert [each.kind for each in findings] == [kind]
    assert (findings[0].status, findings[0].start, findings[0].end) == (LabelStatus.BROKEN, ONSET, START + 7 * DAY)


def test_labels_that_the_target_cannot_have_break_their_hour():
    labels = draw(np.random.default_rng(4), DAYS)
    labels[10, 3] = 2.0
    [found] = stretch(labels).findings()
    assert (found.kind, found.status) == ("invalid", LabelStatus.BROKEN)
    assert (found.start, found.end) == (START + 10 * HOUR, START + 11 * HOUR)


@pytest.mark.parametrize(("values", "between"), [((-1.0, 1.0), "between -1 and 1"), ((0.0, 2.0), "between 0 and 2")])
def test_two_values_that_the_target_cannot_have_break_all_their_hours(values, between):
    labels = np.random.default_rng(4).choice(values, (48, PER_HOUR), p=[0.6, 0.4])
    [found] = stretch(labels).findings()
    assert (found.kind, found.start, found.end) == ("invalid", START, START + 2 * DAY)
    assert between in found.sentence


def test_one_huge_label_breaks_its_hour_and_no_other_test_uses_it():
    labels = draw(np.random.default_rng(4), 2)
    labels[3, 0] = 2_000.0
    assert [each.kind for each in stretch(labels).findings()] == ["invalid"]


def test_coverage_that_falls_breaks_a_day_once_a_nightly_batch_would_have_come():
    rng = np.random.default_rng(5)
    labels = draw(rng, DAYS)
    after(labels)[rng.random(after(labels).shape) < 0.65] = np.nan
    [found] = stretch(labels).findings()
    assert (found.kind, found.status) == ("coverage", LabelStatus.BROKEN)
    assert (found.start, found.end) == (ONSET, ONSET + DAY)  # and not the last day
    assert stretch(labels, coverage=0.0).findings() == ()


def test_late_labels_warn_and_break_nothing():
    labels = draw(np.random.default_rng(6), DAYS)
    after(labels)[:] = np.nan
    [found] = stretch(labels).findings()
    assert (found.kind, found.status, found.start, found.end) == ("late", LabelStatus.WARN, ONSET, ONSET + DAY)
    after(labels, START + 6 * DAY)  # a night without labels is no fault
    nightly = draw(np.random.default_rng(6), DAYS)
    after(nightly, START + 6 * DAY)[:] = np.nan
    assert stretch(nightly).findings() == ()


def test_without_a_baseline_only_coverage_and_invalid_labels_are_found():
    labels = np.zeros((DAYS * 24, PER_HOUR))
    assert stretch(labels, base=None).findings() == ()
    assert stretch(labels + 2, base=None).findings()[0].kind == "invalid"


@pytest.mark.parametrize("hours", [1, 5, 24, 30])
def test_short_and_empty_stretches_are_no_error(hours):
    labels = draw(np.random.default_rng(7), 2)[:hours]
    assert stretch(labels).findings() == ()
    none = stretch(labels)
    empty = replace(none, hours=none.hours.take(np.zeros(hours, dtype=bool)))
    assert empty.findings() == ()
    assert empty.labels == 0
    assert np.isnan(empty.mean)


def test_amounts_in_another_unit_break_their_days():
    labels = draw(np.random.default_rng(3), DAYS, binary=False)
    after(labels)[:] /= 1_000
    findings = stretch(labels, base=AMOUNTS, binary=False).findings()
    assert {(each.start, each.end) for each in findings} == {(ONSET, START + 7 * DAY)}


def test_nights_with_one_value_are_no_fault_where_the_reference_has_them():
    labels = draw(np.random.default_rng(9), DAYS)
    for day in range(DAYS):
        labels[day * 24 : day * 24 + 3] = 0.0
    assert {each.kind for each in stretch(labels).findings()} == {"single_value"}
    nights = replace(BINARY, longest_run=3 * PER_HOUR)
    assert stretch(labels, base=nights).findings() == ()


def test_days_without_their_whole_cycle_are_not_tested_for_a_shift():
    rng = np.random.default_rng(8)
    labels = (rng.random((24, PER_HOUR)) < np.repeat([0.05, 0.95], 12)[:, None]).astype(float)
    nightly = replace(BINARY, longest_run=10 * PER_HOUR)
    full = stretch(labels, base=nightly)
    assert full.findings() == ()
    night = full.hours.take(np.arange(24) < 12)
    excluded = full.hours.hour[12:]
    assert replace(full, hours=night, excluded=excluded).findings() == ()
    assert replace(full, hours=night).findings()[0].kind == "base_rate"


def test_base_rate_is_tested_in_the_rest_of_days_with_some_excluded_hours():
    labels = draw(np.random.default_rng(8), DAYS)
    after(labels)[:] = np.random.default_rng(9).random(after(labels).shape) < 0.22
    full = stretch(labels)
    out = np.arange(DAYS * 24) % 24 == 12
    rest = replace(full, hours=full.hours.take(~out), excluded=full.hours.hour[out])
    [found] = [each for each in rest.findings() if each.kind == "base_rate"]
    assert (found.status, found.start, found.end) == (LabelStatus.BROKEN, ONSET, START + DAYS * DAY)


def test_findings_are_plain_values():
    labels = np.zeros((DAYS * 24, PER_HOUR))
    finding = stretch(labels).findings()[0].to_dict()
    assert datetime.fromisoformat(finding["start"]) - START <= timedelta(0)
    assert finding["status"] == "broken"

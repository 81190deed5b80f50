"""What a check makes of a live alarm, by the reports of its window."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel.monitoring.alarms import (
    Judgement,
    Verdict,
    after_retraining,
    alarm_sentences,
    is_examined,
    judge_alarms,
    with_alarms,
)
from keel.monitoring.decision import Action, Policy, decide_action
from keel.monitoring.records import (
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.window import Window
from tests.support.live.alarms import HOUR, live_alarm
from tests.support.toy import START

SINCE = START + 12 * HOUR
WINDOW = Window(SINCE, SINCE + 6 * HOUR)
SHIFT = live_alarm("wind", since=SINCE)
HARM = live_alarm("loss", since=SINCE, kind="harm", evidence=9.5)
FAULT = live_alarm("state", since=SINCE, kind="fault", evidence=None, bound=None, sentence="The state was corrupt.")


def quality(status="ok", *spans):
    return StoredQualityReport.from_dict({"status": status, "n": 600, "spans": spans})


def drift(wind="drift", status="warn", n=600):
    column = {"kind": "numeric", "role": "feature", "severity": wind, "status": wind}
    other = {**column, "severity": "ok", "status": "ok"}
    features = {"wind": column, "level": other} if wind else {"level": other}
    values = {"status": status, "n": n, "share_drifted": 0.0, "min_rows": 200, "features": features}
    return StoredDriftReport.from_dict(values)


def performance(status="ok", *alarms, **changes):
    then = {"brier": {"value": 0.15, "standard_error": 0.004, "n": 3_000}}
    now = {"brier": {"value": 0.16, "standard_error": 0.004, "n": 3_000}}
    values = {
        "status": status, "metric": "brier", "n": 3_000, "current": now, "reference": then, "increase": 0.01,
        "p_value": 0.2, "max_degradation": 0.02, "alpha": 0.05, "alarms": [alarm.to_dict() for alarm in alarms],
    }  # fmt: skip
    return StoredPerformanceReport.from_dict({**values, **changes})


def labels(status="ok"):
    return StoredLabelsReport.from_dict({"status": status, "n": 3_000})


def verdict(alarm, window=WINDOW, version=1, **reports):
    made = {"quality": quality(), "drift": drift(), "performance": performance(), **reports}
    [found] = judge_alarms([alarm], version, window, **made)
    return found.verdict


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        ("drift", Verdict.CONFIRMED),
        ("warn", Verdict.SMALL),
        ("ok", Verdict.NOT_CONFIRMED),
        (None, Verdict.NOT_CONFIRMED),
    ],
)
def test_shift_is_judged_by_its_column(severity, expected):
    assert verdict(SHIFT, drift=drift(severity)) is expected


@pytest.mark.parametrize(("severity", "status"), [("insufficient", "insufficient"), ("insufficient", "ok")])
def test_shift_with_too_few_rows_stays_open(severity, status):
    assert verdict(SHIFT, drift=drift(severity, status, n=137)) is Verdict.INSUFFICIENT


def test_shift_in_a_window_mostly_before_the_change_is_judged_only_where_it_is_shown():
    week = Window(SINCE + 6 * HOUR - timedelta(days=7), SINCE + 6 * HOUR)
    assert verdict(SHIFT, week, drift=drift("ok")) is Verdict.NOT_EXAMINED
    assert verdict(SHIFT, week, drift=drift("drift")) is Verdict.CONFIRMED
    assert not is_examined(SHIFT, week)
    assert is_examined(SHIFT, Window(SINCE - 5 * HOUR, SINCE + 6 * HOUR))


def test_shift_in_a_window_whose_rows_are_mostly_from_before_the_change_stays_open():
    few = live_alarm(since=SINCE, rows_since=600)
    assert verdict(few, drift=drift("ok", n=1_201)) is Verdict.NOT_EXAMINED
    assert verdict(few, drift=drift("warn", n=1_201)) is Verdict.NOT_EXAMINED
    assert verdict(few, drift=drift("drift", n=1_201)) is Verdict.CONFIRMED
    assert verdict(few, drift=drift("ok", n=1_200)) is Verdict.NOT_CONFIRMED


def test_harm_is_confirmed_by_its_own_evidence_where_the_check_of_performance_knew_it():
    assert verdict(HARM, performance=performance("degraded", HARM)) is Verdict.CONFIRMED
    assert verdict(HARM) is Verdict.NOT_EXAMINED
    explained = performance("no_labels", explained_alarms=[HARM.alarm_id])
    assert verdict(HARM, performance=explained) is Verdict.EXPLAINED
    assert verdict(HARM, performance=explained, quality=quality("empty")) is Verdict.EXPLAINED
    assert verdict(HARM, performance=performance("degraded", HARM), quality=quality("empty")) is Verdict.INSUFFICIENT


def test_alarm_of_another_version_is_obsolete_and_a_fault_is_one_whatever_the_data():
    assert verdict(SHIFT, version=2) is Verdict.OBSOLETE
    assert verdict(FAULT, version=2, quality=quality("broken", WINDOW)) is Verdict.FAULT


@pytest.mark.parametrize("alarm", [SHIFT, HARM], ids=["shift", "harm"])
def test_broken_data_explains_only_the_alarms_that_rest_on_it(alarm):
    earlier = Window(alarm.since - 3 * HOUR, alarm.since)
    during = Window(alarm.opened_at - HOUR, alarm.opened_at)
    later = Window(alarm.opened_at + HOUR, alarm.opened_at + 2 * HOUR)

    def on_broken(*spans):
        return verdict(alarm, quality=quality("broken", *spans), performance=performance("degraded", HARM))

    assert on_broken(during) is on_broken(earlier, during) is Verdict.EXPLAINED
    assert on_broken(earlier) is on_broken(later) is on_broken(earlier, later) is Verdict.NOT_EXAMINED


def test_decision_to_retrain_answers_the_alarms_that_would_stay_open():
    judged = [Judgement(SHIFT, Verdict.NOT_EXAMINED), Judgement(HARM, Verdict.CONFIRMED)]
    assert [each.verdict for each in after_retraining(judged, Action.RETRAIN)] == [Verdict.RETRAINED, Verdict.CONFIRMED]
    assert [each.is_judged for each in after_retraining(judged, Action.RAISE_ALERT)] == [False, True]


def decide(*alarms, wind="drift", **reports):
    """Return the decision on a window, with its alarms judged by the reports."""
    made = {"quality": quality(), "drift": drift(wind), "performance": performance(), "labels": labels(), **reports}
    judgements = judge_alarms(alarms, 1, WINDOW, **{name: made[name] for name in ("quality", "drift", "performance")})
    policy = Policy(True, timedelta(hours=24), WINDOW.end, None)
    found = decide_action(made["quality"], made["drift"], made["performance"], policy, made["labels"])
    return with_alarms(found, judgements, made["drift"], made["performance"])


def test_confirmed_shift_is_an_alert_about_its_column():
    found = decide(SHIFT)
    assert (found.action, found.about) == (Action.RAISE_ALERT, ("drift of wind",))
    assert "Live alarm confirmed: wind has drifted since about 2026-01-01 12:00 UTC." in found.sentence


def test_alarm_that_is_not_confirmed_is_an_all_clear_that_says_so():
    found = decide(SHIFT, wind="ok")
    assert (found.action, found.about) == (Action.ALL_CLEAR, ())
    assert "Live alarm not confirmed: wind has not drifted in 600 predictions" in found.sentence


def test_alarm_with_too_few_rows_says_how_many_are_needed():
    found = decide(SHIFT, drift=drift("insufficient", "insufficient", n=137))
    assert found.action is Action.ALL_CLEAR
    assert "Live alarm on wind stays open: 137 predictions" in found.sentence
    assert "200 are needed" in found.sentence


def test_fault_of_the_monitoring_is_an_alert_with_its_sentence():
    found = decide(FAULT, wind="ok")
    assert (found.action, found.about) == (Action.RAISE_ALERT, ("live monitoring: state",))
    assert found.sentence.endswith("The state was corrupt.")


def test_harm_that_only_an_alarm_shows_retrains_and_tells_how_sure_it_is():
    found = decide(HARM, wind="ok", performance=performance("degraded", HARM))
    assert (found.action, found.about) == (Action.RETRAIN, ("harm",))
    assert "since about 2026-01-01 12:00 UTC" in found.sentence
    assert "evidence more than 1,000 times the bound" in found.sentence
    assert found.sentence.count("Live alarm") + found.sentence.count("live alarm") == 1


def test_harm_that_the_window_shows_is_told_by_its_numbers():
    shown = performance("degraded", HARM, increase=0.05, p_value=1e-6)
    assert "brier is 0.1600, 0.0500 worse" in decide(HARM, wind="ok", performance=shown).sentence


def test_harm_by_an_alarm_without_any_label_in_the_window_is_told():
    nothing = performance("degraded", HARM, n=0, current={}, increase=None, p_value=None)
    assert decide(HARM, wind="ok", performance=nothing).action is Action.RETRAIN


def test_labels_from_before_the_change_are_named_as_such():
    earlier = WINDOW.earlier(timedelta(days=1))
    assert "none of the time since has matured" in decide(SHIFT, performance=performance(window=earlier)).sentence
    assert "matured" not in decide(SHIFT, performance=performance(window=WINDOW)).sentence


def test_alarms_with_one_verdict_share_a_sentence():
    many = [Judgement(live_alarm(f"c{i}", since=SINCE + i * HOUR), Verdict.CONFIRMED) for i in range(5)]
    [sentence] = alarm_sentences(many, drift())
    assert sentence.startswith("Live alarms confirmed: c0, c1, c2 and 2 more have drifted since about 2026-01-01 12:00")


def test_every_verdict_has_a_sentence_and_words_for_a_table():
    for each in Verdict:
        [sentence] = alarm_sentences([Judgement(SHIFT, each)], drift())
        assert sentence.endswith(".")
        assert each.words

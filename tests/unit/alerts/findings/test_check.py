"""What a check saw: which alerts its reports open, which they end, and of which they say nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import numpy as np
import pytest

from keel.alerts.budget import Levels
from keel.alerts.findings.check import CheckFacts, identity_of, judge_check, observe_check
from keel.alerts.findings.quality import Quarantine
from keel.alerts.records import Change, Examined, Finding
from keel.config import Kind, Severity
from keel.monitoring.alarms import Judgement, Verdict
from keel.monitoring.records import Outcome
from keel.stats.label_profile import LabelBaseline
from keel.window import HOUR, Window
from tests.support.alerts.life import Life, changes
from tests.support.alerts.reports import (
    END,
    LEVEL,
    WINDOW,
    against_previous,
    column,
    decision,
    drift,
    fault,
    label_fault,
    labels,
    long_run,
    performance,
    quality,
)
from tests.support.live.alarms import live_alarm
from tests.support.toy import toy_config

CONFIG = toy_config()
LEVELS = Levels(LEVEL, LEVEL, 0.05)
CALM = {"quality": quality(), "drift": drift(), "performance": performance(), "labels": labels()}


def judged(action="raise_alert", config=CONFIG, **facts):
    return judge_check(config, decision(action), CheckFacts(**{**CALM, **facts}), LEVELS)


def found(**facts) -> list[tuple[str, str, str]]:
    """Return kind, subject and severity of what is found."""
    return [(str(each.kind), each.subject, str(each.severity)) for each in judged(**facts).findings]


def examines(kind: Kind, subject: str = "", **facts) -> bool:
    return any(each.kind is kind and each.subject in (None, subject) for each in judged(**facts).examined)


def test_a_window_without_a_fault_finds_nothing_and_ends_what_is_over():
    assert found() == []
    for kind, subject in (
        (Kind.DATA_DRIFT, "wind"), (Kind.DATA_DRIFT, ""), (Kind.PREDICTION_DRIFT, "score"), (Kind.PERFORMANCE, ""),
        (Kind.DATA_QUALITY, "wind"), (Kind.LABEL_QUALITY, "late"), (Kind.LABEL_QUALITY, "brier"),
        (Kind.NO_PREDICTIONS, ""), (Kind.LABELS_MISSING, ""), (Kind.LIVE_ALARM, "state"),
    ):  # fmt: skip
        assert examines(kind, subject), (kind, subject)
    for kind in (Kind.APPROVAL, Kind.PIPELINE_FAILURE, Kind.LOST_RECORDS, Kind.CHECK_OVERDUE, Kind.CHANNEL):
        assert not examines(kind), kind


def test_a_check_that_did_not_run_judges_nothing_of_its_kind():
    nothing = judge_check(CONFIG, decision(), CheckFacts(), LEVELS)
    assert nothing.findings == ()
    assert {each.kind for each in nothing.examined} == {Kind.LIVE_ALARM}


# Drift


@pytest.mark.parametrize(
    ("severity", "role", "expected"),
    [
        ("drift", "feature", [("data_drift", "wind", "warning")]),
        ("warn", "feature", [("data_drift", "wind", "warning")]),
        ("drift", "output", [("prediction_drift", "wind", "warning")]),
        ("ok", "feature", []),
        ("insufficient", "feature", []),
    ],
)
def test_each_column_that_moved_is_a_warning(severity, role, expected):
    assert found(drift=drift("warn", {"wind": column(severity, role=role)})) == expected


@pytest.mark.parametrize("status", ["ok", "degraded", "no_labels", "insufficient", "undefined"])
def test_drift_is_an_error_only_where_no_labels_say_what_it_does(status):
    moved = drift("drift", {"wind": column("drift"), "rain": column("warn"), "score": column("drift", role="output")})
    severities = dict(each[1:] for each in found(drift=moved, performance=performance(status)) if "drift" in each[0])
    harm_is_unknown = status not in ("ok", "degraded")
    assert severities == {"wind": "error" if harm_is_unknown else "warning", "rain": "warning", "score": "warning"}


def test_one_column_of_a_window_that_has_not_drifted_as_a_whole_is_no_error():
    report = drift("warn", {"wind": column("drift"), "rain": column("ok")})
    assert found(drift=report, performance=performance("no_labels")) == [("data_drift", "wind", "warning")]


@pytest.mark.parametrize("measure", ["psi", "off_atoms"])
@pytest.mark.parametrize(("excess", "ends"), [(0.0, True), (0.049, True), (0.051, False), (0.099, False)])
def test_a_column_that_wavers_about_its_threshold_keeps_its_alert_until_it_is_clearly_below(measure, excess, ends):
    report = drift("ok", {"wind": column("ok", measures={measure: {"value": excess + 0.02, "excess": excess}})})
    assert found(drift=report) == []
    assert examines(Kind.DATA_DRIFT, "wind", drift=report) is ends


@pytest.mark.parametrize("q", [LEVEL * 1.01, 0.04])
def test_a_column_of_which_chance_may_be_the_cause_neither_opens_an_alert_nor_ends_one(q):
    report = drift("warn", {"wind": column("drift", q=q), "rain": column("ok", q=0.9)})
    assert found(drift=report) == []
    assert not examines(Kind.DATA_DRIFT, "wind", drift=report)
    assert examines(Kind.DATA_DRIFT, "rain", drift=report)


@pytest.mark.parametrize(
    "changes",
    [
        {"q": LEVEL},
        {"q": 0.04, "rates": {"missing": {"q_value": 1e-5}}},
        {"q": 0.04, "measures": {"off_atoms": {"q_value": 1e-5}}},
        {"q": None, "status": "missing_column"},
    ],
)
def test_any_test_of_a_column_may_make_it_certain_and_absence_needs_none(changes):
    report = drift("warn", {"wind": column("drift", **changes)})
    assert found(drift=report) == [("data_drift", "wind", "warning")]


def test_what_the_inputs_change_costs_together_is_an_error_of_its_own():
    moved = {"wind": column("drift", q=1e-9)}
    report = drift("drift", moved, impact_total=0.03, impact_limit=0.01, impact_q_value=0.02)
    [window, wind] = judged(drift=report).findings
    assert (window.kind, window.subject, window.severity) == (Kind.DATA_DRIFT, "", Severity.ERROR)
    assert window.sentence == "The change of the inputs costs 0.0300 of the loss, limit 0.01"
    assert wind.severity is Severity.WARNING

    unsure = drift("drift", {"wind": column("ok")}, impact_total=0.03, impact_limit=0.01, impact_q_value=0.02)
    assert found(drift=unsure) == []
    assert not examines(Kind.DATA_DRIFT, "", drift=unsure)
    sure = drift("drift", {"wind": column("ok")}, impact_total=0.03, impact_limit=0.01, impact_q_value=LEVEL)
    assert found(drift=sure) == [("data_drift", "", "error")]


@pytest.mark.parametrize(("kind", "subject"), [(Kind.DATA_DRIFT, "wind"), (Kind.PREDICTION_DRIFT, "score")])
def test_too_few_rows_judge_no_drift(kind, subject):
    report = drift("insufficient", {"wind": column("insufficient"), "score": column("insufficient", role="output")})
    assert found(drift=report) == []
    assert not examines(kind, subject, drift=report)


def test_findings_say_how_far_and_at_what_cost():
    [wind] = judged(drift=drift("warn", {"wind": column("drift", impact=-0.02)})).findings
    assert wind.sentence == "wind has drifted (PSI 0.31 above chance, limit 0.25)"
    assert wind.rank == 0.02
    assert wind.evidence == {"status": "drift", "psi": 0.33, "ks": 0.2, "impact": -0.02, "q_value": 1e-9, "n": 1_000}

    rare = column("drift", measures={"psi": {"value": 0.02, "excess": 0.01}}, reasons=["The distribution off …"])
    assert judged(drift=drift("warn", {"wind": rare})).findings[0].sentence == "wind has drifted"
    gone = column("drift", status="all_missing", measures={}, reasons=["All 900 values are missing; in the … are."])
    [missing] = judged(drift=drift("warn", {"wi\nnd": gone})).findings
    assert missing.sentence.startswith("wi")
    assert "\n" not in missing.sentence
    assert missing.sentence.endswith(": All 900 values are missing; in the … are")


# Against the window before

AGAINST = toy_config(drift={"min_rows": 200, "against": ["training", "previous"]})


def test_the_window_before_has_subjects_of_its_own_and_warns_at_most():
    outputs = {"score": column("drift", role="output"), "prediction": column("ok", role="output")}
    columns = {"wind": column("drift"), "rain": column("warn"), "calm": column("ok"), **outputs}
    before = against_previous("drift", columns)
    report = judged(config=AGAINST, consecutive=before, performance=performance("no_labels"))
    [wind, score] = report.findings
    assert (score.kind, score.subject) == (Kind.PREDICTION_DRIFT, "score against the window before")
    assert examines(Kind.PREDICTION_DRIFT, "prediction against the window before", config=AGAINST, consecutive=before)
    broken = {"quality": quality("broken", fault("rain")), "config": AGAINST, "consecutive": before}
    assert not examines(Kind.PREDICTION_DRIFT, "score against the window before", **broken)
    assert (wind.subject, wind.severity) == ("wind against the window before", Severity.WARNING)
    assert wind.sentence == "wind has changed since the window before (PSI 0.31 above chance, limit 0.25)"
    examined = {each.subject for each in report.examined if each.kind is Kind.DATA_DRIFT}
    assert examined >= {f"{name} against the window before" for name in ("wind", "calm")}
    assert "rain against the window before" not in examined  # too near to say that nothing has changed


@pytest.mark.parametrize(
    "before", [None, against_previous("insufficient", {"wind": column("insufficient")})], ids=["none", "too few rows"]
)
def test_a_window_before_without_rows_judges_nothing(before):
    assert not examines(Kind.DATA_DRIFT, "wind against the window before", config=AGAINST, consecutive=before)


def test_what_is_not_compared_any_more_is_over():
    assert examines(Kind.DATA_DRIFT, "wind against the window before")
    assert examines(Kind.PREDICTION_DRIFT, "score against the window before")


# Performance


def test_harm_is_an_error_with_its_numbers():
    [harm] = judged(performance=performance("degraded")).findings
    assert (harm.kind, harm.subject, harm.severity, harm.rank) == (Kind.PERFORMANCE, "", Severity.ERROR, 0.05)
    assert harm.sentence == "brier is 0.2000, 0.0500 worse than the holdout's 0.1500 on 3,000 labels"
    assert harm.evidence == {
        "metric": "brier", "value": 0.2, "holdout": 0.15, "increase": 0.05, "limit": 0.01, "p_value": 1e-6,
        "n": 3_000, "loss_change": 0.05, "explained": 0.01, "unexplained": 0.04,
    }  # fmt: skip


def test_harm_that_chance_may_explain_neither_opens_an_alert_nor_ends_one():
    unsure = performance("degraded", p_value=0.03)
    assert found(performance=unsure) == []
    assert not examines(Kind.PERFORMANCE, performance=unsure)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"p_value": 0.4, "long_run": long_run()}, "Since 2026-01-01 brier is 0.1700"),
        (
            {"p_value": 0.4, "alarms": [live_alarm("loss", since=END, kind="harm", evidence=9.5).to_dict()]},
            "A live alarm shows harm",
        ),
    ],
    ids=["all labels of the version", "a live alarm"],
)
def test_harm_that_no_single_window_shows_is_told_too(changes, words):
    [harm] = judged(performance=performance("degraded", **changes)).findings
    assert (harm.kind, harm.severity) == (Kind.PERFORMANCE, Severity.ERROR)
    assert harm.sentence.startswith(words)
    assert "long_run" not in changes or harm.evidence["long_run_lower_bound"] == 0.008


@pytest.mark.parametrize("status", ["no_labels", "insufficient", "undefined"])
def test_labels_that_judge_nothing_end_no_alert_about_performance(status):
    assert not examines(Kind.PERFORMANCE, performance=performance(status))
    assert Kind.PERFORMANCE not in {each.kind for each in judged(performance=performance(status)).findings}


@pytest.mark.parametrize("facts", [{"quality": quality("broken", fault())}, {"labels": labels("broken")}])
def test_nothing_is_concluded_from_labels_where_they_or_the_data_are_broken(facts):
    report = judged(performance=performance("degraded"), **facts)
    assert Kind.PERFORMANCE not in {each.kind for each in (*report.findings, *report.examined)}


def test_a_metric_that_is_not_defined_is_about_the_labels_and_over_once_it_is():
    [undefined] = judged(performance=performance("undefined", current={"brier": {"value": None, "n": 40}})).findings
    assert (undefined.kind, undefined.subject, undefined.severity) == (Kind.LABEL_QUALITY, "brier", Severity.WARNING)
    assert "brier is not defined on the window's 40 labels" in undefined.sentence
    assert not examines(Kind.LABEL_QUALITY, "brier", performance=performance("no_labels"))


@pytest.mark.parametrize(
    ("changes", "expected", "is_examined"),
    [
        ({"labels_missing": True, "label_rate": 0.1}, [("labels_missing", "", "warning")], True),
        ({}, [], True),
        ({"due": 100}, [], False),  # fewer than performance.min_rows: too few to be sure
        ({"label_rate": None, "due": 0}, [], False),
    ],
)
def test_missing_labels_are_judged_where_enough_predictions_have_matured(changes, expected, is_examined):
    report = performance("ok", **changes)
    assert found(performance=report) == expected
    assert examines(Kind.LABELS_MISSING, performance=report) is is_examined


# Data and labels themselves


def test_each_faulty_column_is_one_finding_by_its_worst_fault():
    report = quality("broken", fault(), fault("wind", "warn", kind="invalid", share=0.1), fault("rain", "warn"))
    [wind, rain] = judged(quality=report).findings
    assert (wind.kind, wind.subject, wind.severity) == (Kind.DATA_QUALITY, "wind", Severity.ERROR)
    assert wind.sentence == "wind: 60% of 1000 values are missing"
    assert wind.evidence == {"missing": 0.6, "invalid": 0.1}
    assert (rain.subject, rain.severity) == ("rain", Severity.WARNING)


def test_broken_data_says_nothing_about_the_models_outputs_and_all_about_other_columns():
    moved = drift("drift", {"wind": column("drift"), "rain": column("drift"), "score": column("drift", role="output")})
    facts = {"quality": quality("broken", fault()), "drift": moved}
    assert [each[:2] for each in found(**facts)] == [
        ("data_quality", "wind"), ("data_drift", "wind"), ("data_drift", "rain"),
    ]  # fmt: skip
    assert not examines(Kind.PREDICTION_DRIFT, "score", **facts)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([fault(status="warn", q=0.03)], []),
        ([fault(status="warn", q=None)], []),  # of an earlier release
        ([fault(status="warn", q=LEVEL)], [("data_quality", "wind", "warning")]),
        ([fault(status="warn", q=None, kind="missing_column")], [("data_quality", "wind", "warning")]),
        ([fault(status="broken", q=0.03)], [("data_quality", "wind", "error")]),  # its data is quarantined
    ],
)
def test_a_small_fault_needs_the_level_of_alerts(faults, expected):
    report = quality(faults[0]["status"], *faults)
    assert found(quality=report) == expected
    assert examines(Kind.DATA_QUALITY, "wind", quality=report) is bool(expected)
    assert examines(Kind.DATA_QUALITY, "score", quality=report)


def test_a_break_is_not_over_while_the_last_hours_are_quarantined():
    held = Quarantine("data", END - 30 * HOUR, END - 23 * HOUR, END - 6 * HOUR)
    assert not examines(Kind.DATA_QUALITY, "wind", quarantines=[held])
    assert found(quality=quality("broken", fault()), quarantines=[held]) == [("data_quality", "wind", "error")]
    for other in (
        replace(held, end=END - 24 * HOUR), replace(held, is_released=True), replace(held, about="labels"),
        replace(held, decided_until=END),
    ):  # fmt: skip
        assert examines(Kind.DATA_QUALITY, "wind", quarantines=[other])


def test_no_predictions_are_an_error_and_quarantined_ones_are_not_missing():
    facts = {"drift": drift("insufficient", {}), "performance": performance("no_labels"), "labels": labels("ok")}
    assert found(quality=quality("empty"), **facts) == [("no_predictions", "", "error")]
    held = quality("empty", quarantined=168)
    assert found(quality=held, **facts) == [("data_quality", "", "warning")]
    assert examines(Kind.NO_PREDICTIONS, quality=held)
    for report in (quality("empty"), held):
        assert not examines(Kind.DATA_QUALITY, "wind", quality=report)


def test_a_version_that_is_too_new_for_a_full_hour_misses_no_predictions():
    facts = {"quality": quality("empty"), "drift": drift("insufficient", {})}
    assert judged("all_clear", **facts).findings == ()
    assert Kind.NO_PREDICTIONS not in {each.kind for each in judged("all_clear", **facts).examined}


@pytest.mark.parametrize(
    ("chance", "expected"), [(None, 1), (0.0, 1), (LEVEL, 1), (LEVEL * 1.01, 0), (1.0, 0)], ids=str
)
def test_a_window_without_rows_is_an_alert_only_where_chance_is_hardly_why(chance, expected):
    facts = {"quality": quality("empty"), "drift": drift("insufficient", {}), "performance": performance("no_labels")}
    assert len(found(chance_of_no_rows=chance, **facts)) == expected
    assert examines(Kind.NO_PREDICTIONS, chance_of_no_rows=chance, **facts) is bool(expected)


def auc_of(n: int, *, metric: str = "roc_auc", holdout: float | None = 0.7):
    now = {"value": None, "standard_error": None, "n": n}
    then = {"value": holdout, "standard_error": holdout and 0.01, "n": 900}
    return performance("undefined", metric=metric, n=n, current={metric: now}, reference={metric: then})


def labels_like(mean: float):
    day = np.datetime64("2026-01-01", "us") + np.repeat(np.arange(20), 100) * np.timedelta64(1, "D")
    values = np.tile(np.arange(100) < 100 * mean, 20).astype(float)
    return labels("ok").model_copy(update={"reference": LabelBaseline.measure(day, values).to_dict()})


@pytest.mark.parametrize(
    ("report", "baseline", "is_told"),
    [
        (auc_of(60), labels_like(0.02), False),  # none or one of sixty, where one in fifty is usual
        (auc_of(600), labels_like(0.02), True),
        (auc_of(60), labels_like(0.5), True),
        (auc_of(60), labels("ok"), True),  # nothing is known of the reference
        (auc_of(60), None, True),
        (auc_of(60, metric="log_loss"), labels_like(0.02), True),  # needs no two classes
        (auc_of(60, holdout=None), labels_like(0.02), True),
    ],
)
def test_a_metric_that_few_labels_leave_undefined_by_chance_is_no_alert(report, baseline, is_told):
    assert bool(found(performance=report, labels=baseline)) is is_told
    assert examines(Kind.LABEL_QUALITY, report.metric, performance=report, labels=baseline) is is_told


@pytest.mark.parametrize("status", ["broken", "quarantined"])
def test_broken_labels_are_an_error_for_as_long_as_they_are_in_the_window(status):
    report = labels(status, label_fault(), label_fault(n=1_200), label_fault("late", "warn"))
    assert found(labels=report) == [("label_quality", "base_rate", "error"), ("label_quality", "late", "warning")]
    [rate, _] = judged(labels=report).findings
    assert rate.sentence == "The base rate is 0.9; and 1 more"
    assert rate.rank == 1_200


def test_people_are_told_of_more_quarantined_labels_once_these_stop_growing():
    """Each stretch waits for a person; a fault that lasts is no message every check."""
    life, held, told = Life(at=END - 6 * HOUR), [], []
    for hours, grows in ((0, True), (6, True), (12, True), (18, False), (30, False), (36, False), (60, False)):
        at = END + hours * HOUR
        if grows:
            start = END - 48 * HOUR if not held else held[-1].end
            held.append(Quarantine("labels", start, END - (24 - hours) * HOUR, at))
        report = labels("broken" if grows else "quarantined", label_fault())
        facts = CheckFacts(**{**CALM, "labels": report, "quarantines": held})
        window = Window(at - 7 * 24 * HOUR, at)
        seen = judge_check(CONFIG, decision(window=window), facts, LEVELS)
        told += [(hours, *each) for each in changes(life.see(*seen.findings, examined=seen.examined))]
    assert told == [
        (0, Kind.LABEL_QUALITY, "base_rate", Change.FIRING),
        (36, Kind.LABEL_QUALITY, "base_rate", Change.REMINDER),
    ]


def test_late_labels_are_not_told_beside_missing_ones():
    missing = performance("no_labels", labels_missing=True, label_rate=0.0)
    report = labels("warn", label_fault("late", "warn"))
    assert found(labels=report, performance=missing) == [("labels_missing", "", "warning")]


@pytest.mark.parametrize(("p_value", "told"), [(LEVEL / 3, True), (LEVEL / 2, False), (None, True)])
def test_a_small_change_of_the_labels_needs_the_level_of_alerts(p_value, told):
    report = labels("warn", label_fault(status="warn", p_value=p_value))
    assert bool(found(labels=report)) is told
    assert examines(Kind.LABEL_QUALITY, "base_rate", labels=report) is told
    assert examines(Kind.LABEL_QUALITY, "coverage", labels=report)


def test_too_few_labels_judge_none():
    assert not examines(Kind.LABEL_QUALITY, "base_rate", labels=labels("insufficient"))


# Live alarms

SHIFT = live_alarm("wind", since=END)
FAULT = live_alarm("state", since=END, kind="fault", evidence=None, bound=None, sentence="The state was corrupt.")
HARM = live_alarm("loss", since=END, kind="harm", evidence=9.5)


@pytest.mark.parametrize(
    ("labelled_until", "severity"),
    [(None, "error"), (END, "error"), (END + timedelta(hours=1), "warning")],
    ids=["no labelled window", "labels of before", "labels of the time since"],
)
def test_a_confirmed_alarm_makes_its_column_certain_and_urgent_until_labels_speak(labelled_until, severity):
    report = drift("warn", {"wind": column("drift", q=0.03), "rain": column("drift", q=0.03)})
    window = labelled_until and {"start": WINDOW.start.isoformat(), "end": labelled_until.isoformat()}
    facts = {"drift": report, "judgements": [Judgement(SHIFT, Verdict.CONFIRMED)]}
    assert found(**facts, performance=performance("ok", window=window)) == [("data_drift", "wind", severity)]
    unknown = performance("no_labels", window=window)
    assert found(**facts, performance=unknown) == [("data_drift", "wind", "error")]


@pytest.mark.parametrize(("long_run_level", "is_told"), [(0.05, True), (1e-9, False), (0.0, False)])
def test_harm_in_all_labels_is_told_at_the_level_of_the_budget(long_run_level, is_told):
    report = performance("degraded", p_value=0.4, long_run=long_run())
    facts = CheckFacts(**{**CALM, "performance": report})
    made = judge_check(CONFIG, decision(), facts, LEVELS._replace(long_run=long_run_level))
    assert [each.kind for each in made.findings] == [Kind.PERFORMANCE] * is_told
    assert any(each.kind is Kind.PERFORMANCE for each in made.examined) == is_told, "unsure harm is no all clear"


def test_an_alarm_that_no_report_tells_is_told_itself():
    alone = [Judgement(SHIFT, Verdict.CONFIRMED), Judgement(HARM, Verdict.CONFIRMED), Judgement(FAULT, Verdict.FAULT)]
    assert found(judgements=alone) == [
        ("live_alarm", "wind", "error"), ("live_alarm", "loss", "error"), ("live_alarm", "state", "error"),
    ]  # fmt: skip
    told = performance("degraded", alarms=[HARM.to_dict()])
    assert found(judgements=[Judgement(HARM, Verdict.CONFIRMED)], performance=told) == [("performance", "", "error")]


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - {Verdict.CONFIRMED, Verdict.FAULT}))
def test_other_verdicts_tell_nobody(verdict):
    assert found(judgements=[Judgement(SHIFT, verdict)]) == []


# The observation


def outcome(name: str, **changes) -> Outcome:
    values = {"outcome": name, "sentence": f"{name.capitalize()}.", "version": 4, "champion": 3, "challenger": 4}
    return Outcome.from_dict({**values, **changes})


def observed(made=None, led_to=None, **facts):
    return observe_check(CONFIG, made or decision(), led_to, CheckFacts(**{**CALM, **facts}), levels=LEVELS)


def test_an_observation_has_the_datas_time_and_its_model():
    seen = observed()
    assert (seen.source, seen.at, seen.model) == ("check", END, "toy")
    assert (seen.findings, seen.version_changed, seen.resolution) == ((), False, "")


def test_a_check_that_promotes_ends_what_was_found_of_the_version_before():
    seen = observed(decision("retrain"), outcome("promoted"), performance=performance("degraded"))
    assert (seen.version_changed, seen.resolution) == (True, "version 4 was promoted")
    assert [(each.kind, each.subject) for each in seen.findings] == [
        (Kind.PERFORMANCE, ""), (Kind.PROMOTION, "version 4"),
    ]  # fmt: skip


def test_a_check_that_keeps_the_champion_tells_its_harm_with_it():
    seen = observed(decision("retrain"), outcome("kept_champion", version=3), performance=performance("degraded"))
    assert not seen.version_changed
    assert [each.kind for each in seen.findings] == [Kind.PERFORMANCE, Kind.RETRAINED]


def test_ids_tell_another_decision_on_a_window_from_the_same_one_again():
    first = identity_of(decision(), None)
    assert identity_of(decision(sentence="Other numbers."), None) == first
    others = {
        identity_of(decision("quarantine"), None),
        identity_of(decision(alarms=["alarm-1"]), None),
        identity_of(decision("retrain"), outcome("promoted")),
        identity_of(decision("retrain"), outcome("kept_champion")),
        identity_of(decision(decision_id="decision-2"), None),
    }
    assert len(others | {first}) == 6


def test_every_combination_of_reports_is_judged_and_no_finding_is_unexamined():
    """What is found is examined too: else the alert would never end by the same reports."""
    moved = {"wind": column("drift"), "rain": column("warn", q=0.03), "score": column("drift", role="output")}
    few = {name: {**values, "severity": "insufficient"} for name, values in moved.items()}
    for q, d, p, found_labels in product(
        (quality(), quality("warn", fault(status="warn")), quality("broken", fault()), quality("empty")),
        (drift(), drift("warn", moved), drift("drift", moved), drift("insufficient", few), None),
        (*(performance(each) for each in ("ok", "degraded", "undefined", "insufficient", "no_labels")), None),
        (labels(), labels("warn", label_fault(status="warn")), labels("broken", label_fault()), None),
    ):
        report = judged(quality=q, drift=d, performance=p, labels=found_labels)
        assert all(isinstance(each, Finding) and each.kind.lasts and each.sentence for each in report.findings)
        assert len({(each.kind, each.subject) for each in report.findings}) == len(report.findings)
        for each in report.findings:
            same = {Examined(kind=each.kind), Examined(kind=each.kind, subject=each.subject)}
            assert same & set(report.examined), each

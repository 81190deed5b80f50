"""Every combination of statuses leads to one action, with a sentence that says why."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from keel.errors import SchemaError
from keel.monitoring.decision import Action, Policy, decide_action
from keel.monitoring.records import (
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)  # fmt: skip

END = datetime(2013, 5, 1, tzinfo=UTC)


def quality(status="ok", *sentences, quarantined=0):
    findings = [
        {"column": "temp", "status": "warn", "kind": "missing", "share": 0.09, "sentence": s} for s in sentences
    ]
    excluded = {"hours": quarantined, "rows": 20 * quarantined}
    return StoredQualityReport.from_dict({"status": status, "n": 6_000, "findings": findings, "quarantined": excluded})


def drift(status="ok", drifted=(), score="warn"):
    features = {name: column("drift") for name in drifted}
    features |= {"dest": column("ok"), "score": column(score, role="output")}
    share = len(drifted) / (len(drifted) + 1)
    return StoredDriftReport.from_dict({"status": status, "n": 6_000, "share_drifted": share, "features": features})


def column(severity, role="feature"):
    return {"kind": "numeric", "role": role, "severity": severity, "status": severity}


def performance(status="ok", increase=-0.02, *, due=6_540, rate=0.97, missing=False, **changes):
    labelled = status in ("ok", "degraded", "undefined")
    then = {"value": 0.15, "standard_error": 0.004, "n": 3_000}
    now = {"value": None if status == "undefined" else 0.15 + increase, "standard_error": 0.003, "n": 5_000}
    report = {
        "status": status,
        "metric": "brier",
        "n": 5_000 if labelled else 0,
        "due": due,
        "label_rate": rate,
        "labels_missing": missing,
        "increase": increase if labelled else None,
        "loss_change": increase if labelled else None,
        "explained": 0.01 if labelled else None,
        "current": {"brier": now} if labelled else {},
        "reference": {"brier": then},
    }
    return StoredPerformanceReport.from_dict({**report, **changes})


def policy(*, can_retrain=True, last_retrain=None, production_since=None):
    return Policy(can_retrain, timedelta(hours=24), END, last_retrain, production_since)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ((quality(), drift(), performance()), Action.ALL_CLEAR),
        ((quality(), drift("warn"), performance()), Action.ALL_CLEAR),
        ((quality(), drift("insufficient"), performance("no_labels")), Action.ALL_CLEAR),
        ((quality(), drift("drift", ["temp"]), performance()), Action.RAISE_ALERT),
        ((quality("warn", "temp has 9% missing"), drift(), performance()), Action.RAISE_ALERT),
        ((quality("warn", "temp has 9% missing"), drift(), performance("no_labels")), Action.RAISE_ALERT),
        ((quality("empty"), drift("insufficient"), performance("no_labels")), Action.RAISE_ALERT),
        ((quality(), drift(), performance("degraded", 0.05)), Action.RETRAIN),
        ((quality(), drift("drift", ["temp"]), performance("degraded", 0.05)), Action.RETRAIN),
        ((quality(), drift("drift", ["temp"]), performance("no_labels")), Action.RETRAIN),
        ((quality(), drift("drift", ["temp"]), performance("insufficient")), Action.RETRAIN),
        ((quality("broken", "temp is gone"), drift("drift"), performance("degraded", 0.05)), Action.QUARANTINE),
    ],
)
def test_each_combination_has_its_action(reports, expected):
    assert decide_action(*reports, policy()).action is expected


def test_every_combination_of_statuses_has_an_action_and_a_sentence():
    for q, d, p, missing in product(
        ("ok", "warn", "broken", "empty"),
        ("ok", "warn", "drift", "insufficient"),
        ("ok", "degraded", "undefined", "insufficient", "no_labels"),
        (False, True),
    ):
        labels = performance(p, 0.05, rate=0.03, missing=missing)
        decision = decide_action(quality(q, "temp is odd"), drift(d, ["temp"]), labels, policy())
        assert decision.sentence.endswith(".")
        assert decision.action in Action
        if q == "broken":
            assert decision.action is Action.QUARANTINE
        elif missing and q != "empty":
            assert decision.action is not Action.ALL_CLEAR
            assert "labels of only 3% of the 6,540 matured predictions have arrived" in decision.sentence.lower()
            assert "missing labels" in decision.about


@pytest.mark.parametrize(
    ("labels", "facts"),
    [
        (performance("no_labels", rate=0.0, missing=True), ["No label of the 6,540 matured predictions has arrived"]),
        (performance("insufficient", rate=0.0042, missing=True), ["Labels of only 0.4% of the 6,540 matured"]),
        (
            performance("ok", rate=0.3, missing=True),
            ["no harm", "brier is 0.1300", "0.0200 better than on the holdout", "labels of only 30% of the 6,540"],
        ),
    ],
)
def test_labels_that_stop_arriving_are_no_all_clear(labels, facts):
    decision = decide_action(quality(), drift(), labels, policy())
    assert (decision.action, decision.about) == (Action.RAISE_ALERT, ("missing labels",))
    assert all(fact in decision.sentence for fact in [*facts, "No input has drifted."]), decision.sentence


def test_drift_without_the_matured_labels_retrains():
    decision = decide_action(
        quality(), drift("drift", ["temp"]), performance("no_labels", rate=0.0, missing=True), policy()
    )
    assert decision.action is Action.RETRAIN
    assert decision.about == ("drift of temp", "missing labels")


@pytest.mark.parametrize("report", [quality, drift, performance])
def test_unknown_status_is_never_all_clear(report):
    with pytest.raises(SchemaError, match="status"):
        report("unheard_of")


def test_window_whose_hours_are_all_quarantined_raises_an_alert():
    empty = quality("empty", quarantined=12)
    decision = decide_action(empty, drift("insufficient"), performance("no_labels"), policy())
    assert (decision.action, decision.about) == (Action.RAISE_ALERT, ("all quarantined",))
    assert "all 240 predictions of the window are in quarantined hours" in decision.sentence


@pytest.mark.parametrize(
    ("minutes", "action"),
    [
        (600, Action.ALL_CLEAR),
        (0, Action.ALL_CLEAR),
        (-59, Action.ALL_CLEAR),  # its first full hour begins when the window ends
        (-60, Action.RAISE_ALERT),
        (-600, Action.RAISE_ALERT),
    ],
)
def test_window_without_predictions_raises_an_alert_only_after_an_hour_in_production(minutes, action):
    since = policy(production_since=END + timedelta(minutes=minutes))
    decision = decide_action(quality("empty"), drift("insufficient"), performance("no_labels"), since)
    assert decision.action is action
    assert decision.sentence.startswith("Nothing was checked: ")
    quarantined = decide_action(
        quality("empty", quarantined=12), drift("insufficient"), performance("no_labels"), since
    )
    assert quarantined.action is Action.RAISE_ALERT


def test_drift_without_harm_is_described_as_such():
    decision = decide_action(quality(), drift("drift", ["temp", "humid"]), performance(), policy())
    assert "2 of 3 features have drifted (temp, humid)" in decision.sentence
    assert "Labels show no harm" in decision.sentence


@pytest.mark.parametrize(
    ("without", "where"),
    [
        (("current",), "the window's 5,000 labels"),
        (("reference",), "the holdout's 3,000 labels"),
        (("current", "reference"), "the window's 5,000 labels and on the holdout's 3,000 labels"),
    ],
)
def test_undefined_metric_names_where_it_is_undefined(without, where):
    sides = {"current": 5_000, "reference": 3_000}
    estimates = {
        side: {"roc_auc": {"value": 0.8, "standard_error": None if side in without else 0.01, "n": n}}
        for side, n in sides.items()
    }
    report = performance("undefined", metric="roc_auc", **estimates)
    decision = decide_action(quality(), drift(), report, policy())
    assert (decision.action, decision.about) == (Action.RAISE_ALERT, ("undefined metric",))
    assert f"roc_auc is not defined on {where} (it needs two rows of each class)" in decision.sentence
    drifted = decide_action(quality(), drift("drift", ["temp"]), report, policy())
    assert (drifted.action, drifted.about) == (Action.RAISE_ALERT, ("undefined metric", "drift of temp"))


def test_metric_that_the_version_was_not_measured_by_names_the_ways_out():
    held = {"log_loss": {"value": None, "standard_error": None, "n": 0}, "brier": {"value": 0.1, "n": 9}}
    report = performance("undefined", metric="log_loss", current={"log_loss": held["brier"]}, reference=held)
    decision = decide_action(quality(), drift("drift", ["temp"]), report, policy())
    assert decision.action == Action.RAISE_ALERT
    assert "was not measured by log_loss on its holdout, but by brier. Set performance.metric back" in decision.sentence
    assert "or train a version" in decision.sentence
    assert "Check the labels" not in decision.sentence


def test_harm_names_the_metric_and_splits_its_cause():
    sentence = decide_action(quality(), drift(), performance("degraded", 0.05), policy()).sentence
    assert sentence == (
        "brier is 0.2000, 0.0500 worse than the holdout's 0.1500 on 5,000 labels. Loss rose by 0.0500: input drift "
        "explains +0.0100, the changed relation +0.0400. Retraining."
    )


@pytest.mark.parametrize(
    ("hours_ago", "expected"), [(0, Action.RAISE_ALERT), (23, Action.RAISE_ALERT), (24, Action.RETRAIN)]
)
def test_retrain_cools_down(hours_ago, expected):
    last = END - timedelta(hours=hours_ago)
    decision = decide_action(quality(), drift(), performance("degraded", 0.05), policy(last_retrain=last))
    assert decision.action is expected
    assert ("cooling down" in decision.sentence) is (expected is Action.RAISE_ALERT)


def test_model_without_retraining_is_alerted():
    decision = decide_action(quality(), drift(), performance("degraded", 0.05), policy(can_retrain=False))
    assert decision.action is Action.RAISE_ALERT
    assert "the model has none configured" in decision.sentence


@pytest.mark.parametrize(
    ("labels", "fact"),
    [
        (performance("no_labels"), "No labels have arrived yet."),
        (performance(), "Labels show no harm"),
        (performance("undefined"), "Harm was not evaluated"),
    ],
)
@pytest.mark.parametrize("form", ["ok", "warn"])
def test_drift_of_the_outputs_is_told_whatever_the_labels_show(labels, fact, form):
    decision = decide_action(quality(form, "9% missing"), drift("warn", ["temp"], score="drift"), labels, policy())
    assert decision.action is Action.RAISE_ALERT
    assert "outputs have drifted (score)" in decision.sentence
    assert fact in decision.sentence
    assert "drift of score" in decision.about
    assert ("quality of temp" in decision.about) is (form == "warn")
    assert "drift of temp" not in decision.about, "too few features for the window to have drifted"


def test_drift_of_features_and_outputs_names_both():
    decision = decide_action(quality(), drift("drift", ["temp", "humid"], score="drift"), performance(), policy())
    assert "2 of 3 features have drifted (temp, humid), and so have the model's outputs (score)" in decision.sentence
    assert decision.about == ("drift of humid", "drift of temp", "drift of score")


@pytest.mark.parametrize(
    ("drifted", "score", "facts"),
    [
        (["temp"], "ok", ["Too few inputs have drifted to act on (temp)."]),
        ([], "warn", ["outputs have moved (score)."]),
        (["temp"], "warn", ["Too few inputs have drifted to act on (temp).", "outputs have moved (score)."]),
    ],
)
def test_all_clear_names_what_did_move(drifted, score, facts):
    sentence = decide_action(quality(), drift("warn", drifted, score), performance("no_labels"), policy()).sentence
    assert sentence.startswith("No labels have arrived yet.")
    assert [fact for fact in facts if fact in sentence] == facts
    assert sentence.count("(") == len(facts)


@pytest.mark.parametrize(
    ("reports", "about"),
    [
        ((quality(), drift("drift", ["temp", "dewp"]), performance()), ("drift of dewp", "drift of temp")),
        ((quality(), drift(score="drift"), performance("no_labels")), ("drift of score",)),
        ((quality("warn", "9% missing"), drift(), performance()), ("quality of temp",)),
        ((quality("broken", "is gone"), drift(), performance()), ("quality of temp",)),
        ((quality("empty"), drift("insufficient"), performance("no_labels")), ("no predictions",)),
        ((quality(), drift(), performance("degraded", 0.05)), ("harm",)),
    ],
)
def test_causes_of_a_decision_have_no_numbers(reports, about):
    assert decide_action(*reports, policy()).about == about
    assert decide_action(*reports, policy(can_retrain=False)).about == about


def test_impact_that_no_column_shows_is_told_with_its_limit():
    report = drift("drift", score="ok").model_copy(update={"impact_total": 0.19, "impact_limit": 0.01})
    decision = decide_action(quality(), report, performance(), policy())
    assert (decision.action, decision.about) == (Action.RAISE_ALERT, ("impact",))
    assert "costs 0.1900 of the loss, limit 0.01" in decision.sentence


@pytest.mark.parametrize(
    ("increase", "p_value", "words"),
    [
        (0.0120, 0.066, "neither show harm nor exclude it: brier is 0.1620, worse by 0.0120, limit 0.01; not shown on "
                        "5,000 labels (p = 0.066)"),
        (0.0050, 0.21, "show no harm: brier is 0.1550, worse by 0.0050, limit 0.01, on 5,000 labels "
                       "(p = 0.21)"),
        (-0.0200, 0.99, "show no harm: brier is 0.1300, better by 0.0200, limit 0.01, on 5,000 labels (p = 0.99)"),
    ],
)  # fmt: skip
def test_sentence_says_what_the_labels_show_of_harm(increase, p_value, words):
    report = performance("ok", increase, p_value=p_value, max_degradation=0.01)
    decision = decide_action(quality(), drift(), report, policy())
    assert decision.action is Action.ALL_CLEAR
    assert f"Labels {words}." in decision.sentence


def long_run(**changes):
    numbers = {
        "since": "2013-01-01T00:00:00+00:00", "until": "2013-05-01T00:00:00+00:00", "n": 90_000, "value": 0.163,
        "increase": 0.013, "standard_error": 0.002, "lower_bound": 0.007, "level": 0.05, "unit": "day", "clusters": 120,
    }  # fmt: skip
    return {**numbers, **changes}


@pytest.mark.parametrize("n", [5_000, 0])
def test_harm_that_only_all_labels_show_says_since_when(n):
    report = performance("degraded", 0.012, max_degradation=0.01, p_value=0.07, long_run=long_run())
    if not n:
        report = report.model_copy(update={"n": 0, "increase": None, "p_value": None, "current": {}})
    decision = decide_action(quality(), drift(), report, policy())
    assert (decision.action, decision.about) == (Action.RETRAIN, ("harm",))
    assert "Since 2013-01-01 brier is 0.1630, 0.0130 worse than the holdout's 0.1500 on 90,000 labels" in (
        decision.sentence
    )
    assert "limit 0.01; at least 0.0070 worse" in decision.sentence


def test_harm_that_the_window_shows_is_that_of_the_window():
    report = performance("degraded", 0.05, max_degradation=0.01, p_value=0.001, long_run=long_run())
    assert "brier is 0.2000, 0.0500 worse" in decide_action(quality(), drift(), report, policy()).sentence


def labels(status="ok", kind="base_rate", *, quarantined=0):
    span = {"start": "2013-04-20T00:00:00+00:00", "end": "2013-04-21T00:00:00+00:00"}
    finding = {**span, "kind": kind, "status": "warn" if status == "warn" else "broken", "n": 900, "sentence": "odd"}
    body = {
        "status": status, "n": 5_000, "findings": [finding] if status in ("warn", "broken", "quarantined") else [],
        "spans": [span] if status == "broken" else [], "quarantined": {"hours": quarantined, "rows": 20 * quarantined},
    }  # fmt: skip
    return StoredLabelsReport.from_dict(body)


@pytest.mark.parametrize("metric", ["degraded", "ok", "undefined", "insufficient", "no_labels"])
@pytest.mark.parametrize("moved", ["ok", "drift"])
def test_broken_labels_are_quarantined_whatever_they_say(metric, moved):
    decision = decide_action(quality(), drift(moved, ["temp"]), performance(metric, 0.05), policy(), labels("broken"))
    assert (decision.action, decision.about) == (Action.QUARANTINE, ("labels",))
    assert "odd" in decision.sentence


def test_broken_data_comes_before_broken_labels():
    decision = decide_action(quality("broken", "gone"), drift(), performance(), policy(), labels("broken"))
    assert decision.about == ("quality of temp",)


@pytest.mark.parametrize(
    ("found", "performed", "moved", "action"),
    [
        (labels("ok"), performance(), "ok", Action.ALL_CLEAR),
        (labels("insufficient"), performance(), "ok", Action.ALL_CLEAR),
        (labels("warn"), performance(), "ok", Action.RAISE_ALERT),
        (labels("quarantined", quarantined=48), performance(), "ok", Action.RAISE_ALERT),
        (labels("ok", quarantined=48), performance("degraded", 0.05), "ok", Action.RETRAIN),
        (labels("quarantined", quarantined=160), performance("no_labels"), "drift", Action.RAISE_ALERT),
        (labels("quarantined", quarantined=160), performance("insufficient"), "drift", Action.RAISE_ALERT),
    ],
)
def test_quarantined_and_changed_labels_are_told_and_retrain_nothing_without_others(found, performed, moved, action):
    decision = decide_action(quality(), drift(moved, ["temp"]), performed, policy(), found)
    assert decision.action is action
    assert ("labels" in decision.about) == (found.status not in ("ok", "insufficient") or found.quarantined.hours > 0)
    if action is Action.RAISE_ALERT:
        assert "Retraining." not in decision.sentence


def test_only_labels_of_another_distribution_are_said_to_have_changed():
    late = decide_action(quality(), drift(), performance(), policy(), labels("warn", "late"))
    assert (late.action, late.about) == (Action.RAISE_ALERT, ("labels",))
    assert late.sentence.endswith(" Odd.")
    changed = decide_action(quality(), drift(), performance(), policy(), labels("warn", "base_rate"))
    assert changed.sentence.endswith(" The labels have changed: odd.")
    findings = labels("warn", "late").findings + labels("warn", "base_rate").findings
    mixed = labels("warn").model_copy(update={"findings": findings})
    both = decide_action(quality(), drift(), performance(), policy(), mixed)
    assert both.sentence.endswith(" The labels have changed: odd. Odd.")


def test_late_labels_are_told_once_where_labels_are_missing():
    missing = performance("no_labels", missing=True, rate=0.02)
    decision = decide_action(quality(), drift(), missing, policy(), labels("warn", "late"))
    assert decision.about == ("missing labels",)

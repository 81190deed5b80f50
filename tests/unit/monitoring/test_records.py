"""Records: the same JSON as before, old stored keys still read, and nothing heavy imported."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from keel.errors import ConfigError, SchemaError
from keel.monitoring.records import (
    Action,
    ComparisonRecord,
    CountedWindow,
    DecisionRecord,
    ExperimentDecision,
    ExperimentRequest,
    Outcome,
    ProbationDecision,
    PromotionRequest,
    ReconcileRecord,
    RollbackRequest,
    StoredDriftReport,
    StoredPerformanceReport,
    StoredQualityReport,
    TrainedVersion,
)
from keel.window import Window

START, END = "2026-03-01T00:00:00+00:00", "2026-03-08T00:00:00+00:00"
WINDOW = {"start": START, "end": END}
DECISION = {
    "decision_id": "decision-1",
    "model": "toy",
    "version": 1,
    "window": WINDOW,
    "action": "raise_alert",
    "sentence": "x has drifted.",
    "about": ["drift of x"],
}
COMPARISON = {
    "decision_id": "decision-1",
    "model": "toy",
    "champion": 1,
    "challenger": 2,
    "mlflow_run_id": "0123",
    "report_id": "comparison-1",
    "forced_by": None,
    "requested_by": "ada",
    "until": END,
    "verdict": "pass",
    "reason": "better by 0.0400",
    "sentence": "Challenger 2 against champion 1: better by 0.0400.",
    "metric": "brier",
    "n": 3_300,
    "n_excluded": {"total": 12, "no usable label": 12},
    "champion_value": 0.21,
    "challenger_value": 0.17,
    "improvement": 0.04,
    "lower_bound": 0.032,
    "margin": 0,
    "level": 0.03,
    "holdout": {"start": "2026-03-01T07:30:00.250000+00:00", "end": END},
    "segments": {"evaluated": 0, "not_listed": 0, "found": []},
}
REQUEST = {
    "promote": {"challenger": 2, "champion": None, "holdout": WINDOW, "until": END, "forced_by": "ada"},
    "rollback": {"target": None, "reason": "harm"},
    "watch": {"verdict": "harm", "branch": "rollback", "watched": {"verdict": "harm", "sentence": "Worse.", "n": 9}},
    "start_experiment": {"experiment_id": "experiment-1", "plan": {"mode": "ab"}},
    "stop_experiment": {"experiment_id": "experiment-1"},
    "end_experiment": {"experiment_id": "experiment-1", "branch": "promote", "outcome": "promote"},
}


def test_times_and_windows_keep_the_text_that_ids_are_hashes_of():
    counted = CountedWindow.from_dict(
        {"model": "toy", "version": 1, "window": WINDOW, "rows": 9, "counted_hours": 1, "counted_rows": 9}
    )
    assert counted.window == Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 8, tzinfo=UTC))
    assert counted.to_dict()["window"] == WINDOW
    assert ComparisonRecord.from_dict(COMPARISON).to_dict()["holdout"] == COMPARISON["holdout"]


def test_empty_window_is_refused():
    with pytest.raises(ConfigError, match="is not before end"):
        DecisionRecord.from_dict({**DECISION, "window": {"start": END, "end": START}})


@pytest.mark.parametrize("record", [DecisionRecord.from_dict(DECISION), ComparisonRecord.from_dict(COMPARISON)])
def test_to_dict_from_dict_returns_the_same_record(record):
    plain = record.to_dict()
    assert type(record).from_dict(json.loads(json.dumps(plain, allow_nan=False))) == record


def test_to_dict_keeps_every_stored_key_of_a_comparison():
    plain = ComparisonRecord.from_dict(COMPARISON).to_dict()
    assert {name: plain[name] for name in COMPARISON} == COMPARISON


def test_a_comparison_of_release_0_1_0_is_read_with_its_old_keys():
    stored = {**COMPARISON, "n_left_out": COMPARISON["n_excluded"], "also": {"log_loss": {}}, "earlier_looks": 3}
    del stored["n_excluded"]
    read = ComparisonRecord.from_dict(stored)
    assert (read.n_rows, read.extra_metrics, read.prior_comparisons) == (3_312, {"log_loss": {}}, 3)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("all_clear", DecisionRecord),
        ("retrain", DecisionRecord),
        ("promote", PromotionRequest),
        ("rollback", RollbackRequest),
        ("watch", ProbationDecision),
        ("start_experiment", ExperimentRequest),
        ("stop_experiment", ExperimentRequest),
        ("end_experiment", ExperimentDecision),
    ],
)
def test_decision_from_dict_returns_the_class_of_its_action(action, kind):
    record = DecisionRecord.from_dict({**DECISION, "action": action, **REQUEST.get(action, {})})
    assert type(record) is kind
    assert record.action is Action(action)
    assert DecisionRecord.from_dict(record.to_dict()) == record


def test_decision_of_another_action_is_refused_by_a_subclass():
    with pytest.raises(SchemaError, match="PromotionRequest: action"):
        PromotionRequest.from_dict({**DECISION, **REQUEST["promote"]})


def test_decision_that_was_not_stored_has_an_empty_id():
    assert DecisionRecord.from_dict({**DECISION, "decision_id": None}).decision_id == ""


def test_missing_field_is_named():
    with pytest.raises(SchemaError, match=r"DecisionRecord: window: .*required"):
        DecisionRecord.from_dict({name: value for name, value in DECISION.items() if name != "window"})


def test_unknown_status_is_refused():
    with pytest.raises(SchemaError, match="StoredQualityReport: status"):
        StoredQualityReport.from_dict({"status": "unheard_of", "n": 1})


def test_unknown_keys_are_ignored():
    assert DecisionRecord.from_dict({**DECISION, "from_a_later_release": 1}) == DecisionRecord.from_dict(DECISION)


def test_keys_of_release_0_1_are_read():
    aside = {"hours": 12, "rows": 240}
    quality = StoredQualityReport.from_dict({"status": "ok", "n": 1, "set_aside": aside, "released": aside})
    assert (quality.quarantined.hours, quality.released.rows) == (12, 240)
    drift = StoredDriftReport.from_dict(
        {"status": "ok", "n": 1, "share_drifted": 0, "features": {}, "set_aside": aside}
    )
    assert drift.quarantined.rows == 240
    labels = StoredPerformanceReport.from_dict({"status": "no_labels", "metric": "brier", "n": 0, "set_aside": aside})
    assert labels.quarantined.rows == 240
    outcome = Outcome.from_dict(
        {"outcome": "rolled_back", "sentence": "…", "told": ["email"], "taken_back": 2, "earlier_looks": 3}
    )
    assert (outcome.notified, outcome.rolled_back_version, outcome.prior_comparisons) == (("email",), 2, 3)
    old = {name: value for name, value in COMPARISON.items() if name != "prior_comparisons"}
    assert ComparisonRecord.from_dict({**old, "earlier_looks": 2}).prior_comparisons == 2
    found = ReconcileRecord.from_dict({"model": "toy", "findings": ["Lost."], "set_aside": ["Lost."]})
    assert found.undelivered == ("Lost.",)


def test_outcome_repeats_the_evidence_it_rests_on():
    outcome = Outcome.of("promoted", ComparisonRecord.from_dict(COMPARISON), "Promoted version 2.", version=2)
    assert (outcome.outcome, outcome.sentence, outcome.version) == ("promoted", "Promoted version 2.", 2)
    assert (outcome.lower_bound, outcome.holdout.end.isoformat()) == (0.032, END)
    assert outcome.notified == ()


def test_outcome_of_a_decision_does_not_take_its_version_for_its_own():
    outcome = Outcome.of("quarantined", DecisionRecord.from_dict(DECISION), "Quarantined 1 span.")
    assert (outcome.decision_id, outcome.model, outcome.version) == ("decision-1", "toy", None)


def test_trained_version_is_json_without_nan():
    data = {**WINDOW, "rows": 100, "sha256": "ab"}
    trained = TrainedVersion.from_dict(
        {
            "decision_id": "decision-1", "model": "toy", "challenger": 2, "champion": 1, "mlflow_run_id": "0123",
            "until": END, "requested_by": "ada", "training": data, "holdout": data,
            "metrics": {"brier": 0.2, "roc_auc": None}, "sentence": "Version 2 was trained.",
        }
    )  # fmt: skip
    assert json.loads(json.dumps(trained.to_dict(), allow_nan=False))["holdout"] == data

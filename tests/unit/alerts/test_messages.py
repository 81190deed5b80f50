"""Messages and mails: complete and plain, silent when repeated, and readable by any mail program."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from itertools import pairwise

import pytest

from keel.alerts.mail import recipients
from keel.alerts.messages.approval import compose_approval_request
from keel.alerts.messages.decision import HEADLINES, compose_alert
from keel.alerts.messages.evidence import TOP_FEATURES, describe_column
from keel.alerts.messages.failure import compose_failure
from keel.alerts.messages.findings import compose_findings
from keel.alerts.outbox import write_eml
from keel.config import ModelConfig
from keel.monitoring.records import (
    Action,
    DecisionRecord,
    Message,
    Outcome,
    ReconcileRecord,
    StoredColumn,
    StoredDriftReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.window import Window
from tests.support.airflow.mails import text_of

END = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 1, 0, 5, tzinfo=UTC)
CONFIG = ModelConfig.model_validate(
    {
        "model": "toy",
        "owner": "shop-team",
        "target": {"name": "bought"},
        "features": {"x": "numeric", "colour": "categorical"},
        "alerts": {
            "email": ["oncall@example.com", "lead@example.com"],
            "slack": "#shop",
            "runbook": "https://example.com/runbook",
        },
    }
)
SENTENCE = (
    "brier is 0.2100, 0.0600 worse than the holdout's 0.1500 on 3,360 labels. Loss rose by 0.0600: "
    "input drift explains +0.0100, the changed relation +0.0500. Retraining."
)


def column(severity="drift", **values):
    return {"kind": "numeric", "role": "feature", "severity": severity, "status": severity, **values}


def drift(features):
    share = sum(found["severity"] == "drift" for found in features.values()) / len(features)
    return StoredDriftReport.from_dict({"status": "drift", "n": 3_360, "share_drifted": share, "features": features})


DRIFT = drift(
    {
        "x": column(
            measures={
                "psi": {"value": 0.412, "excess": 0.4},
                "ks": {"statistic": 0.21},
                "wasserstein": {"value": 0.55},
            },
            impact=0.0123,
        ),
        "colour": column(
            "warn",
            measures={"psi": {"value": 0.15, "excess": 0.14}, "chi_square": {"statistic": 88.4}},
            missing_rate=0.031,
            impact=-0.002,
        ),
        "z": column("ok", measures={"psi": {"value": 0.01, "excess": 0.0}}),
    }
)
PERFORMANCE = StoredPerformanceReport.from_dict(
    {
        "status": "degraded",
        "metric": "brier",
        "n": 3_360,
        "current": {"brier": {"value": 0.21}, "roc_auc": {"value": None}},
        "reference": {"brier": {"value": 0.15}, "roc_auc": {"value": 0.8}},
    }
)
OUTCOME = Outcome.from_dict(
    {
        "outcome": "promoted",
        "sentence": "Promoted version 2: better by 0.0400.",
        "version": 2,
        "champion": 1,
        "challenger": 2,
        "metric": "brier",
        "n": 3_300,
        "champion_value": 0.21,
        "challenger_value": 0.17,
        "improvement": 0.04,
        "lower_bound": 0.032,
        "margin": 0.0,
        "prior_comparisons": 0,
        "holdout": {"start": (END - timedelta(days=8)).isoformat(), "end": (END - timedelta(days=1)).isoformat()},
        "mlflow_run_id": "0123abcd",
    }
)
PROMOTION = """\
brier is 0.2100, 0.0600 worse than the holdout's 0.1500 on 3,360 labels. Loss rose by 0.0600: input drift explains \
+0.0100, the changed relation +0.0500. Retraining.

Promoted version 2: better by 0.0400.

Model        toy (owner: shop-team)
Window       2026-02-22 00:00 to 2026-03-01 00:00 UTC
Version      2 in production, before it 1

On the holdout 2026-02-21 00:00 to 2026-02-28 00:00 UTC (3,300 labelled rows neither version has seen):
  champion   version 1: brier 0.2100
  challenger version 2: brier 0.1700
  improvement +0.0400, lower bound +0.0320 (must exceed 0)

Columns that moved most (1 of 3 features has drifted, on 3,360 rows):
  x       drift    PSI 0.412, KS 0.210, shift 0.55 IQR, impact +0.0123
  colour  warn     PSI 0.150, χ² 88.4, 3.1% missing, impact -0.0020

Performance on 3,360 labels, holdout in brackets:
  brier     0.2100 (0.1500)

Run          http://localhost:8080/dags/toy.drift_check/runs/r1
MLflow       0123abcd
Runbook      https://example.com/runbook
"""
FAILURE = """\
Task count_window of toy.drift_check failed. As a result, toy was not checked or changed by this run. \
This is not an all clear.

Run          scheduled__1
Error        StoreUnavailable: the store does not answer
Log          http://localhost:8080/log

Fix the cause, then clear the failed task. Re-running is safe. If a parameter was wrong, start another run.
"""
DETAILS = {
    "promote": {"challenger": 2, "champion": 1, "holdout": OUTCOME.holdout, "until": END},
    "watch": {
        "verdict": "broken_promise",
        "branch": "notify",
        "watched": {"verdict": "broken_promise", "sentence": "Worse."},
    },
    "start_experiment": {"experiment_id": "experiment-1"},
    "stop_experiment": {"experiment_id": "experiment-1"},
    "end_experiment": {"experiment_id": "experiment-1", "branch": "promote"},
}


def decision(action="raise_alert", *, version=1, sentence=SENTENCE, **values):
    window = Window(END - timedelta(days=7), END)
    body = {"decision_id": "decision-1", "model": "toy", "version": version, "window": window, "about": ["drift of x"]}
    body |= {"action": action, "sentence": sentence, **DETAILS.get(action, {}), **values}
    return DecisionRecord.from_dict(body)


def outcome(**changes):
    return OUTCOME.model_copy(update=changes)


def compose(decided=None, result=None, *, repeated=False, run_url=None, **reports):
    reports = {"quality": None, "drift": DRIFT, "performance": PERFORMANCE, **reports}
    return compose_alert(CONFIG, decided or decision(), result, **reports, repeated=repeated, run_url=run_url)


def test_promotion_message_goes_from_the_sentence_to_the_links():
    run_url = "http://localhost:8080/dags/toy.drift_check/runs/r1"
    message = compose(decision("retrain"), OUTCOME, run_url=run_url)
    assert (message.subject, message.text) == ("[Keel] toy: retrained and promoted version 2", PROMOTION)
    assert (message.email, message.slack) == (("oncall@example.com", "lead@example.com"), "#shop")


def test_kept_champion_message_names_the_rejected_challenger():
    kept = outcome(outcome="kept_champion", version=1, sentence="Kept champion 1.", lower_bound=-0.01)
    message = compose(decision("retrain"), kept)
    assert message.subject == "[Keel] toy: retrained, kept champion 1"
    assert "1 in production, challenger 2 rejected" in message.text
    assert "lower bound -0.0100 (must exceed 0)" in message.text


def test_first_version_has_nothing_before_it():
    first = Outcome(outcome="promoted", sentence="First.", version=1, champion=None, challenger=1)
    text = compose(decision("retrain", version=None), first, drift=None, performance=None).text
    assert "1 in production, before it none" in text
    assert "On the holdout" not in text


def test_message_is_plain_text_that_fits_a_terminal():
    text = compose(decision("retrain"), OUTCOME).text
    assert not set(text) & set("<>\t\r")
    assert text.endswith("\n")
    evidence = text.splitlines()[1:]  # the decision's own sentence is one paragraph
    assert max(map(len, evidence)) <= 120
    assert not any(a == b == "" for a, b in pairwise(evidence))


@pytest.mark.parametrize("action", [a for a in Action if a is not Action.ALL_CLEAR])
def test_every_action_has_a_headline(action):
    assert compose(decision(str(action))).subject == f"[Keel] toy: {HEADLINES[action].format(version=1)}"


def test_unknown_outcome_is_an_error_and_not_silence():
    with pytest.raises(KeyError):
        compose(decision("retrain"), Outcome(outcome="unheard_of", sentence="?"))


def test_columns_that_moved_are_cut_to_the_top_and_counted():
    many = {f"f{i}": column(measures={"psi": {"value": 1.0 + i, "excess": 1.0}}) for i in range(9)}
    text = compose(drift=drift(many)).text
    assert "Columns that moved most (9 of 9 features have drifted, on 3,360 rows):" in text
    assert sum(line.startswith("  f") for line in text.splitlines()) == TOP_FEATURES


def test_message_without_drift_or_reports_has_only_what_is_known():
    calm = compose(drift=drift({"x": column("ok")}), performance=None).text
    assert "Inputs: none has moved beyond its threshold (3,360 rows)." in calm
    bare = compose(drift=None, performance=None).text
    assert "Inputs" not in bare
    assert "Performance" not in bare


def test_quarantined_hours_are_named_where_there_are_any():
    excluded = {"status": "ok", "n": 9, "quarantined": {"hours": 12, "rows": 2_400}}
    assert "\nQuarantined  2,400 rows of 12 h\n" in compose(quality=StoredQualityReport.from_dict(excluded)).text
    assert "Quarantined" not in compose(quality=StoredQualityReport.from_dict({"status": "ok", "n": 9})).text


def test_column_without_measures_is_described_by_its_reasons():
    gone = column(reasons=["The column is absent from all 9 rows."])
    assert describe_column(StoredColumn.from_dict(gone)) == "The column is absent from all 9 rows."
    constant = column(measures={"wasserstein": {"value": None}})
    assert describe_column(StoredColumn.from_dict(constant)) == ""


def test_all_clear_is_silent():
    assert compose(decision("all_clear")) is None


@pytest.mark.parametrize("action", ["raise_alert", "quarantine", "watch"])
def test_repeated_alert_is_silent(action):
    assert compose(decision(action), repeated=True) is None
    assert compose(decision(action), repeated=False)


@pytest.mark.parametrize("action", ["retrain", "promote", "rollback", "end_experiment"])
def test_what_changes_a_version_is_never_silent(action):
    assert compose(decision(action), OUTCOME, repeated=True)


@pytest.mark.parametrize("result", ["rolled_back", "confirmed", "probation_over"])
def test_end_of_a_probation_is_never_silent(result):
    assert compose(decision("watch"), Outcome(outcome=result, sentence="…", version=1), repeated=True)


def test_champion_that_the_same_rows_made_again_is_not_rejected():
    again = Outcome(outcome="kept_champion", sentence="Kept champion 1.", version=1, champion=1, challenger=1)
    assert "1 in production, no other was trained\n" in compose(decision("retrain"), again).text


@pytest.mark.parametrize(("prior", "words"), [(1, "1 earlier comparison used"), (3, "3 earlier comparisons used")])
def test_reused_holdout_is_named_with_its_stricter_bound(prior, words):
    assert words in compose(decision("retrain"), outcome(prior_comparisons=prior)).text


def test_holdout_that_was_not_used_before_has_no_such_line():
    assert OUTCOME.prior_comparisons == 0
    assert "earlier comparison" not in compose(decision("retrain"), OUTCOME).text


def test_failure_message_is_no_all_clear_and_names_what_to_do():
    message = compose_failure(
        dag_id="toy.drift_check",
        run_id="scheduled__1",
        task_id="count_window",
        error="StoreUnavailable: the store does not answer",
        log_url="http://localhost:8080/log",
        model="toy",
        email=("oncall@example.com",),
        slack="#shop",
    )
    assert (message.subject, message.text) == ("[Keel] toy: toy.drift_check failed", FAILURE)
    assert (message.email, message.slack) == (("oncall@example.com",), "#shop")


def test_failure_without_task_error_or_log_has_only_what_is_known():
    message = compose_failure(dag_id="toy.retrain", run_id="r", task_id=None, error=None, log_url=None, model="toy")
    assert message.text.startswith("A run of toy.retrain failed")
    assert "Error" not in message.text
    assert "Log" not in message.text


def test_failure_of_the_maintenance_names_no_model():
    message = compose_failure(dag_id="maintenance", run_id="r", task_id="t", error=None, log_url=None, model=None)
    assert message.subject == "[Keel] maintenance failed"
    assert "the maintenance is not complete" in message.text


def test_approval_request_names_where_who_and_until_when():
    message = compose_approval_request(
        CONFIG, subject="Promote toy version 2?", body="Evidence.", answer_url="http://a"
    )
    assert message.subject == "[Keel] Promote toy version 2?"
    assert message.text.startswith("Evidence.\n\nAnswer       http://a\n")
    assert "within 24 hours, the version is not promoted" in message.text
    assert message.email == ("oncall@example.com", "lead@example.com")


@pytest.mark.parametrize(
    ("findings", "undelivered", "about"),
    [
        (["moved"], [], "the registry was changed outside Keel"),
        (["lost"], ["lost"], "predictions could not be stored"),
        (["moved", "lost"], ["lost"], "the registry was changed outside Keel, and predictions could not be stored"),
    ],
)
def test_findings_message_names_its_subject(findings, undelivered, about):
    found = ReconcileRecord(model="toy", findings=tuple(findings), undelivered=tuple(undelivered))
    message = compose_findings(CONFIG, found, run_url="-")
    assert message.subject == f"[Keel] toy: {about}"
    assert all(sentence in message.text for sentence in findings)


def test_without_findings_there_is_no_message():
    assert compose_findings(CONFIG, ReconcileRecord(model="toy", completed=True), run_url="-") is None


@pytest.mark.parametrize(("emails", "header"), [([], "undisclosed-recipients:;"), (["a@example.com"], "a@example.com")])
def test_mail_always_has_a_to_header(emails, header):
    assert recipients(emails) == header


def written(folder, message, now=NOW):
    path = write_eml(folder, message, sender="keel@example.com", now=now)
    return path, message_from_bytes(path.read_bytes(), policy=policy.default)


def test_outbox_mail_parses_to_the_message(tmp_path):
    message = compose(decision("retrain"), OUTCOME)
    path, mail = written(tmp_path / "home" / "outbox", message)
    assert path.suffix == ".eml"
    assert path.name.startswith("20260301T000500-")
    assert (mail["Subject"], mail["From"]) == (message.subject, "keel@example.com")
    assert [str(a) for a in mail["To"].addresses] == list(message.email)
    assert mail["Date"].datetime == NOW
    assert text_of(mail) == message.text
    assert not mail.defects
    assert message.text in path.read_text(encoding="utf-8")  # without a mail program


def test_same_message_is_one_file_and_another_is_another(tmp_path):
    message = compose()
    first, _ = written(tmp_path, message)
    before = first.read_bytes()
    again, _ = written(tmp_path, message, now=NOW + timedelta(hours=1))
    assert (again, again.read_bytes()) == (first, before)
    other, _ = written(tmp_path, message.model_copy(update={"text": f"{message.text}More."}))
    assert other != first
    assert len(list(tmp_path.iterdir())) == 2


def test_mail_without_addressees_parses(tmp_path):
    _, mail = written(tmp_path, Message(subject="s", text="t\n"))
    assert mail["To"].addresses == ()


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\x85", "\x0b", "\x00"])
def test_subject_of_whatever_text_is_one_line_and_smuggles_in_no_header(tmp_path, end):
    _, mail = written(tmp_path, Message(subject=f"s{end}Bcc: someone@example.com{'x' * 5_000}", text="t"))
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("s")
    assert len(mail["Subject"]) < 400


def test_write_that_is_cut_short_leaves_no_mail(tmp_path, monkeypatch):
    def die(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(OSError, match="no space left"):
        written(tmp_path, compose())
    assert list(tmp_path.glob("*.eml")) == []
    monkeypatch.undo()
    path, _ = written(tmp_path, compose())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


TRIED = outcome(
    basis="experiment",
    loss="Brier score",
    challenger_value=0.18,
    champion_value=0.2,
    improvement=0.02,
    lower_bound=0.0125,
    n=4_321,
    experiment_id="experiment-1",
)


def test_experiment_that_promotes_is_reported_with_its_numbers():
    decided = decision("end_experiment", sentence="experiment-1: Version 2 against version 1: version 2 is better.")
    message = compose(decided, TRIED)
    assert message.subject == f"[Keel] toy: promoted version {OUTCOME.version}"
    assert "In the experiment" in message.text
    assert "(4,321 outcomes), mean Brier score:" in message.text
    assert "improvement +0.0200, lower bound +0.0125 (must exceed 0)" in message.text
    assert "neither version has seen" not in message.text
    assert "retrained" not in message.subject


def test_experiment_without_a_verdict_is_reported_as_such():
    ended = Outcome(outcome="experiment_ended", sentence=SENTENCE, version=1)
    message = compose(decision("end_experiment"), ended)
    assert message.subject == "[Keel] toy: the experiment ended without a verdict"


def test_requester_is_named_where_a_person_made_the_request():
    assert "\nRequested by ada\n" in compose(decision("rollback", requested_by="ada")).text
    for nobody in (None, "", "airflow"):
        assert "Requested by" not in compose(decision("rollback", requested_by=nobody)).text


def test_findings_of_a_decision_are_paragraphs_of_their_own():
    text = compose(decision("watch", findings=["The alias production was moved.", SENTENCE])).text
    assert text.startswith(f"{SENTENCE}\n\nThe alias production was moved.\n\nModel ")

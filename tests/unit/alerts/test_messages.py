"""What people read when a model needs them: plain, complete, not twice, and a file that any mail program opens."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from itertools import pairwise

import pytest

from keel.alerts.messages.decision import HEADLINES, TOP_FEATURES, compose_alert, describe_feature, recipients
from keel.alerts.messages.failure import compose_failure
from keel.alerts.outbox import write_eml
from keel.config import ModelConfig
from keel.monitoring.decision import Action

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
            "cooldown": "24h",
            "runbook": "https://example.com/runbook",
        },
    }
)
SENTENCE = (
    "brier is 0.2100, 0.0600 worse than the holdout's 0.1500 on 3,360 labels; loss +0.0600, "
    "inputs account for +0.0100, the rest is the world: retrain."
)


def feature(severity="drift", **measures):
    return {"severity": severity, "status": severity, "missing_rate": 0.0, "impact": None, "measures": measures}


def drift(features):
    return {"n": 3_360, "features": features}


REPORTS = {
    "drift": drift(
        {
            "x": {
                **feature(psi={"value": 0.412, "excess": 0.4}, ks={"statistic": 0.21}, wasserstein={"value": 0.55}),
                "impact": 0.0123,
            },
            "colour": {
                **feature("warn", psi={"value": 0.15, "excess": 0.14}, chi_square={"statistic": 88.4}),
                "missing_rate": 0.031,
                "impact": -0.002,
            },
            "z": feature("ok", psi={"value": 0.01, "excess": 0.0}),
        }
    ),
    "performance": {
        "n": 3_360,
        "current": {"brier": {"value": 0.21}, "roc_auc": {"value": None}},
        "reference": {"brier": {"value": 0.15}, "roc_auc": {"value": 0.8}},
    },
    "quality": None,
}
OUTCOME = {
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
GOLDEN = """\
brier is 0.2100, 0.0600 worse than the holdout's 0.1500 on 3,360 labels; loss +0.0600, inputs account for +0.0100, \
the rest is the world: retrain.

Promoted version 2: better by 0.0400.

Model    toy (owner: shop-team)
Window   2026-02-22 00:00 to 2026-03-01 00:00 UTC
Version  2 in production, before it 1

On the holdout 2026-02-21 00:00 to 2026-02-28 00:00 UTC (3,300 labelled rows neither version has seen):
  champion   version 1: brier 0.2100
  challenger version 2: brier 0.1700
  improvement +0.0400, lower bound +0.0320 (must exceed 0)

Columns that moved most (2 of 3, 3,360 rows):
  x       drift    PSI 0.412, KS 0.210, shift 0.55 IQR, impact +0.0123
  colour  warn     PSI 0.150, χ² 88.4, 3.1% missing, impact -0.0020

Performance on 3,360 labels, holdout in brackets:
  brier     0.2100 (0.1500)

Run      http://localhost:8080/dags/toy.drift_check/runs/r1
MLflow   0123abcd
Runbook  https://example.com/runbook
"""


def decision(action="raise_alert", *, end=END, version=1, sentence=SENTENCE, about=("drift of x",)):
    window = {"start": (end - timedelta(days=7)).isoformat(), "end": end.isoformat()}
    return {"action": action, "version": version, "window": window, "sentence": sentence, "about": list(about)}


def past(action="raise_alert", *, hours_ago=6, version=1, told=("outbox",), about=("drift of x", "drift of z")):
    return {
        "action": action,
        "version": version,
        "window_end": END - timedelta(hours=hours_ago),
        "body": {"about": list(about)},
        "outcome": None if told is None else {"told": list(told)},
    }


def compose(decided=None, outcome=None, reports=REPORTS, told=(), config=CONFIG, run_url=None):
    return compose_alert(config, decided or decision(), outcome, reports, told, run_url=run_url)


def test_a_promotion_reads_from_the_sentence_to_the_links():
    run_url = "http://localhost:8080/dags/toy.drift_check/runs/r1"
    message = compose(decision("retrain"), OUTCOME, run_url=run_url)
    assert message == {
        "subject": "[Keel] toy: retrained and promoted version 2",
        "text": GOLDEN,
        "email": ["oncall@example.com", "lead@example.com"],
        "slack": "#shop",
    }


def test_a_champion_that_was_kept_is_told_with_what_was_turned_down():
    kept = {**OUTCOME, "outcome": "kept_champion", "version": 1, "sentence": "Kept champion 1.", "lower_bound": -0.01}
    message = compose(decision("retrain"), kept)
    assert message["subject"] == "[Keel] toy: retrained, kept champion 1"
    assert "Version  1 in production, challenger 2 turned down" in message["text"]
    assert "lower bound -0.0100 (must exceed 0)" in message["text"]


def test_the_first_version_has_nothing_before_it():
    first = {"outcome": "promoted", "sentence": "First.", "version": 1, "champion": None, "challenger": 1}
    text = compose(decision("retrain", version=None), first, reports={})["text"]
    assert "Version  1 in production, before it none" in text
    assert "On the holdout" not in text


def test_a_message_is_plain_text_that_fits_a_terminal():
    text = compose(decision("retrain"), OUTCOME)["text"]
    assert not set(text) & set("<>\t\r")
    assert text.endswith("\n")
    evidence = text.splitlines()[1:]  # the decision's own sentence is one paragraph
    assert max(map(len, evidence)) <= 120
    assert not any(a == b == "" for a, b in pairwise(evidence))


@pytest.mark.parametrize("action", [a for a in Action if a is not Action.ALL_CLEAR])
def test_every_action_that_is_told_has_a_headline(action):
    assert str(action) in HEADLINES
    assert compose(decision(str(action)))["subject"].startswith("[Keel] toy: ")


def test_an_unknown_outcome_is_an_error_and_not_silence():
    with pytest.raises(KeyError):
        compose(decision("retrain"), {"outcome": "unheard_of", "sentence": "?"})


def test_columns_that_moved_are_cut_to_the_top_and_counted():
    many = {f"f{i}": feature(psi={"value": 1.0 + i, "excess": 1.0}) for i in range(9)}
    text = compose(reports={"drift": drift(many)})["text"]
    assert "Columns that moved most (9 of 9, 3,360 rows):" in text
    assert sum(line.startswith("  f") for line in text.splitlines()) == TOP_FEATURES


def test_without_drift_or_reports_the_message_says_only_what_is_known():
    calm = compose(reports={"drift": drift({"x": feature("ok")}), "performance": None})["text"]
    assert "Inputs: none has moved beyond its threshold (3,360 rows)." in calm
    bare = compose(reports={"drift": None, "performance": None})["text"]
    assert "Inputs" not in bare
    assert "Performance" not in bare


def test_a_feature_without_measures_is_described_by_its_reasons():
    gone = {"measures": {}, "impact": None, "reasons": ["The column is absent from all 9 rows."]}
    assert describe_feature(gone) == "The column is absent from all 9 rows."
    constant = {"measures": {"wasserstein": {"value": None}}, "impact": None}
    assert describe_feature(constant) == ""


def test_all_clear_is_silent():
    assert compose(decision("all_clear")) == {}


@pytest.mark.parametrize("action", ["raise_alert", "quarantine"])
@pytest.mark.parametrize(
    ("before", "is_silent"),
    [
        ({"hours_ago": 0}, True),
        ({"hours_ago": 6}, True),
        ({"hours_ago": 24}, False),  # the cooldown has passed
        ({"hours_ago": -6}, False),  # of a later window: this one is being checked after the fact
        ({"version": 2}, False),  # of another version
        ({"told": ()}, False),  # nobody heard it
        ({"told": None}, False),  # its run has not ended
    ],
)
def test_what_was_told_within_the_cooldown_is_not_told_again(action, before, is_silent):
    assert (compose(decision(action), told=[past(action, **before)]) == {}) is is_silent


def test_an_alert_does_not_silence_a_quarantine_nor_the_other_way_round():
    assert compose(decision("quarantine"), told=[past("raise_alert")])
    assert compose(decision("raise_alert"), told=[past("quarantine"), past("retrain")])


@pytest.mark.parametrize("action", ["raise_alert", "quarantine"])
def test_what_was_told_does_not_silence_what_was_not(action):
    heard = [past(action, about=["drift of x"]), past(action, about=["drift of z"])]
    assert compose(decision(action, about=["harm"]), told=heard)
    assert compose(decision(action, about=["drift of x", "quality of x"]), told=heard)
    assert compose(decision(action, about=["drift of x", "drift of z"]), told=heard) == {}


def test_a_champion_that_the_same_rows_made_again_is_not_turned_down():
    again = {"outcome": "kept_champion", "sentence": "Kept champion 1.", "version": 1, "champion": 1, "challenger": 1}
    assert "Version  1 in production, no other was made\n" in compose(decision("retrain"), again)["text"]


@pytest.mark.parametrize(
    ("looks", "said"), [(0, None), (1, "judged 1 challenger before"), (3, "judged 3 challengers before")]
)
def test_a_holdout_that_was_looked_at_before_says_so(looks, said):
    text = compose(decision("retrain"), {**OUTCOME, "prior_comparisons": looks})["text"]
    assert said in text if said else "before: trust" not in text


def test_what_came_of_a_retrain_is_always_told():
    assert compose(decision("retrain"), OUTCOME, told=[past("retrain", hours_ago=1)])


def test_without_a_cooldown_every_alert_is_told():
    config = CONFIG.with_overrides({"alerts.cooldown": "0h"})
    assert compose(told=[past(hours_ago=0)], config=config)


def test_the_cooldown_is_counted_in_the_datas_own_time():
    """A year replayed in an hour is told as a year."""
    replayed = [{**past(hours_ago=30 * 24), "created_at": NOW}]
    assert compose(told=replayed)


def test_a_failure_says_that_it_is_no_all_clear_and_what_to_do():
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
    assert message == {
        "subject": "[Keel] toy: toy.drift_check failed",
        "text": (
            "A run of task count_window of toy.drift_check failed, so toy was not checked or changed by it. "
            "This is not an all clear.\n"
            "\n"
            "Run      scheduled__1\n"
            "Error    StoreUnavailable: the store does not answer\n"
            "Log      http://localhost:8080/log\n"
            "\n"
            "What to do: read the error, mend its cause, then clear the failed task; "
            "a re-run changes nothing twice. If it\n"
            "was given something wrong, start another run instead.\n"
        ),
        "email": ["oncall@example.com"],
        "slack": "#shop",
    }


def test_a_failure_without_task_error_or_log_still_says_what_is_known():
    text = compose_failure(dag_id="toy.retrain", run_id="r", task_id=None, error=None, log_url=None, model="toy")[
        "text"
    ]
    assert text.startswith("A run of toy.retrain failed")
    assert "Error" not in text
    assert "Log" not in text


@pytest.mark.parametrize(("emails", "header"), [([], "undisclosed-recipients:;"), (["a@example.com"], "a@example.com")])
def test_a_mail_always_has_a_to_header(emails, header):
    assert recipients(emails) == header


def written(folder, message, now=NOW):
    path = write_eml(folder, message, sender="keel@example.com", now=now)
    return path, message_from_bytes(path.read_bytes(), policy=policy.default)


def test_the_outbox_keeps_a_mail_that_parses_to_what_was_said(tmp_path):
    message = compose(decision("retrain"), OUTCOME)
    path, mail = written(tmp_path / "home" / "outbox", message)
    assert path.suffix == ".eml"
    assert path.name.startswith("20260301T000500-")
    assert (mail["Subject"], mail["From"]) == (message["subject"], "keel@example.com")
    assert [str(a) for a in mail["To"].addresses] == message["email"]
    assert mail["Date"].datetime == NOW
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content() == message["text"]
    assert not mail.defects


def test_the_same_message_is_one_file_and_another_is_another(tmp_path):
    message = compose()
    first, _ = written(tmp_path, message)
    before = first.read_bytes()
    again, _ = written(tmp_path, message, now=NOW + timedelta(hours=1))
    assert (again, again.read_bytes()) == (first, before)
    other, _ = written(tmp_path, {**message, "text": message["text"] + "More."})
    assert other != first
    assert len(list(tmp_path.iterdir())) == 2


def test_a_mail_without_addressees_parses(tmp_path):
    _, mail = written(tmp_path, {"subject": "s", "text": "t\n", "email": []})
    assert mail["To"].addresses == ()


def test_a_subject_cannot_smuggle_in_a_header(tmp_path):
    with pytest.raises(ValueError, match="linefeed"):
        written(tmp_path, {"subject": "s\nBcc: someone@example.com", "text": "t", "email": []})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_is_cut_short_leaves_no_mail(tmp_path, monkeypatch):
    def die(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(OSError, match="no space left"):
        written(tmp_path, compose())
    assert list(tmp_path.glob("*.eml")) == []
    monkeypatch.undo()
    path, _ = written(tmp_path, compose())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


TRIED = {
    **OUTCOME, "basis": "experiment", "loss": "Brier score", "challenger_value": 0.18, "champion_value": 0.2,
    "improvement": 0.02, "lower_bound": 0.0125, "margin": 0.0, "n": 4_321, "experiment_id": "experiment-1",
}  # fmt: skip


def test_what_an_experiment_led_to_is_told_with_its_numbers_and_as_often_as_it_happens():
    decided = decision("end_experiment", sentence="experiment-1: Version 2 against version 1: version 2 is better.")
    message = compose(decided, TRIED, told=[past("end_experiment")])
    assert message["subject"] == f"[Keel] toy: promoted version {OUTCOME['version']}"
    assert "In the experiment" in message["text"]
    assert "(4,321 outcomes), mean Brier score:" in message["text"]
    assert "improvement +0.0200, lower bound +0.0125 (must exceed 0)" in message["text"]
    assert "neither version has seen" not in message["text"]
    assert "retrained" not in message["subject"]


@pytest.mark.parametrize(
    ("action", "headline"),
    [
        ("start_experiment", "an experiment has begun"),
        ("stop_experiment", "the experiment was stopped"),
        ("end_experiment", "the experiment has ended"),
    ],
)
def test_the_start_and_the_end_of_an_experiment_are_told(action, headline):
    assert compose(decision(action), told=[past(action)])["subject"] == f"[Keel] toy: {headline}"


def test_an_experiment_without_a_verdict_is_told_as_such():
    ended = {"outcome": "experiment_ended", "sentence": SENTENCE, "version": 1}
    message = compose(decision("end_experiment"), ended)
    assert message["subject"] == "[Keel] toy: the experiment has ended without a verdict"


def test_who_asked_is_named_where_a_person_has():
    asked = {**decision("rollback", sentence="Taken back by hand."), "requested_by": "ada"}
    assert "\nAsked by ada\n" in compose(asked)["text"]
    for nobody in (None, "", "airflow"):
        assert "Asked by" not in compose({**asked, "requested_by": nobody})["text"]

"""What a decision led to: events that are told once, and what they end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel.alerts.findings.approval import observe_answer, observe_question
from keel.alerts.findings.failure import observe_failure, observe_success
from keel.alerts.findings.outcome import observe_outcome
from keel.alerts.findings.reconciled import observe_reconciled
from keel.alerts.messages.alerts import compose_alerts
from keel.alerts.records import ALL_MODELS, Change, Examined
from keel.config import Kind, Severity
from keel.evaluation.probation.verdict import ProbationVerdict
from keel.monitoring.records import DecisionRecord, Outcome, ReconcileRecord
from tests.support.alerts.life import Life
from tests.support.alerts.reports import END, WINDOW, decision
from tests.support.alerts.samples import notice
from tests.support.toy import toy_config

CONFIG = toy_config()
NOW = END + timedelta(days=300)
SPAN = {"start": WINDOW.start.isoformat(), "end": END.isoformat()}
PROMOTE = {"champion": 3, "challenger": 4, "holdout": SPAN, "until": END.isoformat(), "requested_by": "ada"}


def outcome(name: str, **changes) -> Outcome:
    values = {"outcome": name, "sentence": f"The outcome is {name}.", "version": 4, "champion": 3, "challenger": 4}
    return Outcome.from_dict({**values, **changes})


def watch(verdict: str, branch: str, **changes) -> DecisionRecord:
    watched = {"verdict": verdict, "sentence": f"The probation is {verdict}.", "n": 900, "version": 3}
    watched |= changes.pop("watched", {})
    return decision("watch", verdict=verdict, branch=branch, watched=watched, **changes)


def observed(made: DecisionRecord, led_to: Outcome | None = None):
    return observe_outcome(CONFIG, made, led_to, now=NOW)


def found(made: DecisionRecord, led_to: Outcome | None = None) -> list[tuple[str, str, str]]:
    return [(str(each.kind), each.subject, str(each.severity)) for each in observed(made, led_to).findings]


@pytest.mark.parametrize(
    ("action", "name", "changes", "expected"),
    [
        ("retrain", "promoted", {}, [("promotion", "version 4", "info")]),
        ("retrain", "kept_champion", {"version": 3}, [("retrained", "version 4", "info")]),
        ("retrain", "staged", {}, []),  # the request for an approval tells of it
        ("promote", "promoted", {}, [("promotion", "version 4", "info")]),
        ("promote", "kept_champion", {"version": 3}, [("promotion", "version 4", "info")]),
        ("promote", "declined", {"version": 3}, [("promotion", "version 4", "info")]),
        ("rollback", "rolled_back", {"version": 2}, [("rollback", "version 2", "warning")]),
        ("watch", "rolled_back", {"version": 2}, [("rollback", "version 2", "error")]),
        ("watch", "confirmed", {"version": 3}, [("probation", "version 3", "info")]),
        ("watch", "probation_over", {"version": 3}, [("probation", "version 3", "warning")]),
        ("end_experiment", "experiment_ended", {"version": 3}, [("experiment", "version 3", "warning")]),
        ("end_experiment", "kept_champion", {"version": 3}, [("experiment", "version 4", "info")]),
        (
            "end_experiment",
            "promoted",
            {},
            [("experiment", "experiment-1", "info"), ("promotion", "version 4", "info")],
        ),
        ("end_experiment", "staged", {}, [("experiment", "experiment-1", "info")]),
    ],
)
def test_each_outcome_is_its_event(action, name, changes, expected):
    more = {
        "promote": PROMOTE,
        "rollback": {"requested_by": "ada"},
        "end_experiment": {"experiment_id": "experiment-1", "branch": "end_experiment", "outcome": "promote"},
    }
    made = watch("harm", "rollback") if action == "watch" else decision(action, **more.get(action, {}))
    assert found(made, outcome(name, **changes)) == expected
    for each in observed(made, outcome(name, **changes)).findings:
        assert not each.kind.lasts
        assert each.sentence
        assert not each.sentence.endswith(".")


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        ("promoted", "version 4 was promoted"),
        ("rolled_back", "production was rolled back to version 4"),
        ("kept_champion", ""),
        ("confirmed", ""),
    ],
)
def test_only_another_version_in_production_ends_what_was_found_of_the_one_before(name, resolution):
    seen = observed(decision("retrain"), outcome(name))
    assert (seen.version_changed, seen.resolution) == (bool(resolution), resolution)


def test_a_persons_rollback_is_told_to_the_others_and_the_schedules_is_an_error():
    assert found(decision("rollback", requested_by="airflow"), outcome("rolled_back"))[0][2] == "error"
    assert found(decision("rollback", requested_by="ada"), outcome("rolled_back"))[0][2] == "warning"


def test_an_answered_request_ends_the_question_about_its_version():
    asked = observe_question(
        "toy", challenger=4, report_id="c", run_id="r", answer_url="", until=NOW, now=END
    ).findings[0]
    for name in ("promoted", "declined", "kept_champion"):
        seen = observed(decision("promote", **PROMOTE), outcome(name))
        [answered] = seen.examined
        assert (answered.kind, answered.subject) == (Kind.APPROVAL, asked.subject)
        assert answered.resolution
    assert observed(decision("retrain"), outcome("promoted")).examined == ()


def test_requests_have_the_clocks_time_and_evaluations_the_datas():
    assert (observed(decision("rollback")).source, observed(decision("rollback")).at) == ("request", NOW)
    assert (observed(watch("harm", "rollback")).source, observed(watch("harm", "rollback")).at) == ("watch", END)


@pytest.mark.parametrize("action", ["retrain", "rollback"])
def test_a_request_that_came_to_nothing_is_no_event(action):
    assert found(decision(action, requested_by="ada")) == []


@pytest.mark.parametrize("action", ["start_experiment", "stop_experiment"])
def test_an_experiment_that_a_person_starts_or_stops_is_told(action):
    made = decision(action, experiment_id="experiment-1", requested_by="ada")
    assert found(made) == [("experiment", "experiment-1", "info")]


# Hourly evaluations


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (ProbationVerdict.BASELINE_NOT_MET, True),
        (ProbationVerdict.INCONCLUSIVE, True),
        (ProbationVerdict.RUNNING, False),
        ("none", False),
    ],
)
def test_an_evaluation_that_acts_on_nothing_is_told_where_its_verdict_is_news(verdict, told):
    expected = [("probation", "version 3", "warning")] if told else []
    assert found(watch(verdict, "notify")) == expected


def test_what_every_hour_says_again_is_one_observation():
    first = observed(watch("broken_promise", "notify", decision_id="at 10"))
    again = observed(watch("broken_promise", "notify", decision_id="at 11", watched={"n": 950}))
    assert first.observation_id == again.observation_id
    others = [
        watch("inconclusive", "notify", watched={"extended_until": NOW.isoformat()}),
        watch("broken_promise", "notify", findings=["An alias was moved."]),
        watch("broken_promise", "notify", version=4),
    ]
    assert len({each.observation_id for each in map(observed, others)} | {first.observation_id}) == 4
    ends = observed(watch("survived", "confirm", decision_id="at 12"), outcome("confirmed"))
    assert ends.observation_id not in {first.observation_id, *(observed(each).observation_id for each in others)}


def test_what_a_reconciliation_found_goes_with_the_evaluation():
    made = watch(
        "none", "notify", findings=["An alias was moved.", "A label was lost."], undelivered=["A label was lost."]
    )
    assert found(made) == [("out_of_band", "An alias was moved.", "warning"), ("lost_records", "", "error")]


# Maintenance


def reconciled(*, run_id="run-1", **values):
    return observe_reconciled(ReconcileRecord.from_dict({"model": "toy", **values}), run_id=run_id, now=NOW)


def test_a_reconciliation_tells_changes_as_events_and_lost_records_until_none_follow():
    seen = reconciled(
        findings=["production was moved.", "Lost 1.", "Lost 2."],
        out_of_band=[{"what": "production", "expected": 3, "found": 2, "sentence": "production was moved."}],
        undelivered=["Lost 1.", "Lost 2."],
    )
    [moved, lost] = seen.findings
    assert (moved.kind, moved.subject) == (Kind.OUT_OF_BAND, "production")
    assert moved.evidence == {"what": "production", "expected": 3, "found": 2}
    assert (lost.kind, lost.severity) == (Kind.LOST_RECORDS, Severity.ERROR)
    assert lost.sentence == "Lost 1; and 1 more"
    assert lost.evidence == {"records": ["Lost 1.", "Lost 2."], "episode": "run-1"}
    assert seen.examined == reconciled().examined
    assert {each.kind for each in seen.examined} == {Kind.LOST_RECORDS, Kind.LEDGER_BROKEN}
    assert all(each.resolution for each in seen.examined)  # an adopted version ends neither
    assert reconciled().findings == ()


def test_each_loss_of_records_is_told_also_in_the_same_words_and_the_end_says_that_they_are_not_stored():
    life, told = Life(), []
    for run, sentences in (("night 1", ["Lost."]), ("night 2", ["Lost."]), ("night 3", [])):
        seen = reconciled(run_id=run, findings=sentences, undelivered=sentences)
        told += life.see(*seen.findings, examined=seen.examined)
    assert [each.change for each in told] == [Change.FIRING, Change.REMINDER, Change.RESOLVED]
    _, again, over = (compose_alerts(CONFIG, notice("n", (each,)), now=NOW) for each in told)
    assert again.subject == "toy: again: predictions could not be stored"
    assert not any("no person has acknowledged it" in line for line in again.done)
    assert "only the dead letters in the service's spool have it" in over.todo[0]
    evaluations = [watch("none", "notify", decision_id=each, findings=["L."], undelivered=["L."]) for each in "ab"]
    assert len({observed(each).observation_id for each in evaluations}) == 2


def test_a_version_that_was_moved_outside_keel_ends_what_was_found_of_the_one_before():
    details = [{"what": "production", "expected": 3, "found": 2, "sentence": "production was moved."}]
    seen = reconciled(findings=["production was moved."], out_of_band=details)
    assert (seen.version_changed, seen.resolution) == (True, "version 2 is in production")
    carried = observed(watch("none", "notify", findings=["production was moved."], out_of_band=details))
    assert (carried.version_changed, carried.resolution) == (True, "version 2 is in production")
    staged = [{**details[0], "what": "staging"}]
    assert not reconciled(findings=["production was moved."], out_of_band=staged).version_changed
    deleted = [{**details[0], "found": None}]
    assert not reconciled(findings=["production was moved."], out_of_band=deleted).version_changed


def test_a_row_that_is_not_what_the_ledger_says_lasts_until_it_is():
    details = [{"what": "deployments", "expected": 3, "found": 2, "sentence": "The row differs."}]
    [row] = reconciled(findings=["The row differs."], out_of_band=details).findings
    assert (row.kind, row.subject, row.severity) == (Kind.LEDGER_BROKEN, "deployments", Severity.CRITICAL)
    assert (Kind.LEDGER_BROKEN, "deployments") in {(each.kind, each.subject) for each in reconciled().examined}


# Broken runs


def failed(**changes):
    values = {
        "dag_id": "toy.drift_check", "run_id": "run-1", "task_id": "decide", "error": "KeyError: 'x'", "model": "toy",
        "now": NOW,
    }  # fmt: skip
    return observe_failure(**{**values, **changes})


def test_a_failed_run_is_an_error_about_its_dag_and_ends_nothing():
    seen = failed()
    [finding] = seen.findings
    assert (finding.kind, finding.subject, finding.severity) == (
        Kind.PIPELINE_FAILURE, "toy.drift_check", Severity.ERROR,
    )  # fmt: skip
    assert finding.sentence == "Task decide of toy.drift_check failed"
    assert finding.evidence == {"run": "run-1", "task": "decide", "error": "KeyError: 'x'"}
    assert (seen.source, seen.examined, seen.model) == ("pipeline", (), "toy")
    assert failed(task_id=None).findings[0].sentence == "A run of toy.drift_check failed"
    assert failed(model=None).model == ALL_MODELS


def test_a_broken_ledger_is_critical():
    [finding] = failed(kind=Kind.LEDGER_BROKEN).findings
    assert (finding.kind, finding.severity) == (Kind.LEDGER_BROKEN, Severity.CRITICAL)


def test_a_failure_is_observed_once_and_again_after_the_run_was_cleared():
    assert failed().observation_id == failed(error="in other words").observation_id
    ids = {each.observation_id for each in (failed(), failed(attempt="2"), failed(run_id="r"), failed(task_id=None))}
    assert len(ids) == 4


def test_a_run_that_succeeds_ends_the_failure_of_its_own_dag():
    seen = observe_success(dag_id="toy.drift_check", run_id="run-2", model="toy", now=NOW)
    assert seen.findings == ()
    assert {(each.kind, each.subject) for each in seen.examined} == {
        (kind, "toy.drift_check") for kind in (Kind.PIPELINE_FAILURE, Kind.LEDGER_BROKEN)
    }


# Questions


def test_a_question_waits_until_it_is_answered():
    until = NOW + timedelta(hours=24)
    about = {"report_id": "comparison-1", "run_id": "run-1", "answer_url": "http://answer"}
    asked = observe_question("toy", challenger=4, **about, until=until, now=NOW)
    [question] = asked.findings
    assert (question.kind, question.subject) == (Kind.APPROVAL, "version 4")
    assert question.kind.lasts
    assert f"until {until:%Y-%m-%d %H:%M} UTC" in question.sentence
    answered = observe_answer("toy", challenger=4, sentence="Declined by bob.", run_id="run-1", now=NOW)
    assert answered.examined == (Examined(kind=Kind.APPROVAL, subject="version 4"),)
    assert (answered.findings, answered.resolution) == ((), "Declined by bob")
    assert asked.observation_id != answered.observation_id

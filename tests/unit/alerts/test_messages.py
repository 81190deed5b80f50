"""Messages: what they say first, what they say at all, and that no name or number of the data breaks them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.alerts.channels.email import build
from keel.alerts.channels.email_values import values
from keel.alerts.findings.quality import Quarantine
from keel.alerts.messages.alerts import compose_alerts
from keel.alerts.messages.digest import compose_digest
from keel.alerts.messages.event import compose_event
from keel.alerts.messages.pipeline import compose_failure
from keel.alerts.messages.tables import MAX_ROWS, within
from keel.alerts.messages.words import clause, headline, ranked, severity_of
from keel.alerts.records import Alert, Change, News, State, Table
from keel.config import Kind, Severity
from keel.monitoring.records import DecisionRecord, Outcome, StoredLabelsReport, StoredQualityReport
from keel.window import HOUR
from tests.support.airflow.mails import text_of
from tests.support.alerts import samples
from tests.support.alerts.samples import NOW, alert, check, config, firing, harm, moved, notice, of_check, over


def composed(name, news, **changes):
    return of_check(notice("n", news), check(name), **changes)


def test_headline_tells_the_worst_kind_first_and_counts_the_rest():
    news = firing(
        moved("temp", rank=0.1),
        moved("dewp", rank=0.2),
        alert(Kind.LABELS_MISSING),
        harm(),
        alert(Kind.PREDICTION_DRIFT, "score"),
    )
    assert headline(news) == (
        "predictions are worse than on the holdout, 2 inputs have changed (dewp and temp), and there are 2 more "
        "findings"
    )


def test_headline_names_three_columns_and_counts_the_others():
    news = firing(*(moved(f"x{number}", rank=1 - number / 100) for number in range(5)))
    assert headline(news) == "5 inputs have changed (x0, x1, x2 and 2 more)"
    assert headline(news[:1]) == "the input x0 has changed"


def test_drift_against_the_window_before_says_so():
    one = moved("temp against the window before")
    assert clause([one]) == "the input temp has changed against the window before"
    assert clause([one, moved("dewp")]) == "2 inputs have changed (temp and dewp)"
    score = alert(Kind.PREDICTION_DRIFT, "score against the window before")
    assert clause([score]) == "what the model answers has changed against the window before (score)"
    assert clause([score, alert(Kind.PREDICTION_DRIFT, "prediction")]) == (
        "what the model answers has changed (score and prediction)"
    )


def test_costs_of_all_inputs_together_are_no_column():
    assert clause([alert(Kind.DATA_DRIFT, "", Severity.ERROR)]) == "the change of the inputs costs more than is allowed"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("change", Change)
@pytest.mark.parametrize("subject", ["", "temp"])
def test_every_kind_and_change_has_words(kind, change, subject):
    given = alert(kind, subject, Severity.ERROR, "something was found")
    news = News(alert=given, change=change, lasted=7200.0)
    words = headline([news])
    assert words
    assert "_" not in words
    assert "{" not in words
    assert "after 2 hours" in words or change is not Change.RESOLVED
    message = compose_alerts(config(), notice("n", (news,)), now=NOW)
    assert message.happened.endswith(".")
    assert message.todo
    text_of(build(message, sender="a@example.com", to="b@example.com", now=NOW))


def test_kind_without_a_sentence_has_words_too():
    for kind in Kind:
        assert headline(firing(alert(kind, "temp")))


def test_news_that_is_over_comes_last_and_is_as_severe_as_people_know():
    ended = over(harm(), days=2)
    news = (ended, *firing(moved("temp")))
    assert [each.alert.kind for each in ranked(news)] == [Kind.DATA_DRIFT, Kind.PERFORMANCE]
    assert severity_of(news) is Severity.ERROR
    better = ended.alert.model_copy(update={"severity": Severity.INFO, "told_severity": Severity.ERROR})
    assert severity_of([News(alert=better, change=Change.RESOLVED)]) is Severity.ERROR


def test_reminder_and_escalation_say_what_they_are():
    assert headline(firing(harm(), change=Change.REMINDER)).startswith("still: ")
    assert headline(firing(moved("temp", Severity.ERROR), change=Change.ESCALATED)).startswith("worse than before: ")


def test_message_about_harm_says_whether_it_hurts_what_was_done_and_what_to_do():
    message = samples.incident()
    assert message.severity is Severity.ERROR
    assert message.hurts[0].startswith(
        "Yes: the Brier score of version 1 is 0.244, worse than the 0.157 of its holdout"
    )
    assert (
        "changed inputs explain −0.020, and a changed relation between inputs and target the other +0.107"
        in (message.hurts[1])
    )
    assert message.done == (
        "Version 2 was trained, and is not better (−0.00155 in Brier score on 19,087 unseen rows): version 1 stays in "
        "production.",
    )
    assert message.runbook == "https://wiki.example.com/flight-delay"
    assert message.links.keys() == {"Report", "Run in Airflow", "Version in MLflow"}


def test_check_that_promotes_says_what_was_wrong_although_nothing_is_left_to_alert_of():
    message = samples.promoted()
    assert message.subject == "flight_delay: version 3 was promoted"
    assert message.happened == (
        "Predictions are worse than on the holdout, and a retrained version is better: version 3 was promoted."
    )
    assert message.todo[0] == "Nothing to do: version 3 is on probation."
    assert message.runbook is None


@pytest.mark.parametrize(("champion", "is_undone"), [(None, False), (1, True)])
def test_promotion_says_how_to_undo_it_where_there_is_a_version_to_go_back_to(champion, is_undone):
    facts = check("promoted")
    outcome = facts["outcome"].model_copy(update={"champion": champion})
    request = facts["decision"].model_copy(update={"reason": "the first version"})
    news = firing(alert(Kind.PROMOTION), change=Change.EVENT)
    first = composed("promoted", news, decision=request, outcome=outcome)
    event = compose_event(config(), notice("n", news), decision=request, outcome=outcome, now=NOW)
    for message in (first, event):
        assert message.todo[0].startswith("Nothing to do: ")
        assert any("rollback" in step for step in message.todo) is is_undone
        assert len(message.todo) == 1 + is_undone
        assert message.facts["Version"] == f"3 in production, {'before it 1' if is_undone else 'the first'}"


def test_channels_in_trouble_are_told_in_grammar_however_many_they_are():
    slack, email = (alert(Kind.CHANNEL, name, Severity.ERROR, "x" * 200) for name in ("slack", "email"))
    assert clause([slack]) == "messages by slack do not arrive"
    assert clause([slack, email]) == "messages by slack and email do not arrive"


def test_promotion_that_ends_an_alert_tells_the_promotion_and_what_is_over():
    event = alert(Kind.PROMOTION, "version 3", Severity.INFO, "Promoted", state=State.RESOLVED, resolved_at=NOW)
    ended = over(harm(), days=61, resolution="version 3 was promoted")
    message = composed("promoted", (ended, *firing(event, change=Change.EVENT)))
    assert message.subject == "flight_delay: version 3 was promoted"
    assert message.topic == "event"
    assert message.severity is Severity.ERROR  # for those who were told of the harm
    assert values(message)["status"] == {"text": "info", "tone": "neutral"}
    assert message.evidence[0].rows == (("performance", "1 May to 1 July 2013", "61 days", "Version 3 was promoted"),)


def test_columns_known_to_have_changed_say_since_when_and_others_are_new():
    table = next(table for table in samples.incident().evidence if table.title.startswith("Columns"))
    since = {row[0]: row[table.head.index("Since")] for row in table.rows}
    assert since == {"temp": "new", "visib": "new", "pressure": "19 April 2013", "humid": "", "precip": ""}


def test_message_that_resolves_says_how_long_it_lasted_why_and_what_is_left():
    message = samples.resolved()
    assert message.topic == "resolved"
    assert message.subject.startswith("flight_delay: resolved: ")
    assert "after 9 days 6 hours" in message.happened
    assert message.done == ("2 alerts were closed: 12 checks in a row were clear.",)
    assert message.todo == ("Nothing to do about this. Still open: input dewp.",)
    assert message.picture is None


def test_end_of_a_fault_names_what_stays_quarantined_and_how_to_release_it():
    now = NOW.replace(minute=0)
    begin, end = now - timedelta(days=3), now - timedelta(days=2)
    held = [
        Quarantine("data", begin, end, now),
        Quarantine("labels", begin - timedelta(days=30), end - timedelta(days=30), end - timedelta(days=29)),
        Quarantine("labels", begin, end, end),
        Quarantine("labels", end, end + timedelta(hours=12), now),
        Quarantine("labels", now - timedelta(hours=6), now, now, is_released=True),
    ]
    ended = over(alert(Kind.LABEL_QUALITY, "base_rate", Severity.ERROR), days=3)
    message = composed("promoted", (ended,), quarantines=held)
    assert message.todo == (
        "The labels of 28 June 2013 to 29 June 2013 12:00 are quarantined, until a person releases them as right: "
        "`keel quarantine release flight_delay --start 2013-06-28T00:00Z --end 2013-06-29T12:00Z`",
        "Nothing else to do.",
    )
    assert composed("promoted", (ended,), quarantines=held[-1:]).todo == ("Nothing to do.",)
    parted = [replace(held[2], start=begin + n * HOUR, end=begin + (n + 0.5) * HOUR) for n in range(5)]
    assert composed("promoted", (ended,), quarantines=parted).todo[-2] == (
        "To see the other 2: `keel quarantine list flight_delay`"
    )
    again = firing(ended.alert.model_copy(update={"resolved_at": None}), change=Change.REMINDER)
    assert composed("promoted", again, quarantines=held).todo[-1] == message.todo[0]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.lasts])
def test_end_claims_nothing_but_what_its_source_said(kind):
    """A channel that nobody uses any more does not work again, and neither does a check that has no schedule."""
    ended = over(alert(kind, "slack", Severity.ERROR), days=1, resolution="nobody is told by slack any more")
    message = compose_alerts(config(), notice("n", (ended,)), now=NOW)
    assert message.happened.endswith(" is over after 1 day.")
    assert message.done == ("The alert was closed: nobody is told by slack any more.",)


def test_resolution_of_a_source_is_the_reason():
    ended = over(moved("temp"), days=1, resolution="version 3 was promoted")
    assert composed("drift", (ended,)).done == ("The alert was closed: version 3 was promoted.",)


def test_person_is_told_how_to_accept_a_drift_that_does_no_harm_and_only_then():
    def accept(message):
        return [line for line in message.todo if "keel alerts accept" in line]

    [line] = accept(composed("drift", firing(moved("wind speed; rm -rf ~"))))
    assert "keel alerts accept flight_delay 'wind speed; rm -rf ~' --reason …" in line
    assert not accept(composed("kept", firing(moved("temp"))))
    assert not accept(composed("drift", firing(moved("temp against the window before"))))


def test_acknowledging_is_offered_for_what_needs_a_person():
    line = composed("kept", firing(harm())).todo[-1]
    assert f"keel alerts ack {harm().alert_id[:12]}" in line
    assert not any("keel alerts ack" in line for line in composed("drift", firing(moved("temp"))).todo)


def test_report_that_could_not_be_published_is_named_where_its_link_would_be():
    assert samples.broken_data().links["Report"] == "could not be published: MLflow does not answer"


def test_broken_data_shows_no_measures_on_it():
    titles = [table.title for table in samples.broken_data().evidence]
    assert titles == ["Faults of the data"]


def test_request_of_a_person_says_who_asked_and_asks_for_nothing():
    facts = {**check("kept"), **dict.fromkeys(("quality", "drift", "performance", "labels", "report"))}
    asked = {"sentence": "Requested: a refresh", "reason": "a refresh", "requested_by": "dana"}
    facts["decision"] = facts["decision"].model_copy(update=asked)
    event = alert(Kind.RETRAINED, "version 2", Severity.INFO, "Kept champion 1", state=State.RESOLVED, resolved_at=NOW)
    message = of_check(notice("n", firing(event, change=Change.EVENT)), facts)
    assert message.happened == "Version 1 stays in production."
    assert message.facts["Requested by"] == "dana"
    assert message.hurts == ()
    assert message.todo == ("Nothing to do.",)


def test_rollback_by_keel_says_what_the_labels_showed():
    message = samples.rollback()
    assert message.hurts[0].startswith("Yes: version 3 is worse than version 1 on the same 2,310 labelled predictions")
    assert message.done == ("Rolled back to version 1; version 3 is quarantined.",)


def test_request_without_an_outcome_says_what_was_requested():
    body = {"decision_id": "d", "model": "flight_delay", "version": 3, "window": check("kept")["decision"].window}
    decision = DecisionRecord.from_dict(
        {**body, "action": "start_experiment", "sentence": "Started e1: version 4 answers half.", "experiment_id": "e1"}
    )
    found = alert(Kind.EXPERIMENT, "e1", Severity.INFO, "started", state=State.RESOLVED, resolved_at=NOW)
    message = compose_event(
        config(), notice("n", firing(found, change=Change.EVENT)), decision=decision, outcome=None, now=NOW
    )
    assert message.happened == "An experiment started."
    assert message.done == ("Started e1: version 4 answers half.",)
    assert message.facts["Experiment"] == "e1"


def test_failure_with_findings_of_its_run_shows_them():
    failed = alert(Kind.PIPELINE_FAILURE, "flight_delay.drift_check", Severity.ERROR, "Task record failed")
    message = compose_failure(
        config(),
        notice("n", firing(failed, harm())),
        dag_id="flight_delay.drift_check",
        run_id="r",
        task_id="record",
        error=None,
        log_url=None,
        now=NOW,
    )
    assert message.happened == "Task record of flight_delay.drift_check failed."
    about = {"dag_id": "flight_delay.x", "run_id": "r", "error": None, "log_url": None, "now": NOW}
    mapped = compose_failure(config(), notice("n", firing(failed)), task_id="load", instance=3, **about)
    assert mapped.happened == "Instance 3 of task load of flight_delay.x failed."
    assert compose_failure(config(), notice("n", firing(failed)), task_id=None, **about).happened == (
        "A run of flight_delay.x failed."
    )
    assert message.hurts[0].endswith("It is not an all clear.")
    assert {row[0] for table in message.evidence for row in table.rows} == {
        "run of flight_delay.drift_check",
        "performance",
    }


def test_digest_tells_what_is_open_before_what_is_over():
    message = samples.digest()
    assert message.subject == "flight_delay: digest, 2 still open, 1 over"
    [table] = message.evidence
    assert [row[0] for row in table.rows] == ["input temp", "output score", "retrained version 2", "input dewp"]
    assert table.rows[-1][1:] == ("25 June to 1 July 2013", "over: version 3 was promoted")


def test_digest_of_models_has_ten_rows_together_and_counts_the_others():
    message = samples.digest_of_models()
    assert message.model == ""
    assert sum(len(table.rows) for table in message.evidence) == MAX_ROWS
    assert message.evidence[-1].notes == ("and 2 more",)
    assert len(message.alerts) == 12


def test_digest_says_what_each_change_costs_and_how_to_accept_it():
    found = moved("temp", evidence={"impact": 0.0301, "psi": 2.4})
    message = compose_digest({"flight_delay": notice("n", firing(found))}, configs={}, message_id="m", now=NOW)
    [table] = message.evidence
    assert (table.head, table.rows[0][2], table.numeric) == (
        ("What", "When", "Impact", "What was found"),
        "+0.0301",
        (2,),
    )
    assert "`keel alerts accept flight_delay temp --reason …`" in message.todo[1]


def test_digest_of_a_model_that_does_worse_says_so():
    about = notice("n", firing(moved("temp"))).model_copy(update={"open_alerts": (harm(), alert(Kind.LABELS_MISSING))})
    message = compose_digest({"flight_delay": about}, configs={}, message_id="m", now=NOW)
    assert message.hurts == (
        "Yes: predictions of flight_delay are worse than on the holdout.",
        "Not known for flight_delay: labels are missing.",
    )
    assert message.todo[0] == (
        "See first to the errors that are open: performance (flight_delay). To see every alert: `keel alerts list`"
    )
    assert samples.digest().todo[0].startswith("Nothing is urgent. ")
    assert not any("accept" in line for line in message.todo)


def test_tables_share_ten_rows_and_the_first_ones_matter_most():
    def table(rows):
        return Table(title=str(rows), head=("a",), rows=tuple((str(number),) for number in range(rows)))

    found = within([table(4), None, table(7), table(3), table(2)])
    assert [(each.title, len(each.rows), each.notes) for each in found] == [
        ("4", 4, ()),
        ("7", 5, ("and 2 more",)),
        ("3", 1, ("and 2 more",)),
    ]
    assert [len(each.rows) for each in within([table(12)], MAX_ROWS)] == [MAX_ROWS]


def test_table_that_two_limits_cut_says_once_how_much_is_left():
    day = {"start": NOW.isoformat(), "end": (NOW + timedelta(hours=1)).isoformat(), "n": 9}
    fault = {"status": "broken", "kind": "missing", "share": 1.0, "sentence": "It is empty.", "column": "x"}
    facts = {
        "quality": StoredQualityReport.from_dict({"status": "broken", "n": 9, "findings": [fault] * 9}),
        "labels": StoredLabelsReport.from_dict({"status": "broken", "n": 9, "findings": [{**fault, **day}] * 9}),
    }
    broken = [alert(kind, "x", Severity.ERROR) for kind in (Kind.DATA_QUALITY, Kind.LABEL_QUALITY)]
    message = composed("kept", (*firing(*broken), *(over(moved(f"y{number}"), days=1) for number in range(3))), **facts)
    assert [(len(each.rows), each.notes) for each in message.evidence[:3]] == [
        (3, ()), (5, ("and 4 more",)), (2, ("and 7 more",)),
    ]  # fmt: skip


def test_message_keeps_its_id_and_answers_to_what_was_told_before():
    about = notice("n", firing(harm())).model_copy(update={"references": ("m1", "m2")})
    message = compose_alerts(config(), about, now=NOW)
    assert (message.message_id, message.references) == (about.message_id, ("m1", "m2"))
    [line] = message.alerts
    assert (line.fingerprint, line.change) == (harm().fingerprint, Change.FIRING)


NAMES = st.text(max_size=300)


@settings(max_examples=10, deadline=None)
@given(name=NAMES, sentence=NAMES, kind=st.sampled_from(list(Kind)), change=st.sampled_from(list(Change)))
def test_message_about_a_subject_of_whatever_name_can_be_sent(name, sentence, kind, change):
    about = alert(kind, name, Severity.ERROR, sentence)
    news = (News(alert=about, change=change, lasted=1.0), *firing(moved(name)))
    facts = check("kept")
    columns = {**facts["drift"].features, name: facts["drift"].features["temp"]}
    facts["drift"] = facts["drift"].model_copy(update={"features": columns})
    for message in (
        of_check(notice("n", news), facts),
        compose_alerts(None, notice("n", news), now=NOW),
        compose_digest({"flight_delay": notice("n", news)}, configs={}, message_id="m", now=NOW),
    ):
        mail = build(message, sender="keel@example.com", to="a@example.com", now=NOW, readable=True)
        text = text_of(mail)
        assert mail["Subject"].startswith("[Keel] ")
        assert not [c for c in text if not c.isprintable() and c not in "\r\n\u200c\u200d"]
        assert len(text) < 12_000


def test_alert_that_began_long_ago_lasts_in_words():
    ended = over(moved("temp"), days=400)
    assert "after 400 days" in composed("drift", (ended,)).happened
    assert isinstance(ended.alert, Alert)
    assert ended.alert.first_seen == NOW.replace(minute=0) - timedelta(days=400)


def test_outcome_that_nobody_foresaw_is_told_by_its_own_sentence():
    facts = check("drift")
    facts["outcome"] = Outcome(outcome="unheard_of", sentence="Something new was done.", version=3)
    message = of_check(notice("n", firing(harm())), facts)
    assert message.done == ("Something new was done.",)

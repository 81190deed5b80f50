"""What a message says of live alarms: about what, since when, how sure, and what the check made of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel.alerts.channels.email import build
from keel.alerts.findings.check import CheckFacts
from keel.alerts.messages.check import compose_check
from keel.config import Kind, Severity
from keel.monitoring.alarm_words import evidence_in_words, names_of
from keel.monitoring.alarms import Judgement, Verdict
from keel.monitoring.records import Action, DecisionRecord
from keel.window import Window
from tests.support.airflow.mails import text_of
from tests.support.alerts.samples import alert, check, firing, notice, of_check
from tests.support.live.alarms import HOUR, live_alarm
from tests.support.toy import START, toy_config

SINCE = START + 12 * HOUR
WIND = live_alarm("wind", since=SINCE)


def message(*judgements):
    window = Window(START, START + timedelta(days=1))
    decision = DecisionRecord(
        decision_id="d",
        model="toy",
        version=1,
        window=window,
        action=Action.RAISE_ALERT,
        sentence="Something has changed.",
    )
    alerts = [alert(Kind.LIVE_ALARM, each.alarm.subject, Severity.ERROR, each.alarm.sentence) for each in judgements]
    facts = CheckFacts(judgements=judgements)
    return compose_check(toy_config(), notice("n", firing(*alerts)), facts, decision=decision, outcome=None, now=SINCE)


@pytest.mark.parametrize(("before", "answer"), [(0, "Not known yet: "), (1, "No: ")])
def test_labels_from_before_the_change_do_not_say_that_it_does_no_harm(before, answer):
    facts = check("drift")
    labelled = facts["performance"].window
    alarm = live_alarm("carrier", since=labelled.end - before * HOUR)
    facts["judgements"] = (Judgement(alarm, Verdict.CONFIRMED),)
    about = notice("n", firing(alert(Kind.LIVE_ALARM, "carrier", Severity.ERROR, alarm.sentence)))
    [hurts, *_] = of_check(about, facts).hurts
    assert hurts.startswith(answer)
    assert "the Brier score is 0.098" in hurts
    assert ("from before the change" in hurts) is (before == 0)


def table_of(message):
    return next(table for table in message.evidence if table.title == "Live alarms")


def test_message_names_since_when_which_columns_and_how_sure():
    level = live_alarm("level", since=SINCE - HOUR, evidence=6.5)
    found = message(
        Judgement(WIND, Verdict.CONFIRMED),
        Judgement(level, Verdict.CONFIRMED),
        Judgement(live_alarm("x", since=SINCE), Verdict.INSUFFICIENT),
    )
    assert found.happened == "Live alarms are confirmed (level, wind and x)."
    assert table_of(found).rows == (
        ("wind", "1 January 2026 12:00", "Evidence 16 times the bound at which it alarms", "confirmed"),
        ("level", "1 January 2026 11:00", "Evidence 2.0 times the bound at which it alarms", "confirmed"),
        (
            "x",
            "1 January 2026 12:00",
            "Evidence 16 times the bound at which it alarms",
            "open: too few predictions since",
        ),
    )


def test_message_about_a_fault_of_the_monitoring_tells_it():
    fault = live_alarm("state", since=SINCE, kind="fault", evidence=None, bound=None, sentence="The state was corrupt.")
    found = message(Judgement(fault, Verdict.FAULT))
    assert found.happened == "The state was corrupt."
    assert table_of(found).rows[0][0] == "the monitoring itself"


@pytest.mark.parametrize("kind", ["shift", "fault"])
def test_message_about_a_column_of_whatever_name_can_be_sent_as_mail(kind):
    name = "wind\nspeed\r\x1b[31m" + "m" * 5_000
    verdict = Verdict.FAULT if kind == "fault" else Verdict.CONFIRMED
    found = message(Judgement(live_alarm(name, since=SINCE, kind=kind, evidence=None), verdict))
    mail = build(found, sender="keel@localhost", to="a@example.com", now=SINCE)
    assert "\x1b" not in text_of(mail) + mail["Subject"]
    assert len(text_of(mail)) < 4_000


def test_message_about_many_alarms_counts_the_others():
    found = message(*(Judgement(live_alarm(f"c{i}", since=SINCE), Verdict.CONFIRMED) for i in range(300)))
    assert found.happened == "Live alarms are confirmed (c0, c1, c10 and 297 more)."
    table = table_of(found)
    assert table.notes == (f"and {300 - len(table.rows)} more",)


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (6.2, "evidence 1.0 times"),
        (7.0, "evidence 6.3 times"),
        (8.9, "evidence 501 times"),
        (320.0, "evidence more than 1,000 times"),
    ],
)
def test_evidence_is_told_as_a_multiple_of_its_bound(evidence, words):
    assert evidence_in_words(live_alarm(since=SINCE, evidence=evidence)).startswith(words)


def test_names_of_alarms_are_told_once_each():
    assert names_of([WIND, live_alarm("wind", since=SINCE, alarm_id="another"), live_alarm("x", since=SINCE)]) == (
        "wind and x"
    )

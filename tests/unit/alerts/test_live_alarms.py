"""What a message says of live alarms: about what, since when, how sure, and what the check made of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel.alerts.mail import build
from keel.alerts.messages.decision import compose_alert
from keel.monitoring.alarm_words import evidence_in_words, names_of
from keel.monitoring.alarms import Judgement, Verdict
from keel.monitoring.records import Action, DecisionRecord
from keel.window import Window
from tests.support.live.alarms import HOUR, live_alarm
from tests.support.toy import START, toy_config

SINCE = START + 12 * HOUR
WIND = live_alarm("wind", since=SINCE)


def message(*judgements, action=Action.RAISE_ALERT):
    window = Window(START, START + timedelta(days=1))
    decision = DecisionRecord(
        decision_id="d", model="toy", version=1, window=window, action=action, sentence="Something has changed."
    )
    reports = dict.fromkeys(("quality", "drift", "performance"))
    return compose_alert(toy_config(), decision, None, **reports, repeated=False, run_url=None, judgements=judgements)


def test_message_names_since_when_which_columns_and_how_sure():
    level = live_alarm("level", since=SINCE - HOUR, evidence=6.5)
    found = message(
        Judgement(WIND, Verdict.CONFIRMED),
        Judgement(level, Verdict.CONFIRMED),
        Judgement(live_alarm("x", since=SINCE), Verdict.INSUFFICIENT),
    )
    assert found.subject.endswith("toy: needs attention (live alarm: wind and level, since 2026-01-01 11:00 UTC)")
    assert "  wind   2026-01-01 12:00 UTC  confirmed, evidence 16 times the bound at which it alarms\n" in found.text
    assert "  x      2026-01-01 12:00 UTC  open: too few predictions since, " in found.text
    part = next(part for part in found.parts if part.title == "Live alarms")
    assert part.rows[1] == (
        "level",
        "2026-01-01 11:00 UTC",
        "evidence 2.0 times the bound at which it alarms",
        "confirmed",
    )


def test_message_about_a_fault_of_the_monitoring_tells_it():
    fault = live_alarm("state", since=SINCE, kind="fault", evidence=None, bound=None, sentence="The state was corrupt.")
    found = message(Judgement(fault, Verdict.FAULT))
    assert "(live alarm: the monitoring itself, since" in found.subject
    assert "The state was corrupt." in found.text


def test_message_without_alarms_mentions_none():
    assert "alarm" not in message().text + message().subject


def test_alarm_that_was_not_confirmed_sends_no_message():
    assert message(Judgement(WIND, Verdict.NOT_CONFIRMED), action=Action.ALL_CLEAR) is None


@pytest.mark.parametrize("kind", ["shift", "fault"])
def test_message_about_a_column_of_whatever_name_can_be_sent_as_mail(kind):
    name = "wind\nspeed\r\x1b[31m" + "m" * 5_000
    verdict = Verdict.FAULT if kind == "fault" else Verdict.CONFIRMED
    found = message(Judgement(live_alarm(name, since=SINCE, kind=kind, evidence=None), verdict))
    mail = build(found, sender="keel@localhost", to=["a@example.com"], now=SINCE)
    assert "live alarm" in mail["Subject"]
    assert "\x1b" not in found.text + found.subject
    assert len(found.text) < 4_000
    if kind == "shift":
        assert "live alarm: wind speed" in mail["Subject"]


def test_message_about_many_alarms_counts_the_others():
    many = [Judgement(live_alarm(f"c{i}", since=SINCE), Verdict.CONFIRMED) for i in range(300)]
    found = message(*many)
    assert "c0, c1, c2 and 297 more" in found.subject
    assert "and 292 more" in found.text
    assert len(found.text) < 4_000


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

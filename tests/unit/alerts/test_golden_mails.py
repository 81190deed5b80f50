"""Every kind of message as a mail: what it says, in both of its forms, is what a person has read and found good."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest

from keel.alerts.channels.email import build
from keel.alerts.messages.tables import MAX_ROWS
from tests.support.airflow.mails import html_of, pictures_of, text_of
from tests.support.alerts.goldens import FOLDER, require_golden
from tests.support.alerts.samples import SAMPLES
from tests.support.reports.html_reader import read

LONGEST_FIRST_LINES = 600
"""Characters. What comes first is read on a phone, at night."""


def mail_of(name):
    message = SAMPLES[name]()
    made = build(message, sender="keel@example.com", to="ml-oncall@example.com", now=message.at, readable=True)
    return message_from_bytes(bytes(made), policy=policy.default)


@pytest.mark.parametrize("name", SAMPLES)
def test_mail_says_what_its_golden_file_says(name):
    require_golden(name, mail_of(name))


def test_every_golden_file_is_a_sample():
    assert {file.stem for file in FOLDER.glob("*.eml")} == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_html_says_what_the_text_says(name):
    mail = mail_of(name)
    words = re.findall(r"\w+", " ".join(read(html_of(mail)).texts))
    text = text_of(mail).replace("\r\n", "\n")
    addresses = {link for link in read(html_of(mail)).links if link.startswith("http")}
    assert addresses == set(re.findall(r"^(?:[\w ]+|  Runbook): (https://\S+)$", text, re.MULTILINE))
    left = set(re.findall(r"\w+", re.sub(r"https?://\S+", "", text))) - set(words)
    assert left <= {"Runbook", "Answer", "https"}, left


@pytest.mark.parametrize("name", SAMPLES)
def test_first_lines_say_what_happened_and_the_rest_is_at_most_ten_rows(name):
    message = SAMPLES[name]()
    happened, *_ = text_of(mail_of(name)).splitlines()
    assert happened == message.happened
    assert happened.endswith((".", "?"))
    first = (message.happened, *message.hurts[:1], *message.done[:1])
    assert sum(map(len, first)) <= LONGEST_FIRST_LINES
    assert sum(len(table.rows) for table in message.evidence) <= MAX_ROWS
    assert message.todo, "a reader has to know that there is nothing to do"


def test_message_about_a_window_is_written_when_that_is_over():
    windows = [
        (each.facts["Window"], each.at) for each in (made() for made in SAMPLES.values()) if "Window" in each.facts
    ]
    assert len(windows) >= 5
    assert [window for window, at in windows if not window.endswith(f" to {at.day} {at:%B} {at.year}")] == []


@pytest.mark.parametrize("name", SAMPLES)
def test_sentences_end_and_name_columns_as_they_are(name):
    message = SAMPLES[name]()
    for line in (message.happened, *message.hurts, *message.done, *message.todo):
        assert line.rstrip("`").endswith((".", "?", "…", "}'")) or line.endswith("`"), line
        assert ".." not in line.replace("…", ""), line
        assert not re.search(r"\b(Temp|Dewp|Visib|Wind_speed|Humid)\b", line), line


def test_message_with_a_chart_has_one_picture_and_others_have_none():
    assert {name for name in SAMPLES if pictures_of(mail_of(name))} == {
        "incident", "promoted", "drift", "live-alarm", "test",
    }  # fmt: skip

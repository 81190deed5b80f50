"""Templates of messages: a user's folder replaces single files, and a fault of one never costs the message."""

from __future__ import annotations

import json
from email import message_from_bytes, policy

import pytest

from keel.alerts.channels.email import build
from keel.alerts.channels.templates import FOLDER_VARIABLE, render
from tests.support.airflow.mails import html_of, text_of
from tests.support.alerts.samples import NOW, SAMPLES
from tests.support.paths import PROJECT

TEMPLATES = PROJECT / "include" / "keel" / "alerts" / "templates"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def mail():
    made = build(SAMPLES["failure"](), sender="keel@example.com", to="a@example.com", now=NOW)
    return message_from_bytes(bytes(made), policy=policy.default)


def test_template_of_a_user_replaces_one_file_and_no_other(folder):
    (folder / "email.txt.j2").write_text("Ours: {{ happened }} by {{ message.at | time }}\n")
    found = mail()
    assert text_of(found).strip() == "Ours: Task count_window of flight_delay.drift_check failed. by 1 July 2013 00:04"
    assert "What to do" in html_of(found)


def test_template_of_a_user_may_extend_the_built_in_one(folder):
    (folder / "email.html.j2").write_text('{% include "keel/email.html.j2" %}<p>{{ status.text }}</p>')
    page = html_of(mail())
    assert page.rstrip().endswith("<p>error</p>")
    assert "What to do" in page


def test_template_that_changes_is_read_again(folder):
    file = folder / "email.txt.j2"
    file.write_text("one")
    assert text_of(mail()).strip() == "one"
    file.write_text("two and more")
    assert text_of(mail()).strip() == "two and more"


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ hapened }}", "UndefinedError: 'hapened' is undefined"),
        ("{{ message.nothing }}", "UndefinedError"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ happened.__class__.__mro__ }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.environ }}", "SecurityError"),
        ("{{ links.append(1) }}", "SecurityError"),
        ("{% include 'email.txt.j2' %}", "RecursionError"),
        ("{% include '../../secret' %}", "TemplateNotFound"),
    ],
)
def test_template_that_fails_is_replaced_by_the_built_in_one_which_says_so(folder, caplog, template, fault):
    (folder / "email.txt.j2").write_text(template)
    found = mail()
    assert text_of(found).startswith("Task count_window of flight_delay.drift_check failed.")
    assert f"The template email.txt.j2 in {FOLDER_VARIABLE} failed: " in text_of(found)
    assert fault in text_of(found)
    assert str(folder) not in text_of(found)
    assert "failed" in caplog.text
    assert FOLDER_VARIABLE not in html_of(found)


def test_template_that_is_no_text_is_replaced(folder):
    (folder / "email.html.j2").write_bytes(b"\xff\xfe\x00")
    assert "The template email.html.j2 in KEEL_ALERT_TEMPLATES failed: UnicodeDecodeError" in html_of(mail())


def test_folder_that_is_empty_changes_nothing(tmp_path, monkeypatch):
    usual = text_of(mail())
    for value in ("", str(tmp_path)):
        monkeypatch.setenv(FOLDER_VARIABLE, value)
        assert text_of(mail()) == usual


def test_folder_that_does_not_exist_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "missing"))
    found = mail()
    said = f"The folder that {FOLDER_VARIABLE} names cannot be read: No such file or directory"
    assert said in text_of(found)
    assert said in html_of(found)
    assert str(tmp_path) not in text_of(found)
    assert str(tmp_path / "missing") in caplog.text


@pytest.mark.parametrize(
    ("name", "meant"),
    [("email.text.j2", "email.txt.j2"), ("email.txt", "email.txt.j2"), ("slck.json.j2", "slack.json.j2")],
)
def test_file_that_replaces_no_template_is_said_in_every_message(folder, caplog, name, meant):
    (folder / name).write_text("x")
    (folder / "email.html.j2").write_text('{% include "keel/email.html.j2" %}')
    found = mail()
    assert f"{name} in {FOLDER_VARIABLE} replaces no template; did you mean '{meant}'?" in text_of(found)
    assert f"{name} in {FOLDER_VARIABLE}" in html_of(found)
    assert name in caplog.text


def test_part_of_a_template_and_what_is_no_template_are_no_fault(folder, caplog):
    (folder / "contact.j2").write_text("Questions: #ml-help")
    (folder / "README.md").write_text("What these are for.")
    (folder / "email.txt.j2").write_text('{% include "keel/email.txt.j2" %}{% include "contact.j2" %}')
    assert text_of(mail()).rstrip().endswith("Questions: #ml-help")
    assert FOLDER_VARIABLE not in text_of(mail())
    assert not caplog.text


def test_what_a_template_makes_can_be_checked(folder):
    (folder / "email.txt.j2").write_text("{'no': json}")
    values = {"happened": "h", "sections": [], "tables": [], "links": [], "facts": [], "footer": []}
    values |= {"verbatim": "", "runbook": None, "sentence_of_picture": ""}
    text = render("email.txt.j2", check=json.loads, **values)
    assert text.startswith("h\n")
    assert "JSONDecodeError" in text


def test_html_is_escaped_and_text_is_not(folder):
    for name in ("own.html.j2", "own.txt.j2"):
        (folder / name).write_text("{{ text }}")
    assert render("own.html.j2", text="<b>&") == "&lt;b&gt;&amp;"
    assert render("own.txt.j2", text="<b>&") == "<b>&"


def test_built_in_templates_use_nothing_unsafe():
    for file in TEMPLATES.glob("*.html.j2"):
        text = file.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", "")
        assert "autoescape" not in text

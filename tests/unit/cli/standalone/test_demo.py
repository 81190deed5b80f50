"""What the demo may delete, and what it prints at its end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from keel.alerts.delivery import send_due
from keel.alerts.door import observe_in
from keel.alerts.outbox import EmlSender
from keel.cli.standalone.demo import DemoFailed, empty
from keel.cli.standalone.demo_messages import print_messages, read_messages
from keel.cli.standalone.demo_report import print_performance, print_story
from keel.config import Kind, Severity
from keel.monitoring.records import Action, DecisionRecord
from keel.window import Window
from keel.workspace import Workspace
from tests.support.alerts.observations import DAY, HOUR, MONDAY, alerting, finding, seen, told_plainly


@pytest.mark.parametrize("name", ["airflow", "keel.db", "thesis"])
def test_empty_refuses_a_folder_with_other_contents(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("years of work")
    with pytest.raises(DemoFailed, match="name another folder"):
        empty(tmp_path)
    assert (tmp_path / name / "mine").read_text() == "years of work"


def test_empty_creates_a_new_folder_and_empties_its_own(tmp_path):
    home = tmp_path / "deep" / "demo"
    empty(home)
    left = home / "keel.db"
    left.write_text("of the first demo")
    empty(home)
    assert not left.exists()
    empty(home)


def test_empty_marks_an_empty_folder(tmp_path):
    empty(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["emptied-by-keel-demo"]


def test_print_performance_prints_month_version_and_baseline():
    known = {"value": 0.19703, "lower": 0.13267, "upper": 0.26138, "holdout": {"value": 0.15686}}
    unknown = {"value": None, "lower": None, "upper": None, "holdout": None}
    parts = [
        {
            "start": f"2013-0{month}-01T00:00:00+00:00",
            "version": version,
            "predictions": n,
            "labelled": n - 1,
            "metric": "brier",
            "metrics": {"brier": found, "accuracy": {}},
        }
        for month, version, n, found in ((4, 1, 28_353, known), (5, 3, 2, unknown))
    ]
    written = io.StringIO()
    print_performance(Console(file=written, width=80), parts)
    head, *lines = [line.split() for line in written.getvalue().splitlines()]
    assert "".join(head) == "monthversionansweredlabelledbrier95%baseline"
    assert lines == [
        ["2013-04", "1", "28,353", "28,352", "0.1970", "0.1327", "to", "0.2614", "0.1569"],
        ["2013-05", "3", "2", "1", "–", "–", "to", "–", "–"],
    ]


def test_story_names_a_mail_once_and_says_what_is_not_sent_yet():
    window = Window(MONDAY, MONDAY + DAY)
    record = DecisionRecord(
        decision_id="d", model="toy", version=1, window=window, action=Action.RAISE_ALERT, sentence="It drifted."
    )
    written = {"file": "outbox/a.eml", "answer": "written", "state": "sent"}
    waiting = {"file": None, "answer": None, "state": "pending"}
    told = [
        {"subject": "first", "deliveries": [written, {**written, "state": "failed"}]},
        {"subject": "second", "deliveries": [waiting, waiting]},
    ]
    shown = io.StringIO()
    chapter = {**record.to_dict(), "drift": None, "outcome": None, "run_id": "r1"}
    print_story(Console(file=shown, width=80), alerting(), [chapter], {"r1": told})
    assert "Told: first\n        outbox/a.eml\n  Told: second\n        not sent yet\n" in shown.getvalue()
    assert "None" not in shown.getvalue()


def test_messages_of_the_year_are_read_with_their_mails_and_counted(store, tmp_path):
    ws = Workspace(tmp_path, store, None)
    config = alerting(digest="daily", fire_after=1, slack="#ml-alerts")
    late = finding(Kind.LABEL_QUALITY, "late", Severity.WARNING)
    harm = observe_in(store, config, seen(finding()), told_plainly, now=MONDAY)
    observe_in(store, config, seen(finding(), late, at=MONDAY + HOUR), told_plainly, now=MONDAY + HOUR)
    over = observe_in(store, config, seen(at=MONDAY + 9 * DAY), told_plainly, now=MONDAY + 20 * DAY)
    fallback = EmlSender(ws.outbox, "keel@example.com")
    send_due(store, {"email": fallback}, fallback, now=MONDAY + 21 * DAY)
    told = {"first": [harm.message_id], "second": [], "third": [over.digest_id]}
    assert None not in told["third"]

    messages = {run_id: read_messages(ws, ids) for run_id, ids in told.items()}

    [first] = messages["first"]
    [mail] = (each for each in first["deliveries"] if each["recipient"] == "ann@example.com")
    assert (first["topic"], first["kinds"], mail["channel"]) == ("alert", ["performance"], "email")
    file = Path(mail["file"])
    assert first["happened"].split()[0].encode() in file.read_bytes()
    written = io.StringIO()
    print_messages(Console(file=written, width=80), messages)
    assert [line.strip() for line in written.getvalue().splitlines() if line] == [
        "The year had 2 messages: 1 performance, 1 digest.",
        "1 of 3 runs told nobody anything.",
        "ann@example.com by email: 2 written to the outbox",
        "#ml-alerts by slack: 2 not sent (slack has no connection)",
    ]

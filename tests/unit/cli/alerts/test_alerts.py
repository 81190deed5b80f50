"""``keel alerts``: alerts that came through the door, as a terminal shows them, and what a person does to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from keel.cli import main as command_line
from keel.config import Kind, Severity, get_model
from keel.errors import BadSilence, ConfigError, StoreUnavailable, UnknownAlert, UnknownDelivery, UnknownSilence
from keel.ledger import entries as ledger
from keel.window import now_utc
from keel.workspace import Workspace
from tests.support.alerts.story import CHECK, DRIFT, HARM, Story, drift, tell
from tests.support.checks.stored import store_case

FILE = """
model: {model}
owner: tests
target: {{name: bought, label_delay: 24h}}
features: {{x: numeric, z: numeric, colour: categorical}}
check: {{schedule: "0 */6 * * *"}}
alerts: {{email: [ada@example.com], digest: weekly, {more}}}
"""


@pytest.fixture
def home(tmp_path: Path, new_home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home with two models, to which the command is pointed."""
    folder = new_home(tmp_path / "home")
    for model, more in (("toy", "slack: '#ml-alerts'"), ("other", "budget: 0.001")):
        (folder / "models" / model).mkdir(parents=True)
        (folder / "models" / model / "model.yaml").write_text(FILE.format(model=model, more=more))
    for name in ("KEEL_STORE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEL_HOME", str(folder))
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(folder / "models"))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def ws(home: Path) -> Iterator[Workspace]:
    with Workspace.open(home=home, environment={}) as opened:
        yield opened


@pytest.fixture
def story(ws: Workspace) -> Story:
    """Three days of alerts, up to now."""
    return tell(ws, get_model("toy"), until=now_utc())


def alerts(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["alerts", *arguments])


def document(*arguments: str) -> Any:
    done = alerts(*arguments, "--json")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return json.loads(done.stdout)


def listed(*arguments: str) -> list[str]:
    """The rows of the table, without its head and what is said below it."""
    return alerts("list", *arguments).output.partition("\n\n")[0].splitlines()[1:]


def the_alert(subject: str) -> dict[str, Any]:
    [found] = [each for each in document("list") if each["subject"] == subject]
    return dict(found)


def test_list_of_nothing_says_so(home: Path) -> None:
    done = alerts("list")
    assert (done.exit_code, done.output) == (0, "no alert is open\n")
    assert document("list") == []


def test_list_has_the_open_alerts_the_worst_first(story: Story) -> None:
    lines, channel = listed(), the_alert("slack")["alert_id"][:8]
    assert [line.split()[2 + line.startswith(channel)] for line in lines] == ["error", "error", "warning", "warning"]
    assert "data quality: visib" in lines[0]
    assert "visib is missing in all rows." in lines[0]
    [waiting] = [line for line in lines if "pressure" in line]
    assert "firing, in the next digest" in waiting
    assert listed("other") == []
    assert len(listed("toy")) == 3
    assert [each["state"] for each in document("list")] == ["firing"] * 4


def test_list_all_has_what_is_over_and_what_has_not_fired(story: Story) -> None:
    story.check(drift("z"), examined=DRIFT)
    assert not [line for line in listed() if "data drift: z" in line]
    lines = listed("--all")
    assert [line for line in lines if "data drift: z" in line and "pending" in line] == [lines[-1]]
    [harm] = [line for line in lines if " performance " in line]
    assert "over after 6 hours" in harm
    assert len(document("list", "--all")) == len(lines)


def test_list_says_what_explains_an_alert(ws: Workspace) -> None:
    story = Story(ws, get_model("toy"), now_utc() - 2 * CHECK)
    story.checks(2, HARM, drift("x"), examined=(Kind.PERFORMANCE, *DRIFT))
    [line] = [line for line in listed() if "data drift: x" in line]
    assert "firing, explained by performance" in line


def test_show_has_the_life_of_an_alert_and_to_whom_it_was_told(story: Story) -> None:
    [harm] = [each for each in document("list", "--all") if each["kind"] == "performance"]
    shown = alerts("show", harm["alert_id"][:6])
    assert shown.exit_code == 0
    lines = [" ".join(line.split()) for line in shown.output.splitlines()]
    assert lines[0] == f"performance. {HARM.sentence}"
    assert "state over after 6 hours" in lines
    assert "because version 3 was promoted" in lines
    assert "baseline: 0.157" in lines
    assert [line.split()[2] for line in lines if " keel" in line][:4] == ["firing", "told", "resolved", "told"]
    [mail] = [line for line in lines if " ada@example.com sent 1 written to the outbox" in line][:1]
    assert [line for line in lines if "#ml-alerts pending 3 slack has no connection" in line]
    found = document("show", harm["alert_id"])
    assert found["deliveries"][0]["delivery_id"] == mail.split()[0]
    assert [each["event"] for each in found["events"]] == ["firing", "told", "resolved", "told"]


@pytest.mark.parametrize("beginning", ["", " ", "zz"])
def test_show_of_an_unknown_id_names_the_open_ones(story: Story, beginning: str) -> None:
    error = alerts("show", beginning).exception
    assert isinstance(error, UnknownAlert)
    assert error.exit_code == 2
    assert the_alert("visib")["alert_id"] in str(error)


def test_show_prints_text_of_the_data_without_what_moves_a_cursor(ws: Workspace) -> None:
    story = Story(ws, get_model("toy"), now_utc())
    nasty = drift("a\x1b[2J\nb", severity=Severity.ERROR).model_copy(
        update={"sentence": "it\x1b]0;x\x07 drifted\r\nnow"}
    )
    story.check(nasty)
    shown = alerts("list").output + alerts("show", the_alert("a\x1b[2J\nb")["alert_id"]).output
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert shown.splitlines()[1].split()[-3:] == ["]0;x", "drifted", "now"]


def test_ack_is_shown_and_ends_nothing(story: Story) -> None:
    visib = the_alert("visib")["alert_id"]
    done = alerts("ack", visib[:6], "--reason", "on it")
    assert (done.exit_code, done.output) == (0, f"acknowledged {visib[:8]}: data quality: visib of toy\n")
    assert any("acknowledged by" in line for line in listed())
    assert document("show", visib)["events"][-1]["detail"] == "on it"
    assert isinstance(alerts("ack", "zz").exception, UnknownAlert)
    [over] = [each["alert_id"] for each in document("list", "--all") if each["kind"] == "performance"]
    assert isinstance(alerts("ack", over).exception, UnknownAlert)


def test_silence_is_a_ledger_row_that_keeps_people_from_being_told(story: Story) -> None:
    done = alerts("silence", "toy", "--kind", "data_drift", "--subject", "pres*", "--for", "7d", "--reason", "season")
    assert done.exit_code == 0, done.exception
    [made] = document("silences")
    assert f"keel alerts unsilence {made['silence_id'][:8]}" in done.output
    assert (made["kind"], made["subject"], made["reason"]) == ("data_drift", "pres*", "season")
    [row] = ledger.entries(story.ws.store, "toy")
    assert (row.action, row.actor) == ("silence", made["actor"])
    assert [line for line in listed() if f"silenced ({made['silence_id'][:8]})" in line and "pressure" in line]
    worse = drift("pressure", severity=Severity.ERROR)
    assert story.check(worse, examined=DRIFT).message_id is None
    story.now += CHECK
    assert alerts("unsilence", made["silence_id"][:6]).exit_code == 0
    assert alerts("silences").output == "nothing is silenced\n"
    assert story.check(worse, examined=DRIFT).message_id is not None


def test_planned_silence_of_all_models_stands_in_each_ones_list_and_history(story: Story) -> None:
    planned = "--from", "2030-03-02T08:00", "--for", "4h"
    done = alerts("silence", "--all-models", *planned, "--reason", "the database moves")
    assert "all models: silenced all alerts from 2 March 2030 08:00 until 2 March 2030 12:00 (UTC)" in done.output
    [made] = document("silences", "other")
    assert alerts("silences").output.splitlines()[1].split()[1:9] == (
        ["all", "models", "every", "kind", "every", "one", "2030-03-02", "08:00"]
    )
    assert not [line for line in listed() if "silenced" in line], "not yet"
    history = CliRunner().invoke(command_line.app, ["ledger", "show", "toy"]).output
    assert "All alerts of all models were silenced by" in history
    ended = alerts("unsilence", made["silence_id"]).output
    assert ended.startswith("all models: no longer silenced: all alerts from 2 March 2030")


@pytest.mark.parametrize(
    ("arguments", "error", "why"),
    [
        (["--reason", "x", "--for", "7d"], ConfigError, "--all-models"),
        (["toy", "--all-models", "--reason", "x", "--for", "7d"], ConfigError, "not both"),
        (["toy", "--reason", "x", "--from", "soon", "--for", "7d"], ConfigError, "ISO 8601"),
        (["toy", "--reason", "x", "--from", "2040-01-02", "--until", "2040-01-01"], BadSilence, "before it begins"),
        (["toy", "--reason", "x"], ConfigError, "--for"),
        (["toy", "--reason", "x", "--for", "7d", "--until", "2030-01-01"], ConfigError, "not with both"),
        (["toy", "--reason", "x", "--for", "7"], ConfigError, "30m"),
        (["toy", "--reason", "x", "--for", "99999999999w"], ConfigError, "--for"),
        (["toy", "--reason", "x", "--until", "soon"], ConfigError, "ISO 8601"),
        (["toy", "--reason", "x", "--until", "2020-01-01"], BadSilence, "over already"),
        (["toy", "--reason", " ", "--for", "7d"], BadSilence, "reason"),
        (["toy", "--reason", "x", "--for", "7d", "--kind", "data_drfit"], ConfigError, "did you mean 'data_drift'"),
        (["tyo", "--reason", "x", "--for", "7d"], Exception, "did you mean 'toy'"),
    ],
)
def test_silence_refuses_what_it_cannot_do_in_a_sentence(
    home: Path, arguments: list[str], error: type[Exception], why: str
) -> None:
    found = alerts("silence", *arguments).exception
    assert isinstance(found, error)
    assert why in str(found)
    assert alerts("silences").output == "nothing is silenced\n"


def test_unsilence_of_an_unknown_id_is_refused(home: Path) -> None:
    assert isinstance(alerts("unsilence", "zz").exception, UnknownSilence)


def test_accept_without_a_version_says_how_to_get_one(home: Path) -> None:
    assert "airflow dags trigger toy.retrain" in str(alerts("accept", "toy", "x", "--reason", "new").exception)
    error = alerts("accept", "toy", "x", "--reason", "new", "--start", "2026-01-01").exception
    assert isinstance(error, ConfigError)
    assert "give both" in str(error)


def test_budget_shows_the_promise_beside_what_was_sent(story: Story) -> None:
    done = alerts("budget")
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    [ada] = [line for line in lines if line.startswith("ada@example.com (email) 2 240 0.001 at most")]
    assert "1 performance" in ada
    assert [line for line in lines if line.startswith("#ml-alerts (slack) 1 120 2 at most")]
    assert done.exit_code == 1, "the live monitors of other alone cost more than a thousandth of a message"
    assert [line for line in lines if "ada@example.com (email)" in line and "lower live.alpha" in line]
    found = document("budget", "--days", "1")
    person = next(each for each in found["people"] if each["channel"] == "slack")
    assert (person["is_kept"], person["models"][0]["model"]) == (True, "toy")
    assert person["expected"] <= person["budget"] * (1 + 1e-6)
    assert found["sent_days"] == 1


def test_heartbeat_of_what_works_is_alive(ws: Workspace) -> None:
    done = alerts("heartbeat")
    assert done.exit_code == 0
    assert done.output.startswith("alive")
    assert document("heartbeat")["checks"] == {"toy": None, "other": None}


def test_heartbeat_names_what_does_not_work(story: Story) -> None:
    worst = drift("z", severity=Severity.ERROR)
    story.now = now_utc() - timedelta(hours=1)
    story.check(worst, examined=DRIFT)
    done = alerts("heartbeat")
    assert done.exit_code == 1
    assert "2 messages have been due since" in done.output
    assert "keel alerts send" in done.output
    assert "Messages by slack do not arrive: slack has no connection" in done.output
    assert "keel alerts test --channel slack" in done.output
    found = document("heartbeat")
    assert (found["is_alive"], found["waiting"]) == (False, 6), "four of them wait for slack"


def test_heartbeat_of_an_invalid_model_and_of_a_store_that_is_away(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "models" / "other" / "model.yaml").write_text("model: other\nfeatures: {}\n")
    done = alerts("heartbeat")
    assert done.exit_code == 1
    assert "model.yaml" in done.output
    assert alerts("heartbeat", "toy").exit_code == 0
    monkeypatch.setenv("KEEL_STORE_URL", "postgresql://nobody@127.0.0.1:1/keel")
    error = alerts("heartbeat").exception
    assert isinstance(error, StoreUnavailable)
    assert error.exit_code == 3


def test_send_of_an_unknown_delivery_is_refused(home: Path) -> None:
    assert isinstance(alerts("send", "--retry", "zz").exception, UnknownDelivery)


def test_unknown_channel_is_refused_with_the_nearest(home: Path) -> None:
    error = alerts("test", "--channel", "slak").exception
    assert isinstance(error, ConfigError)
    assert "did you mean 'slack'" in str(error)


def test_status_and_report_mention_open_alerts_in_one_line(story: Story) -> None:
    store_case(story.ws, "all_clear", model="toy")
    shown = CliRunner().invoke(command_line.app, ["status", "toy"]).output
    [line] = [line.strip() for line in shown.splitlines() if "keel alerts list toy" in line]
    assert line.startswith("3 alerts open since ")
    assert "(data quality of visib, " in line
    report = CliRunner().invoke(command_line.app, ["report", "toy"])
    assert line in " ".join(report.output.split())
    assert report.exit_code == 0, "alerts are handled in their own place"
    alerts("ack", the_alert("visib")["alert_id"])
    assert "1 of them acknowledged" in CliRunner().invoke(command_line.app, ["status", "toy"]).output
    assert "alerts open" not in CliRunner().invoke(command_line.app, ["status", "other"]).output

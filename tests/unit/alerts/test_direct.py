"""Telling people without a store, through senders that are real, or that refuse."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from functools import partial

import pytest

from keel.alerts import delivery
from keel.alerts.direct import PAUSE, TOLD, tell_directly
from keel.alerts.findings.failure import observe_failure, observe_success
from keel.alerts.messages.pipeline import compose_failure
from keel.alerts.outbox import EmlSender
from keel.alerts.records import Answer
from keel.config import load_model
from keel.errors import NoConnection
from tests.support.paths import PROJECT

NOW = datetime(2024, 3, 4, 5, 6, tzinfo=UTC)
MODEL = PROJECT / "tests" / "dags" / "models" / "tide" / "model.yaml"


class Refusing:
    """Takes nothing, and says why; and remembers what it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.seen = []

    def send(self, message, delivery, earlier):
        self.seen.append((delivery.channel, delivery.recipient))
        if self.error:
            raise self.error
        return Answer(accepted=False, detail="550 no such user")


class Taking(Refusing):
    """Takes everything."""

    def send(self, message, delivery, earlier):
        super().send(message, delivery, earlier)
        return Answer(accepted=True, detail="250 OK")


@pytest.fixture
def config():
    return load_model(MODEL, {}).with_overrides({"alerts.slack": "#harbour"})


def failed(dag_id="tide.drift_check", *, now=NOW):
    return observe_failure(
        dag_id=dag_id, run_id="r", task_id="decide", error="ValueError", model="tide", now=now, attempt=str(now)
    )


def tell(config, home, observation=None, *, now=NOW, **senders):
    compose = partial(
        compose_failure, config, dag_id="tide.drift_check", run_id="r", task_id="decide", error="ValueError",
        log_url=None, now=now,
    )  # fmt: skip
    fallback = EmlSender(home / "outbox", "keel@localhost")
    return tell_directly([config], observation or failed(now=now), compose, senders, fallback, home=home, now=now)


def files(home):
    return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in (home / "outbox").glob("*.eml")]


def test_failure_goes_to_every_recipient_by_its_channel(config, tmp_path):
    mail, slack = Taking(), Taking()

    told = tell(config, tmp_path, email=mail, slack=slack)

    assert [(each.channel, each.state) for each in told] == [("email", "sent"), ("slack", "sent")]
    assert (mail.seen, slack.seen) == ([("email", "harbour@example.com")], [("slack", "#harbour")])
    assert files(tmp_path) == []


def test_what_a_channel_refuses_or_cannot_take_becomes_a_file(config, tmp_path):
    told = tell(config, tmp_path, email=Refusing(), slack=Refusing(NoConnection("no slack")))

    assert [each.state for each in told] == ["failed", "failed"]
    assert "550 no such user" in told[0].answer
    assert {mail["To"] for mail in files(tmp_path)} == {"harbour@example.com", "undisclosed-recipients:;"}
    assert all("no message follows when it is over" in " ".join(mail.as_string().split()) for mail in files(tmp_path))


def test_error_of_a_sender_stops_no_other_and_shows_no_secret(config, tmp_path):
    mail = Refusing(RuntimeError("login smtp://keel:s3cret@mx failed"))

    told = tell(config, tmp_path, email=mail, slack=Taking())

    assert [each.state for each in told] == ["failed", "sent"]
    assert "s3cret" not in told[0].answer


def test_channel_that_hangs_is_asked_once_and_holds_up_no_other(config, tmp_path, monkeypatch):
    monkeypatch.setattr(delivery, "DEADLINE", 0.4)
    config = config.with_overrides({"alerts.email": ["ada@example.com", "bob@example.com", "eve@example.com"]})
    told_slack = threading.Event()

    class Hanging(Taking):
        def send(self, message, delivery, earlier):
            heard.append(told_slack.wait(0.3))
            time.sleep(1)
            return super().send(message, delivery, earlier)

    class Slack(Taking):
        def send(self, message, delivery, earlier):
            told_slack.set()
            return super().send(message, delivery, earlier)

    heard = []
    told = tell(config, tmp_path, email=Hanging(), slack=Slack())

    assert [(each.channel, each.state) for each in told] == [*[("email", "failed")] * 3, ("slack", "sent")]
    assert heard == [True]
    assert len(files(tmp_path)) == 3


def test_same_trouble_is_told_once_an_hour_and_another_at_once(config, tmp_path):
    mail = Taking()
    assert tell(config, tmp_path, email=mail, slack=mail)
    assert tell(config, tmp_path, email=mail, slack=mail, now=NOW + PAUSE - timedelta(seconds=1)) == ()
    assert tell(config, tmp_path, failed("tide.retrain"), email=mail, slack=mail)
    assert tell(config, tmp_path, email=mail, slack=mail, now=NOW + PAUSE)

    assert len(mail.seen) == 6


def test_what_could_not_be_told_at_all_is_told_by_the_next_failure(config, tmp_path):
    (tmp_path / "outbox").write_text("no folder, so that no file can be written")
    assert {each.state for each in tell(config, tmp_path, email=Refusing(), slack=Refusing())} == {"failed"}

    mail = Taking()
    assert tell(config, tmp_path, email=mail, slack=mail, now=NOW + timedelta(minutes=1))
    assert len(mail.seen) == 2


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": "yesterday"}', '{"a": null}'])
def test_damaged_memory_of_what_was_told_stops_nothing(config, tmp_path, content):
    (tmp_path / TOLD).write_text(content)

    assert tell(config, tmp_path, email=Taking(), slack=Taking())
    assert set(json.loads((tmp_path / TOLD).read_text()).values()) == {NOW.timestamp()}


def test_success_is_told_by_nobody_without_a_store(config, tmp_path):
    over = observe_success(dag_id="tide.drift_check", run_id="r", model="tide", now=NOW)

    assert tell(config, tmp_path, over, email=Taking(), slack=Taking()) == ()

"""PagerDuty through its provider, against a real server in its place."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keel.alerts.records import Answer, Change, Message
from keel.config import Kind, Severity
from keel.errors import NoConnection
from tests.support.alerts.channel_messages import HOSTILE, delivery, line, message, of_kind
from tests.support.alerts.formats import validate
from tests.support.alerts.mail_servers import free_port
from tests.support.alerts.vendors import Receiver, receiver

pytestmark = pytest.mark.integration
Connect = Callable[..., None]
KEY = "canary0123456789canary0123456789"


def send(about: Message, tells: tuple[str, ...] | None = None) -> Answer:
    from keel_airflow.channels import senders

    to = delivery(about, "pagerduty", "pager_rides").model_copy(update={"tells": tells})
    return senders()["pagerduty"].send(about, to, ())


@pytest.fixture
def pager(tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiver(tmp_path) as started:  # the library insists on TLS
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        connect("pager_rides", conn_type="pagerduty_events", password=KEY, host=started.url)
        yield started


def test_event_of_every_kind_is_what_pagerduty_takes(pager: Receiver) -> None:
    for kind in Kind:
        for change in Change:
            assert send(of_kind(kind, change)).accepted
    for got in pager.received:
        validate(got.json, "pagerduty_event" if got.path == "/v2/enqueue" else "pagerduty_change")
        assert got.json["routing_key"] == KEY


def test_alert_is_one_incident_from_its_beginning_to_its_end(pager: Receiver) -> None:
    for change in (Change.FIRING, Change.ESCALATED, Change.ACKNOWLEDGED, Change.RESOLVED):
        assert send(message(line(change=change))).accepted
    bodies = [got.json for got in pager.received]
    assert [body["event_action"] for body in bodies] == ["trigger", "trigger", "acknowledge", "resolve"]
    assert {body["dedup_key"] for body in bodies} == {line().fingerprint}
    assert bodies[0]["payload"]["severity"] == "warning"


def test_message_about_several_alerts_is_an_event_each(pager: Receiver) -> None:
    answer = send(message(line(subject="temp"), line(subject="wind", change=Change.RESOLVED)))
    assert answer.accepted
    assert answer.detail.startswith("2 events")
    assert [got.json["event_action"] for got in pager.received] == ["trigger", "resolve"]


def test_message_of_which_one_alert_is_for_the_service_is_one_event(pager: Receiver) -> None:
    harm = line(Kind.PERFORMANCE, severity=Severity.ERROR)
    assert send(message(line(), harm), (harm.fingerprint,)).accepted
    assert [got.json["dedup_key"] for got in pager.received] == [harm.fingerprint]


def test_news_that_asks_for_nothing_opens_no_incident(pager: Receiver) -> None:
    assert send(of_kind(Kind.PROMOTION)).accepted
    rollback = line(Kind.ROLLBACK, change=Change.EVENT, severity=Severity.ERROR)
    assert send(message(rollback, topic="event", severity=Severity.ERROR)).accepted
    assert [got.path for got in pager.received] == ["/v2/change/enqueue", "/v2/enqueue"]


def test_test_message_leaves_no_incident_open(pager: Receiver) -> None:
    assert send(message(topic="test", severity=Severity.INFO)).accepted
    assert [got.json["event_action"] for got in pager.received] == ["trigger", "resolve"]
    assert len({got.json["dedup_key"] for got in pager.received}) == 1


def test_event_of_hostile_names_is_text_within_the_limits(pager: Receiver) -> None:
    assert send(message(line(subject=HOSTILE, sentence=HOSTILE * 50), text=HOSTILE)).accepted
    body = pager.received[0].json
    validate(body, "pagerduty_event")
    assert "\n" not in body["payload"]["summary"]
    assert "\x00" not in pager.received[0].body.decode()


@pytest.mark.parametrize(
    ("status", "body", "is_final"),
    [
        (400, '{"status": "invalid event", "message": "Event object is invalid"}', True),
        (401, "no", True),
        (500, "", False),
        (503, "", False),
    ],
)
def test_refused_event_is_told_at_once_and_final_where_it_is(
    status: int, body: str, is_final: bool, pager: Receiver
) -> None:
    pager.then(status, body)
    began = time.monotonic()
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, is_final)
    assert f"HTTP {status}" in answer.detail
    assert time.monotonic() - began < 5, "the library would wait for minutes"
    assert len(pager.received) == 1


def test_pagerduty_called_too_often_waits_as_long_as_it_asks(pager: Receiver) -> None:
    pager.then(429, '{"error": "slow down"}', Retry_After="61")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final, answer.retry_after) == (False, False, 61.0)
    assert len(pager.received) == 1


def test_events_after_a_refused_one_are_sent_by_the_next_try(pager: Receiver) -> None:
    pager.then(202, '{"status": "success"}')
    pager.then(500)
    both = message(line(subject="temp"), line(subject="wind"))
    assert not send(both).accepted
    assert send(both).accepted
    assert len({got.json["dedup_key"] for got in pager.received}) == 2


def test_pagerduty_that_is_away_or_slow_is_tried_again(
    connect: Connect, pager: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("keel_airflow.channels.pagerduty.TIMEOUT", 1.0)
    pager.then_wait(3.0)
    slow = send(message(line()))
    connect("pager_rides", conn_type="pagerduty_events", password=KEY, host=f"https://127.0.0.1:{free_port()}")
    away = send(message(line()))
    assert "connection refused" in away.detail
    assert "no answer within" in slow.detail
    assert slow.is_silent
    for answer in (away, slow):
        assert (answer.accepted, answer.is_final) == (False, False)
    assert "canary" not in away.detail + slow.detail + caplog.text


def test_pagerduty_without_its_connection_or_key(connect: Connect) -> None:
    with pytest.raises(NoConnection, match="pager_rides"):
        send(message(line()))
    connect("pager_rides", conn_type="pagerduty_events")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, True)
    assert "has no key" in answer.detail
    connect("pager_rides", conn_type="pagerduty_events", password=KEY, host="http://events.pagerduty.com")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, True)
    assert "https" in answer.detail

"""Teams by a workflow's webhook, through the HTTP provider, against a real server in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from keel.alerts.records import Answer, Change, Message
from keel.config import Kind
from keel.errors import NoConnection
from tests.support.alerts.channel_messages import HOSTILE, delivery, line, message, of_kind
from tests.support.alerts.formats import texts, validate
from tests.support.alerts.mail_servers import free_port

if TYPE_CHECKING:
    from tests.support.alerts.vendors import Receiver

pytestmark = pytest.mark.integration
Connect = Callable[..., None]
PATH = "workflows/canaryworkflowid/triggers/manual/paths/invoke"
QUERY = "api-version=2016-06-01&sig=canarysignature"


def send(about: Message) -> Answer:
    from keel_airflow.channels import senders

    return senders()["teams"].send(about, delivery(about, "teams", "teams_rides"), ())


@pytest.fixture
def teams(vendor: Receiver, connect: Connect) -> Receiver:
    connect("teams_rides", conn_type="http", password=f"{vendor.url}/{PATH}?{QUERY}")
    return vendor


def test_card_of_every_kind_is_what_teams_takes(teams: Receiver) -> None:
    for kind in Kind:
        for change in (Change.FIRING, Change.RESOLVED) if kind.lasts else (Change.EVENT,):
            assert send(of_kind(kind, change)).accepted
    for got in teams.received:
        assert (got.path, got.query) == (f"/{PATH}", QUERY)
        validate(got.json, "teams_message")
        assert any("It is so" in text for text in texts(got.json))


def test_webhook_may_be_written_as_the_host_of_the_connection(vendor: Receiver, connect: Connect) -> None:
    connect("teams_rides", conn_type="http", host=f"{vendor.url}/{PATH}?{QUERY}")
    assert send(message(line())).accepted
    assert vendor.received[0].query == QUERY


def test_card_of_hostile_names_keeps_them_as_text(teams: Receiver) -> None:
    assert send(message(line(subject=HOSTILE), text=HOSTILE)).accepted
    body = teams.received[0].json
    validate(body, "teams_message")
    assert '"TextBlock"' not in teams.received[0].body.decode(), "Teams reads Markdown in a TextBlock"
    assert not any("\x00" in text or "\u202e" in text for text in texts(body))


def test_long_message_stays_within_teams_limit(teams: Receiver) -> None:
    assert send(message(line(), text="wörd " * 2_000, rows=500)).accepted
    validate(teams.received[0].json, "teams_message")
    assert len(teams.received[0].body) < 28 * 1024
    shown = texts(teams.received[0].json)
    assert any(text.startswith("⚠️ bikes: wörd") for text in shown)


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(400, True), (401, True), (404, True), (413, True), (302, True), (500, False), (502, False)],
)
def test_refused_card_is_told_and_final_where_it_is(status: int, is_final: bool, teams: Receiver) -> None:
    teams.then(status, f"because of {PATH}?{QUERY}", Location=f"{teams.url}/elsewhere")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, is_final)
    assert f"HTTP {status}" in answer.detail
    assert "canary" not in answer.detail
    assert len(teams.received) == 1, "one try is one request, and a redirect is not followed"


def test_teams_called_too_often_waits_as_long_as_it_asks(teams: Receiver) -> None:
    teams.then(429, "", Retry_After="40")
    assert send(message(line())).retry_after == 40.0
    teams.then(429, "", Retry_After="Fri, 31 Dec 1999 23:59:59 GMT")
    assert send(message(line())).retry_after == 0.0
    for never in ("Wed, 01 Jan 99999999999 00:00:00 GMT", "Thu, 30 Nov 2026 14:00:00 +9999", "soon"):
        teams.then(429, "", Retry_After=never)
        answer = send(message(line()))
        assert (answer.accepted, answer.is_final, answer.retry_after) == (False, False, None)


def test_teams_that_is_away_or_slow_is_tried_again_without_a_word_of_the_address(
    connect: Connect, vendor: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    connect("teams_rides", conn_type="http", password=f"http://127.0.0.1:{free_port()}/{PATH}?{QUERY}")
    away = send(message(line()))
    connect("teams_rides", conn_type="http", password=f"{vendor.url}/{PATH}?{QUERY}", extra={"timeout": 1})
    vendor.then_wait(3.0)
    slow = send(message(line()))
    assert "connection refused" in away.detail
    assert "no answer within" in slow.detail
    assert slow.is_silent
    for answer in (away, slow):
        assert (answer.accepted, answer.is_final) == (False, False)
    logged = "\n".join(r.getMessage() for r in caplog.records if r.name != "urllib3.connectionpool" or r.levelno > 10)
    assert "canary" not in away.detail + slow.detail + logged


def test_teams_without_tls_where_the_address_says_https(connect: Connect, vendor: Receiver) -> None:
    connect("teams_rides", conn_type="http", password=f"https://127.0.0.1:{vendor.port}/{PATH}?{QUERY}")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, True)
    assert "TLS mismatch" in answer.detail
    assert "canary" not in answer.detail


def test_teams_without_its_connection_or_address(connect: Connect) -> None:
    with pytest.raises(NoConnection, match="teams_rides"):
        send(message(line()))
    connect("teams_rides", conn_type="http")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, True)
    assert "has no address" in answer.detail


def test_connection_in_the_form_of_an_address_is_refused_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TEAMS_RIDES", f"https://127.0.0.1/{PATH}?{QUERY}")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, True)
    assert "the webhook's whole address as its password" in answer.detail
    assert "canary" not in answer.detail


def test_endless_answer_is_read_to_a_part(teams: Receiver) -> None:
    import tracemalloc

    size = 30_000_000
    teams.then(503, "a." * (size // 2))
    tracemalloc.start()
    answer = send(message(line()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.accepted, answer.is_final) == (False, False)
    assert len(answer.detail) <= 300
    assert peak < 1.5 * size, "the server has it once"

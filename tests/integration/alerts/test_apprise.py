"""Services of Apprise, through the connection of its provider, against real servers in their place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from keel.alerts.records import Answer, Change, Message
from keel.config import Kind
from keel.errors import NoConnection
from tests.support.alerts.channel_messages import HOSTILE, delivery, line, message, of_kind
from tests.support.alerts.mail_servers import free_port

if TYPE_CHECKING:
    from tests.support.alerts.vendors import Receiver

pytestmark = pytest.mark.integration
Connect = Callable[..., None]
SECRET = "canarysecrettoken"


def send(about: Message) -> Answer:
    from keel_airflow.channels import senders

    return senders()["apprise"].send(about, delivery(about, "apprise", "apprise_rides"), ())


@pytest.fixture
def service(vendor: Receiver, connect: Connect) -> Receiver:
    path = f"json://keel:{SECRET}@127.0.0.1:{vendor.port}/hooks/{SECRET}"
    connect("apprise_rides", conn_type="apprise", extra={"config": {"path": path, "tag": "alerts"}})
    return vendor


def test_notification_of_every_kind_arrives(service: Receiver) -> None:
    for kind in Kind:
        for change in (Change.FIRING, Change.RESOLVED) if kind.lasts else (Change.EVENT,):
            answer = send(of_kind(kind, change))
            assert answer.accepted
            assert answer.detail == "sent by JSON"
    for got in service.received:
        assert {"title", "message", "type"} <= set(got.json)
        assert got.json["title"].endswith("bikes: It is so")
        assert got.json["message"].startswith("It is so.")
    assert {got.json["type"] for got in service.received} == {"warning", "success"}


def test_notification_of_hostile_names_is_text(service: Receiver) -> None:
    assert send(message(line(), text=HOSTILE)).accepted
    body = service.received[0].json
    assert "\n" not in body["title"]
    assert "\x00" not in body["title"] + body["message"]


def test_notification_to_a_service_of_html_is_escaped(vendor: Receiver, connect: Connect) -> None:
    path = f"json://127.0.0.1:{vendor.port}/?format=html"
    connect("apprise_rides", conn_type="apprise", extra={"config": {"path": path}})
    assert send(message(line(), text=HOSTILE)).accepted
    assert "<b>" not in vendor.received[0].json["message"]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_refused_notification_is_told_and_tried_again(
    status: int, service: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.then(status, f"no {SECRET}")
    answer = send(message(line()))
    assert not answer.accepted
    assert not answer.is_final
    assert str(status) in answer.detail
    assert SECRET not in answer.detail


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int, service: Receiver) -> None:
    service.then(status, "", Location=f"{service.url}/elsewhere")
    assert not send(message(line())).accepted
    assert len(service.received) == 1


def test_service_that_is_away_is_tried_again(connect: Connect) -> None:
    path = f"json://keel:{SECRET}@127.0.0.1:{free_port()}/hooks/{SECRET}"
    connect("apprise_rides", conn_type="apprise", extra={"config": [{"path": path}]})
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, False)
    assert SECRET not in answer.detail


@pytest.mark.parametrize(
    "extra", [{}, {"config": {"path": "nosuchservice://x"}}, {"config": "not json"}, {"config": {"tag": "x"}}]
)
def test_connection_that_names_no_service_is_final(extra: dict[str, object], connect: Connect) -> None:
    connect("apprise_rides", conn_type="apprise", extra=extra)
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, True)
    assert "apprise_rides" in answer.detail


def test_apprise_without_its_connection() -> None:
    with pytest.raises(NoConnection, match="apprise_rides"):
        send(message(line()))

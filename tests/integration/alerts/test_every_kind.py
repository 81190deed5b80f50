"""Each kind of message on each channel: composed as Keel composes it, sent by the provider, read as the vendor does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keel.config import Kind
from tests.support.alerts.channel_messages import delivery
from tests.support.alerts.formats import texts, validate
from tests.support.alerts.mail_servers import mail_server
from tests.support.alerts.samples import SAMPLES
from tests.support.alerts.vendors import Receiver, receiver

if TYPE_CHECKING:
    from keel.alerts.records import Message

pytestmark = pytest.mark.integration
Connect = Callable[..., None]
KEY = "canary0123456789canary0123456789"


def send(about: Message, channel: str, recipient: str) -> None:
    from keel_airflow.channels import senders

    answer = senders()[channel].send(about, delivery(about, channel, recipient), ())
    assert answer.accepted, answer


def test_samples_have_every_kind() -> None:
    shown = {line.kind for make in SAMPLES.values() for line in make().alerts}
    assert set(Kind) - shown <= {Kind.PREDICTION_DRIFT, Kind.LABEL_QUALITY}, "beside those that look like their like"


@pytest.mark.parametrize("name", SAMPLES)
def test_each_message_arrives_by_each_channel(
    name: str, tmp_path: Path, vendor: Receiver, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = SAMPLES[name]()
    connect("slack_default", conn_type="slack", password="xoxb-1", extra={"base_url": f"{vendor.url}/api/"})
    connect("teams_x", conn_type="http", password=f"{vendor.url}/workflows/1?sig=2")
    connect("apprise_x", conn_type="apprise", extra={"config": {"path": f"json://127.0.0.1:{vendor.port}/notify"}})
    with mail_server(tmp_path) as mails, receiver(tmp_path) as pager:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        monkeypatch.setenv("KEEL_SMTP_URL", f"smtp://127.0.0.1:{mails.port}?tls=none")
        connect("pager_x", conn_type="pagerduty_events", password=KEY, host=pager.url)
        send(about, "email", "ann@example.com")
        send(about, "slack", "#rides")
        send(about, "teams", "teams_x")
        send(about, "apprise", "apprise_x")
        send(about, "pagerduty", "pager_x")
        [mail] = mails.inbox.mails
    post, card, note = (got.json for got in vendor.received)
    assert not mail.defects
    assert about.happened in " ".join(mail.get_body(("plain",)).get_content().split())
    assert [part.get_content_type() for part in mail.walk()].count("image/png") == (1 if about.picture else 0)
    validate(post, "slack_post")
    validate(card, "teams_message")
    for shown in (post["blocks"], card):
        assert any(about.happened[:100] in text for text in texts(shown))
    assert about.happened in note["message"]
    assert len(pager.received) >= max(1, len(about.alerts))
    for got in pager.received:
        validate(got.json, "pagerduty_event" if got.path == "/v2/enqueue" else "pagerduty_change")

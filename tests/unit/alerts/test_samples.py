"""A sample to each recipient: tried once, past the outbox, and answered in the receiver's own words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keel.alerts.outbox import EmlSender
from keel.alerts.records import Answer
from keel.alerts.samples import send_samples
from keel.errors import ConfigError, NoConnection
from tests.support.alerts.story import Receiver
from tests.support.toy import toy_config

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ACCEPTED = Answer(accepted=True, detail="250 queued")
PAGED = {"channel": "pagerduty", "to": "pd"}
TOY = toy_config(alerts={"email": ["ada@example.com", "bob@example.com"], "routes": [PAGED]})


def test_each_recipient_of_all_models_gets_one(tmp_path) -> None:
    other = toy_config(model="other", alerts={"email": ["bob@example.com", "cy@example.com"]})
    mail, pager = Receiver(ACCEPTED), Receiver(Answer(accepted=False, detail="400 bad key", is_final=True))
    found = send_samples([TOY, other], {"email": mail, "pagerduty": pager}, Receiver(ACCEPTED), now=NOW)
    assert [(each.channel, each.recipient, each.answer.accepted) for each in found] == [
        ("email", "ada@example.com", True),
        ("email", "bob@example.com", True),
        ("pagerduty", "pd", False),
        ("email", "cy@example.com", True),
    ]
    assert found[2].answer.detail == "400 bad key"
    assert {each.topic for each in mail.messages + pager.messages} == {"test"}


def test_channel_and_recipient_narrow_it(tmp_path) -> None:
    mail = Receiver(ACCEPTED)
    [only] = send_samples([TOY], {"pagerduty": mail}, mail, channel="pagerduty", now=NOW)
    assert only.recipient == "pd"
    [other] = send_samples([TOY], {"email": mail}, mail, channel="email", to="eve@example.com", now=NOW)
    assert other.recipient == "eve@example.com"


def test_nobody_to_tell_is_refused_with_the_way_out() -> None:
    for arguments in ({"channel": "teams"}, {"to": "ada@example.com"}):
        with pytest.raises(ConfigError, match="--channel email"):
            send_samples([TOY], {}, Receiver(ACCEPTED), now=NOW, **arguments)
    with pytest.raises(ConfigError, match=r"alerts\.routes name no one"):
        send_samples([toy_config(alerts={})], {}, Receiver(ACCEPTED), now=NOW)


def test_without_a_connection_a_mail_is_a_file_and_all_else_is_not_sent(tmp_path) -> None:
    away = Receiver(NoConnection("neither smtp_default nor KEEL_SMTP_URL is set"))
    fallback = EmlSender(tmp_path / "outbox", "keel@localhost")
    found = send_samples([TOY], {"email": away}, fallback, now=NOW)
    assert [each.answer.accepted for each in found] == [True, True, False]
    assert "KEEL_SMTP_URL is set; written to the outbox" in found[0].answer.detail
    assert found[2].answer.detail == "pagerduty has no connection"
    assert len(list((tmp_path / "outbox").glob("*.eml"))) == 2


def test_error_of_a_library_is_an_answer_without_its_secrets() -> None:
    broken = Receiver(ValueError("POST https://hooks.example.com/T0/canary failed: password=canary"))
    [answer] = [
        each.answer for each in send_samples([TOY], {"pagerduty": broken}, broken, channel="pagerduty", now=NOW)
    ]
    assert not answer.accepted
    assert answer.detail.startswith("ValueError: POST https://hooks.example.com/***")
    assert "canary" not in answer.detail

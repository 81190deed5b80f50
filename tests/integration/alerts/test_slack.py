"""Slack through its provider, with a bot's token and by a webhook, against a real server in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from keel.alerts.records import Answer, Change, Delivery, Message
from keel.config import Kind, Severity
from keel.errors import NoConnection
from tests.support.alerts.channel_messages import HOSTILE, delivery, line, message, of_kind
from tests.support.alerts.formats import texts, validate
from tests.support.alerts.mail_servers import free_port

if TYPE_CHECKING:
    from tests.support.alerts.vendors import Receiver

pytestmark = pytest.mark.integration
Connect = Callable[..., None]
TOKEN = "xoxb-canary-token-123"
WEBHOOK_PATH = "services/T00/B00/canarywebhooktoken"


def send(about: Message, earlier: Sequence[Delivery] = ()) -> Answer:
    from keel_airflow.channels import senders

    return senders()["slack"].send(about, delivery(about, "slack", "#rides"), earlier)


def sent(about: Message, answer: Answer) -> Delivery:
    """The delivery as the outbox keeps it after the answer."""
    assert answer.reference
    return delivery(about, "slack", "#rides", reference=answer.reference)


@pytest.fixture
def bot(vendor: Receiver, connect: Connect) -> Receiver:
    connect("slack_default", conn_type="slack", password=TOKEN, extra={"base_url": f"{vendor.url}/api/"})
    return vendor


@pytest.fixture
def webhook(vendor: Receiver, connect: Connect) -> Receiver:
    connect("slack_webhook_default", conn_type="slackwebhook", password=f"{vendor.url}/{WEBHOOK_PATH}")
    return vendor


def test_post_of_every_kind_is_what_slack_takes(bot: Receiver) -> None:
    for kind in Kind:
        for change in (Change.FIRING, Change.RESOLVED) if kind.lasts else (Change.EVENT,):
            assert send(of_kind(kind, change)).accepted
    for post in bot.received:
        assert post.path == "/api/chat.postMessage"
        assert post.headers["authorization"] == f"Bearer {TOKEN}"
        validate(post.json, "slack_post")
        assert post.json["channel"] == "#rides"
        assert any("It is so" in text for text in texts(post.json["blocks"]))


def test_post_by_the_webhook_is_what_slack_takes(webhook: Receiver) -> None:
    answer = send(message(line()))
    assert answer.accepted
    [post] = webhook.received
    assert post.path == f"/{WEBHOOK_PATH}"
    validate(post.json, "slack_post")


def test_post_of_hostile_names_keeps_them_as_text(bot: Receiver) -> None:
    assert send(message(line(subject=HOSTILE, sentence=HOSTILE), text=HOSTILE)).accepted
    post = bot.received[0].json
    validate(post, "slack_post")
    assert "<!channel>" not in post["text"]
    assert "<@U1>" not in post["text"]
    shown = texts(post["blocks"])
    assert any("<!channel>" in text for text in shown), "a run of rich text shows what is in it, and reads nothing"
    assert not any("\x00" in text or "\u202e" in text for text in shown)
    assert "mrkdwn" not in str(post)


def test_alert_has_one_post_that_is_edited_and_answered(bot: Receiver) -> None:
    first = message(line(), message_id="m1")
    posted = sent(first, send(first))
    over = message(
        line(change=Change.RESOLVED),
        text="It is over after 2 days",
        message_id="m2",
        topic="resolved",
        references=("m1",),
    )
    answer = send(over, [posted])
    assert answer.accepted
    _, reply, edit = bot.received
    for each in (reply, edit):
        validate(each.json, "slack_post")
    assert (reply.path, reply.json["thread_ts"], reply.json["channel"]) == (
        "/api/chat.postMessage",
        posted.reference["ts"],
        "C0123456789",
    )
    assert reply.json["reply_broadcast"] is False
    assert (edit.path, edit.json["ts"]) == ("/api/chat.update", posted.reference["ts"])
    shown = texts(edit.json["blocks"])
    assert shown[0].startswith("✅")
    assert any("The temperature is higher" in text for text in shown), "what was reported stays"
    assert any("It is over after 2 days" in text for text in shown)


def test_alert_that_gets_worse_is_seen_by_the_channel_too(bot: Receiver) -> None:
    first = message(line(), message_id="m1")
    posted = sent(first, send(first))
    worse = message(line(change=Change.ESCALATED, severity=Severity.ERROR), message_id="m2", references=("m1",))
    assert send(worse, [posted]).accepted
    assert bot.received[1].json["reply_broadcast"] is True


def test_post_is_over_when_each_of_its_alerts_is(bot: Receiver) -> None:
    first = message(line(subject="temp"), line(subject="wind"), message_id="m1")
    posts = [sent(first, send(first))]
    for number, subject in enumerate(("temp", "wind"), start=2):
        over = message(
            line(subject=subject, change=Change.RESOLVED), message_id=f"m{number}", topic="resolved", references=("m1",)
        )
        posts.append(sent(over, send(over, posts)))
    edits = [each.json for each in bot.received if each.path == "/api/chat.update"]
    one, both = (texts(edit["blocks"]) for edit in edits)
    assert one[0].startswith("⚠️")
    assert {"over: data_drift of temp", "open: data_drift of wind"} <= set(one)
    assert both[0].startswith("✅")
    assert "over: data_drift of temp" in both


def test_message_with_something_new_is_a_post_of_its_own(bot: Receiver) -> None:
    first = message(line(), message_id="m1")
    posted = sent(first, send(first))
    both = message(line(change=Change.RESOLVED), line(subject="wind"), message_id="m2", references=("m1",))
    answer = send(both, [posted])
    assert answer.accepted
    assert "thread_ts" not in (answer.reference or {})
    assert "thread_ts" not in bot.received[1].json
    assert bot.received[2].path == "/api/chat.update"


def test_thread_that_was_deleted_gets_a_new_post(bot: Receiver) -> None:
    first = message(line(), message_id="m1")
    posted = sent(first, send(first))
    bot.then(200, '{"ok": false, "error": "thread_not_found"}', content_type="application/json")
    worse = message(line(change=Change.ESCALATED), message_id="m2", references=("m1",))
    answer = send(worse, [posted])
    assert answer.accepted
    assert bot.received[2].json["channel"] == "#rides"
    assert "thread_ts" not in bot.received[2].json


def test_edit_that_slack_refuses_does_not_repeat_the_message(bot: Receiver) -> None:
    first = message(line(), message_id="m1")
    posted = sent(first, send(first))
    bot.then(200, '{"ok": true, "channel": "C0123456789", "ts": "1700000000.000009"}')
    bot.then(200, '{"ok": false, "error": "edit_window_closed"}')
    worse = message(line(change=Change.ESCALATED), message_id="m2", references=("m1",))
    assert send(worse, [posted]).accepted


@pytest.mark.parametrize(
    ("status", "body", "is_final", "said"),
    [
        (200, '{"ok": false, "error": "invalid_auth"}', True, "invalid_auth"),
        (200, '{"ok": false, "error": "channel_not_found"}', True, "channel_not_found"),
        (200, '{"ok": false, "error": "internal_error"}', False, "internal_error"),
        (500, "<html>oops</html>", False, "HTTP 500"),
        (503, '{"ok": false, "error": "service_unavailable"}', False, "HTTP 503"),
        (200, "this is not JSON", False, "not"),
    ],
)
def test_bot_refused_is_told_and_final_where_it_is(
    status: int, body: str, is_final: bool, said: str, bot: Receiver
) -> None:
    bot.then(status, body)
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, is_final), answer
    assert said in answer.detail
    assert len(bot.received) == 1, "one try is one request"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed_and_no_post(
    status: int, vendor: Receiver, bot: Receiver, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    for use in ("bot", "webhook"):
        if use == "webhook":
            monkeypatch.delenv("AIRFLOW_CONN_SLACK_DEFAULT")
            connect("slack_webhook_default", conn_type="slackwebhook", password=f"{vendor.url}/{WEBHOOK_PATH}")
        vendor.received.clear()
        vendor.then(status, "", Location=f"{vendor.url}/api/chat.elsewhere")
        answer = send(message(line()))
        assert (answer.accepted, answer.is_final) == (False, True), answer
        assert f"HTTP {status}" in answer.detail
        assert len(vendor.received) == 1, "the token would go wherever the redirect leads"


def test_answer_without_a_post_is_none_of_slack(bot: Receiver) -> None:
    bot.then(200, '{"ok": true}')
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, False)
    assert "names no post" in answer.detail
    first = message(line(), message_id="m1")
    posted = sent(first, send(first))
    bot.received.clear()
    bot.then(200, '{"ok": true}')
    assert send(message(line(change=Change.ESCALATED), message_id="m2", references=("m1",)), [posted]).accepted
    assert [each.json["channel"] for each in bot.received] == ["C0123456789", "#rides", "C0123456789"]


@pytest.mark.parametrize("body", ['{"ok":false,"error":"invalid_token"}', "no_service", "<html>login</html>", ""])
def test_webhook_has_taken_only_what_it_answers_ok_to(body: str, webhook: Receiver) -> None:
    webhook.then(200, body)
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, False)
    assert (body or "nothing") in answer.detail


@pytest.mark.parametrize(("name", "of"), [("slack_default", "slack"), ("slack_webhook_default", "slackwebhook")])
def test_connection_without_its_password_is_refused_for_good(name: str, of: str, connect: Connect) -> None:
    connect(name, conn_type=of, host="https://hooks.slack.invalid/services")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, True)
    assert name in answer.detail
    assert "password" in answer.detail


def test_bot_that_posts_too_often_waits_as_long_as_slack_asks(bot: Receiver) -> None:
    bot.then(429, '{"ok": false, "error": "ratelimited"}', Retry_After="37")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final, answer.retry_after) == (False, False, 37.0)
    assert len(bot.received) == 1


@pytest.mark.parametrize(
    ("status", "body", "is_final"),
    [(400, "invalid_blocks", True), (404, "no_service", True), (500, "rollup_error", False), (410, "archived", True)],
)
def test_webhook_refused_is_told_and_final_where_it_is(
    status: int, body: str, is_final: bool, webhook: Receiver
) -> None:
    webhook.then(status, body)
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, is_final)
    assert f"HTTP {status}" in answer.detail
    assert body in answer.detail
    assert len(webhook.received) == 1


def test_webhook_called_too_often_waits_as_long_as_slack_asks(webhook: Receiver) -> None:
    webhook.then(429, "rate_limited", Retry_After="12")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final, answer.retry_after) == (False, False, 12.0)


@pytest.mark.parametrize("kind", ["slack_default", "slack_webhook_default"])
def test_slack_that_is_away_is_tried_again_without_a_word_of_the_secret(
    kind: str, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port = free_port()
    if kind == "slack_default":
        connect(kind, conn_type="slack", password=TOKEN, extra={"base_url": f"http://127.0.0.1:{port}/api/"})
    else:
        connect(kind, conn_type="slackwebhook", password=f"http://127.0.0.1:{port}/{WEBHOOK_PATH}")
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, False)
    assert "connection refused" in answer.detail
    assert "canary" not in answer.detail + caplog.text


def test_slack_that_does_not_answer_is_tried_again(
    bot: Receiver, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    monkeypatch.setattr("keel_airflow.channels.slack.TIMEOUT", 1.0)
    bot.then_wait(3.0)
    answer = send(message(line()))
    assert (answer.accepted, answer.is_final) == (False, False)
    assert "no answer" in answer.detail


def test_slack_without_a_connection_names_both() -> None:
    with pytest.raises(NoConnection, match=r"slack_default.*slack_webhook_default"):
        send(message(line()))


def test_long_message_stays_within_slacks_limits(bot: Receiver) -> None:
    lines = [line(subject=f"column {i}" * 30) for i in range(40)]
    assert send(message(*lines, text="word " * 2_000, rows=500)).accepted
    validate(bot.received[0].json, "slack_post")
    assert len(bot.received[0].body) < 40_000

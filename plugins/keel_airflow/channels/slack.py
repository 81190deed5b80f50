"""Post a message to Slack: with a bot's token one post an alert, which is edited and answered; else by the webhook."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keel.alerts.channels.slack import edited, memo, post
from keel.alerts.records import Answer, Change, Delivery, Message
from keel.errors import NoConnection
from keel_airflow.channels.answers import TIMEOUT, accepted, http_answer, redacted, refused, seconds, secrets_of
from keel_airflow.channels.connections import SLACK_CONN_ID, SLACK_WEBHOOK_CONN_ID
from keel_airflow.channels.failures import failure
from keel_airflow.hooks import read_connection

if TYPE_CHECKING:
    from airflow.providers.slack.hooks.slack import SlackHook
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

TRANSIENT = frozenset({
    "ratelimited", "rate_limited", "message_limit_exceeded", "internal_error", "fatal_error", "service_unavailable",
    "request_timeout", "team_added_to_org",
})  # fmt: skip
"""Errors of Slack with which a later try may succeed. Others name what a person has to change."""
OK = 200
NO_THREAD = frozenset({"thread_not_found", "cannot_reply_to_message", "message_not_found"})
CONTINUES = frozenset({Change.ESCALATED, Change.REMINDER, Change.RESOLVED, Change.ACKNOWLEDGED})
"""Changes of what has a post already."""
LOUD = frozenset({Change.ESCALATED, Change.REMINDER})
"""Changes that the channel sees too: nobody is notified of an edit, and few of an answer in a thread."""


class SlackSender:
    """Posts through the connection ``slack_default`` (a bot's token), else ``slack_webhook_default``."""

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        """Post a message, or answer to the posts of its alerts and edit them.

        Raises
        ------
        NoConnection
            There is neither connection.
        ConnectionUnreadable
            One cannot be read now.

        """
        if bot := read_connection(SLACK_CONN_ID):
            return _by_bot(bot, message, delivery, earlier)
        if webhook := read_connection(SLACK_WEBHOOK_CONN_ID):
            return _by_webhook(webhook, message)
        raise NoConnection(
            f"neither the Airflow connection {SLACK_CONN_ID!r} (a bot's token as its password) nor "
            f"{SLACK_WEBHOOK_CONN_ID!r} (an incoming webhook's address as its password) exists"
        )


def _by_webhook(connection: Connection, message: Message) -> Answer:
    from keel_airflow.channels.slack_clients import webhook

    secrets = secrets_of(connection)
    if not (connection.password or "").strip():
        return _without_password(connection, "an incoming webhook's address")
    try:
        answer = webhook(connection, timeout=int(TIMEOUT), retry_handlers=[]).send_dict(post(message))
    except Exception as error:
        return failure(error, secrets, where="Slack's webhook")
    again, body = _header(answer.headers, "Retry-After"), (answer.body or "").strip()
    if answer.status_code == OK and body != "ok":  # a proxy, or what has taken Slack's place
        return refused(f"Slack's webhook answers 200, and not ok: {body or 'nothing'}", secrets)
    return http_answer(answer.status_code, body, retry_after=again, secrets=secrets)


def _without_password(connection: Connection, holds: str) -> Answer:
    return refused(f"the connection {connection.conn_id!r} has no password, which must be {holds}", is_final=True)


def _by_bot(connection: Connection, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
    """Post, or answer in the threads of the posts that told of the alerts first. What has no post yet gets one."""
    from slack_sdk.errors import SlackApiError

    from keel_airflow.channels.slack_clients import bot

    secrets = secrets_of(connection)
    if not connection.password:
        return _without_password(connection, "a bot's token")
    firsts = _first_posts([each for each in earlier if each.message_id in message.references])
    only_continues = bool(message.alerts) and all(line.change in CONTINUES for line in message.alerts)
    try:
        hook = bot(connection, timeout=int(TIMEOUT), retry_handlers=[])
        if firsts and only_continues:
            answer = _answer_in_threads(hook, message, delivery, firsts)
        else:
            answer = _post(hook, message, delivery.recipient)
        for first in firsts if answer.accepted else ():
            _edit(hook, message, first, earlier)
    except SlackApiError as error:
        return _api_refusal(error, secrets)
    except Exception as error:
        return failure(error, secrets, where="Slack")
    return answer


def _first_posts(earlier: Sequence[Delivery]) -> list[dict[str, Any]]:
    """Return the references of the posts that head a thread, in the order of time, each once."""
    posts = [d.reference for d in earlier if d.reference and d.reference.get("ts") and not d.reference.get("thread_ts")]
    return list({(each["channel"], each["ts"]): each for each in posts}.values())


def _post(hook: SlackHook, message: Message, channel: str) -> Answer:
    given = hook.call("chat.postMessage", json={"channel": channel, "unfurl_links": False, **post(message)})
    if not given.get("ts"):
        return refused("Slack answers ok, and names no post: something else answers in its place")
    reference = {"channel": given.get("channel", channel), "ts": given.get("ts"), **memo(message)}
    return accepted(f"posted to {channel}, ts {reference['ts']}", reference=reference)


def _answer_in_threads(
    hook: SlackHook, message: Message, delivery: Delivery, firsts: Sequence[Mapping[str, Any]]
) -> Answer:
    """Answer in each thread. The message is told once one has it: a later failure must not repeat it."""
    from slack_sdk.errors import SlackApiError

    loud = any(line.change in LOUD for line in message.alerts)
    answer = None
    for first in firsts:
        where = {"channel": first["channel"], "thread_ts": first["ts"], "reply_broadcast": loud and answer is None}
        try:
            given = hook.call("chat.postMessage", json={"unfurl_links": False, **where, **post(message)})
        except SlackApiError as error:
            if answer is None and _code(error) not in NO_THREAD:
                raise
            log.warning("could not answer to a post in Slack: %s", _code(error))
            continue
        if not given.get("ts"):
            continue
        reference = {"channel": first["channel"], "ts": given.get("ts"), "thread_ts": first["ts"], **memo(message)}
        answer = answer or accepted(f"answered in a thread, ts {given.get('ts')}", reference=reference)
    return answer or _post(hook, message, delivery.recipient)


def _edit(hook: SlackHook, message: Message, first: Mapping[str, Any], earlier: Sequence[Delivery]) -> None:
    """Edit the first post about alerts to what is now. The message has been told, so a failure is only logged."""
    later = [each.reference for each in earlier if each.reference and each.reference.get("ts") != first["ts"]]
    body = {"channel": first["channel"], "ts": first["ts"], **edited(message, first, later)}
    try:
        hook.call("chat.update", json=body)
    except Exception as error:
        # The type only: the text of some libraries' errors holds what was sent.
        log.warning("could not edit a post in Slack: %s", _code(error) or type(error).__name__)


def _api_refusal(error: Any, secrets: Sequence[str]) -> Answer:
    """Return what Slack's refusal means. Slack answers 200 with ``ok: false`` to most faults."""
    status = getattr(error.response, "status_code", 0)
    again = _header(getattr(error.response, "headers", None) or {}, "Retry-After")
    code = _code(error)
    if status != 200:
        return http_answer(status, code, retry_after=again, secrets=secrets)
    is_named = re.fullmatch(r"[a-z_]+", code) is not None  # else a proxy's page
    return refused(f"Slack: {code}", secrets, is_final=is_named and code not in TRANSIENT, retry_after=seconds(again))


def _code(error: BaseException) -> str:
    response: Any = getattr(error, "response", None)
    try:
        return redacted(str(response["error"]), ())
    except (KeyError, TypeError, ValueError):
        return ""


def _header(headers: Mapping[str, Any], name: str) -> str | None:
    return next((str(value) for key, value in headers.items() if key.lower() == name.lower()), None)

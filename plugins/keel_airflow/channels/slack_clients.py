"""Slack's clients of the provider's hooks, which follow no redirect and read no endless answer.

Upon a redirect, the library turns a post into a GET without its body, gives the token to wherever it leads, and takes
what that page answers for Slack's.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.slack.hooks.slack import SlackHook
from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
from slack_sdk import WebClient
from slack_sdk.webhook import WebhookClient, WebhookResponse

if TYPE_CHECKING:
    from airflow.sdk import Connection

LARGEST = 1_000_000
"""Bytes of an answer that are read. Slack repeats the post in it."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow nothing: the redirect is the answer."""


class _WebClient(WebClient):
    def _perform_urllib_http_request_internal(self, url: str, req: urllib.request.Request) -> dict[str, Any]:
        with _opened(self, req) as (given, body):
            return {"status": given.status, "headers": given.headers, "body": body}


class _WebhookClient(WebhookClient):
    def _perform_http_request_internal(self, url: str, req: urllib.request.Request) -> WebhookResponse:
        with _opened(self, req) as (given, body):
            return WebhookResponse(url=url, status_code=given.status, body=body, headers=given.headers)


@contextmanager
def _opened(client: _WebClient | _WebhookClient, request: urllib.request.Request) -> Iterator[tuple[Any, str]]:
    if request.type not in ("http", "https"):
        raise ValueError("Slack's address must begin with https://")
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect(), urllib.request.HTTPSHandler(context=client.ssl)]
    if client.proxy:
        handlers.append(urllib.request.ProxyHandler({"http": client.proxy, "https": client.proxy}))
    with urllib.request.build_opener(*handlers).open(request, timeout=client.timeout) as given:
        yield given, given.read(LARGEST).decode(errors="replace")


def bot(connection: Connection, **options: Any) -> SlackHook:
    """Return the hook of a bot's token."""
    hook = SlackHook(slack_conn_id=connection.conn_id, **options)
    hook.client = _WebClient(**hook._get_conn_params(conn=connection))
    return hook


def webhook(connection: Connection, **options: Any) -> WebhookClient:
    """Return the client of an incoming webhook."""
    hook = SlackWebhookHook(slack_webhook_conn_id=connection.conn_id, **options)
    return _WebhookClient(**hook._build_conn_params(connection))

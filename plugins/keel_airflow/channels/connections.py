"""Connections of the channels: by Airflow, and for mail also by environment variables."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from keel.errors import ConfigError, ConnectionUnreadable, NoConnection
from keel_airflow.hooks import read_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection

SMTP_URL = "KEEL_SMTP_URL"
MAIL_FROM = "KEEL_MAIL_FROM"
SMTP_CONN_ID = "smtp_default"
SLACK_CONN_ID = "slack_default"
SLACK_WEBHOOK_CONN_ID = "slack_webhook_default"
DEFAULT_SENDER = "keel@localhost"
TLS = {
    "starttls": {"disable_ssl": True, "disable_tls": False},
    "implicit": {"disable_ssl": False, "disable_tls": True},
    "none": {"disable_ssl": True, "disable_tls": True},
}
"""Extras of the SMTP provider by what they do. Both together send in clear, the password included."""
PORTS = {"starttls": 587, "implicit": 465, "none": 25}
FORM = "smtp://user:password@host:587?tls=starttls (or implicit, or none)"


def connection(conn_id: str, *, holds: str) -> Connection:
    """Return a connection that a route names.

    Raises
    ------
    NoConnection
        No secrets backend has it. ``holds``: what it would have to hold.
    ConnectionUnreadable
        It cannot be read now.

    """
    found = read_connection(conn_id)
    if found is None:
        raise NoConnection(f"the Airflow connection {conn_id!r} does not exist; create it with {holds}")
    return found


def smtp_connection() -> Connection | None:
    """Return the mail server: Airflow's connection ``smtp_default``, else that of ``KEEL_SMTP_URL``, else None.

    Raises
    ------
    ConfigError
        ``KEEL_SMTP_URL`` is no such address.
    ConnectionUnreadable
        ``smtp_default`` cannot be read now, and ``KEEL_SMTP_URL`` is not set.

    """
    url = os.environ.get(SMTP_URL)
    try:
        found = read_connection(SMTP_CONN_ID)
    except ConnectionUnreadable:
        if not url:
            raise
        found = None
    return found or (from_smtp_url(url) if url else None)


def from_smtp_url(url: str) -> Connection:
    """Return the connection that ``KEEL_SMTP_URL`` describes. Login and password are percent-encoded in it.

    Raises
    ------
    ConfigError
        It is not such an address. The message does not repeat it, because it holds a password.

    """
    from airflow.sdk import Connection

    try:
        parts = urlsplit(url)
        # a plus sign is one: in a form it would be a space, and keel+alerts@example.com another address
        query = parts.query.replace("+", "%2B")
        port, options = parts.port, parse_qs(query, strict_parsing=bool(query))
    except ValueError:
        raise ConfigError(f"{SMTP_URL} is not an address; it must be like {FORM}") from None
    tls = (options.pop("tls", None) or ["implicit" if parts.scheme == "smtps" else "starttls"])[-1]
    sender = options.pop("from", None)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or tls not in TLS or options:
        raise ConfigError(f"{SMTP_URL} must be like {FORM}; the only options are tls and from")
    extra: dict[str, Any] = {**TLS[tls], "retry_limit": 0, **({"from_email": sender[-1]} if sender else {})}
    return Connection(
        conn_id=SMTP_URL.lower(),
        conn_type="smtp",
        host=parts.hostname,
        port=port or PORTS[tls],
        login=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        extra=json.dumps(extra),
    )


def sender_address(smtp: Connection | None) -> str:
    """Return whom mails are from: the connection's ``from_email``, else ``KEEL_MAIL_FROM``, else a local name."""
    given = smtp.extra_dejson.get("from_email") if smtp else None
    return str(given or os.environ.get(MAIL_FROM) or DEFAULT_SENDER)

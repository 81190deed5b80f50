"""What a receiver answered, as an `Answer` without credentials: whether that is final, and when to try again."""

from __future__ import annotations

import email.utils
import re
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, urlsplit

from keel.alerts.records import Answer
from keel.values.redaction import without_secrets

if TYPE_CHECKING:
    from airflow.sdk import Connection

TIMEOUT = 15.0
"""Seconds that a receiver has to connect, and then to answer. A delivery is leased for two minutes."""
TELLING = 8
"""Characters from which a part of an address may be a credential; shorter ones are names, such as ``v2``."""
RETRY = frozenset({408, 409, 425, 429})
"""Statuses below 500 with which a later try may succeed."""
MEANINGS = {
    400: "the message is not valid for this receiver",
    401: "wrong credentials",
    403: "the credentials do not allow it",
    404: "no such address; the webhook may have been deleted",
    410: "the address was deleted",
    413: "the message is too large",
    429: "too many messages",
}
_SECRET_KEY = re.compile(r"pass|secret|token|key|sig|auth|cert|config|url|uri|webhook", re.IGNORECASE)


def accepted(detail: str, secrets: Iterable[str] = (), reference: dict[str, object] | None = None) -> Answer:
    """Return the answer of a receiver that took the message."""
    return Answer(accepted=True, detail=redacted(detail, secrets), reference=reference)


def refused(
    detail: str,
    secrets: Iterable[str] = (),
    *,
    is_final: bool = False,
    is_silent: bool = False,
    retry_after: float | None = None,
) -> Answer:
    """Return the answer of a receiver that did not. ``is_final``: the same message would be refused again."""
    said = redacted(detail, secrets)
    return Answer(accepted=False, detail=said, is_final=is_final, is_silent=is_silent, retry_after=retry_after)


def http_answer(
    status: int, text: str, *, retry_after: str | None, secrets: Iterable[str], now: datetime | None = None
) -> Answer:
    """Return the answer that an HTTP response is.

    2xx: accepted. 408, 409, 425, 429 and 5xx: to be tried again, after ``Retry-After`` where it is given. Others,
    redirects included, are final: a redirected POST arrives as a GET without its body.
    """
    meaning = MEANINGS.get(status, "")
    detail = " ".join(filter(None, (f"HTTP {status}", meaning and f"({meaning})", text.strip())))
    if 200 <= status < 300:
        return accepted(detail, secrets)
    again = status in RETRY or status >= 500
    return refused(detail, secrets, is_final=not again, retry_after=seconds(retry_after, now) if again else None)


def seconds(retry_after: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds of a ``Retry-After``, which is a number or a date; None for anything else.

    >>> seconds("30"), seconds("soon"), seconds(None)
    (30.0, None, None)
    >>> seconds("Wed, 01 Jan 2025 00:01:00 GMT", datetime(2025, 1, 1, tzinfo=UTC))
    60.0
    """
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, OverflowError):  # OverflowError: a year that no calendar has
        return None


def secrets_of(connection: Connection) -> tuple[str, ...]:
    """Return every text of a connection that may be a credential, with the parts of an address that may hold one."""
    texts = [connection.password, *_secret_texts(connection.extra_dejson)]
    addresses = [text for text in (*texts, connection.host) if text and "://" in text]
    # written as an address, a connection has that address's path as its schema
    addresses += [f"//host/{text}" for text in (connection.schema,) if text and "/" in text]
    found = tuple(dict.fromkeys(filter(None, chain(texts, *map(address_secrets, addresses)))))
    _mask(found)
    return found


def _mask(secrets: Iterable[str]) -> None:
    """Let Airflow mask these in its logs: at DEBUG, libraries log addresses, whose path is the secret."""
    from airflow.sdk.log import mask_secret

    for secret in secrets:
        if len(secret) >= TELLING:
            mask_secret(secret)


def address_secrets(address: str) -> tuple[str, ...]:
    """Return the parts of a web address that may be a credential: its login, path and query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return (address,)
    values = (pair.partition("=")[2] for pair in parts.query.split("&"))
    pieces = [piece for piece in (*values, *parts.path.split("/")) if len(piece) >= TELLING]
    return tuple(filter(None, (address, parts.password, parts.query, parts.path.strip("/"), *pieces)))


def _secret_texts(value: object, *, is_secret: bool = False) -> list[str]:
    if isinstance(value, dict):
        pairs = value.items()
        return [t for k, v in pairs for t in _secret_texts(v, is_secret=is_secret or bool(_SECRET_KEY.search(str(k))))]
    if isinstance(value, list):
        return [text for item in value for text in _secret_texts(item, is_secret=is_secret)]
    return [value] if isinstance(value, str) and (is_secret or "://" in value) else []


def redacted(text: str, secrets: Iterable[str]) -> str:
    r"""Return a text on one line, at most 300 characters, with every spelling of the secrets replaced by ``***``.

    >>> redacted("535 bad login: p@ss\n(p%40ss)", ["p@ss"])
    '535 bad login: *** (***)'
    """
    found = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
    return without_secrets(" ".join(text.split()), secrets=tuple(found))


def _spellings(secret: str) -> set[str]:
    """Return a secret as it is written in addresses, in Python's messages, and in a mail server's dialogue."""
    coded = b64encode(secret.encode()).decode()
    plain = {
        secret,
        " ".join(secret.split()),
        quote(secret, safe=""),
        quote_plus(secret),
        quote(secret),
        repr(secret)[1:-1],
    }
    return {spelling for spelling in (*plain, coded, coded.rstrip("=")) if spelling.strip()}

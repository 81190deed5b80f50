"""Post a message to Teams, as a card, to the webhook of a workflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from keel.alerts.channels.teams import request
from keel_airflow.channels.answers import TIMEOUT, http_answer, refused, secrets_of
from keel_airflow.channels.connections import connection
from keel_airflow.channels.failures import failure

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from keel.alerts.records import Answer, Delivery, Message

HOLDS = "type http and the webhook's whole address as its password"
LARGEST = 4_000
"""Bytes of an answer that are read: whoever answers may never end."""


class TeamsSender:
    """Posts to the connection that the route names: of type ``http``, with the webhook's address as its password.

    The address holds a signature. Airflow masks passwords in logs, and nothing else of a connection.
    """

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        """Post the card. A workflow cannot edit one, so ``earlier`` is not needed.

        Raises
        ------
        NoConnection
            The connection does not exist.

        """
        return _posted(connection(delivery.recipient, holds=HOLDS), message)


def _posted(webhook: Connection, message: Message) -> Answer:
    """Post through the provider's session, with its proxies and TLS.

    Its ``run`` logs the whole address when a connection fails, has no timeout, and follows a redirect, upon which a
    POST becomes a GET without a body.
    """
    from airflow.providers.http.hooks.http import HttpHook

    secrets = secrets_of(webhook)
    password = webhook.password or ""
    try:
        hook = HttpHook(method="POST", http_conn_id=webhook.conn_id)
        session = hook.get_conn()
        if "://" in password:
            session.auth = None
        address = password if "://" in password else hook.url_from_endpoint("")
        if not urlsplit(address).hostname:
            return refused(f"the connection {webhook.conn_id!r} has no address; give it {HOLDS}", is_final=True)
        timeout = float(webhook.extra_dejson.get("timeout", TIMEOUT))
        with session.post(address, json=request(message), timeout=timeout, allow_redirects=False, stream=True) as given:
            text = given.raw.read(LARGEST, decode_content=True).decode(errors="replace")
    except ValueError as error:  # such as a connection in the form of an address, which has lost its scheme
        problem = f"the connection {webhook.conn_id!r} has no valid address ({error}); give it {HOLDS}"
        return refused(problem, secrets, is_final=True)
    except Exception as error:
        return failure(error, secrets, where=f"Teams ({webhook.conn_id})")
    again = given.headers.get("Retry-After")
    return http_answer(given.status_code, text, retry_after=again, secrets=secrets)

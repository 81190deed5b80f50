"""Send a message by any service that Apprise knows."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keel.alerts.channels.apprise import Notification, notification
from keel_airflow.channels.answers import accepted, refused, secrets_of
from keel_airflow.channels.connections import connection
from keel_airflow.channels.failures import failure

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from keel.alerts.records import Answer, Delivery, Message

SILENCE = 10.0
"""Seconds after which a service that has not taken a message counts as one that does not answer."""
HOLDS = 'type apprise and the extra {"config": {"path": "a service\'s address"}}'


class AppriseSender:
    """Sends to the connection that the route names: of type ``apprise``, with the services in its ``config``.

    The provider's hook and notifier drop what Apprise answers, so that a failure looks like a success.
    """

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        """Send to every service. It is accepted when all took it: one service a connection avoids repetitions.

        Raises
        ------
        NoConnection
            The connection does not exist.

        """
        services = connection(delivery.recipient, holds=HOLDS)
        secrets = secrets_of(services)
        try:
            return _notified(services, notification(message), secrets)
        except Exception as error:
            return failure(error, secrets, where=f"Apprise ({services.conn_id})")


def _notified(connection: Connection, note: Notification, secrets: Sequence[str]) -> Answer:
    import apprise
    from airflow.providers.apprise.hooks.apprise import AppriseHook

    hook = AppriseHook(apprise_conn_id=connection.conn_id)
    # redirected, a POST becomes a GET without a body, whose answer would count
    services = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
    try:
        hook.set_config_from_conn(conn=connection, apprise_obj=services)
    except (KeyError, TypeError, ValueError):
        return refused(f"the connection {connection.conn_id!r} has no valid config; give it {HOLDS}", is_final=True)
    names = ", ".join(dict.fromkeys(str(each.service_name) for each in services))
    if not names:
        return refused(f"Apprise knows no service of the connection {connection.conn_id!r}", is_final=True)
    began = time.monotonic()
    arguments: dict[str, Any] = {"title": note.title, "body": note.body, "notify_type": note.notify_type}
    with apprise.LogCapture(level=logging.INFO, fmt="%(message)s") as captured:  # type: ignore[no-untyped-call]
        told = services.notify(**arguments, body_format=apprise.NotifyFormat.TEXT)
        said = captured.getvalue()
    if told:
        return accepted(f"sent by {names}", secrets)
    # it does not tell a refusal from none
    return refused(f"{names}: {said or 'not sent'}", secrets, is_silent=time.monotonic() - began > SILENCE)

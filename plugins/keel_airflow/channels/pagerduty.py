"""Send the alerts of a message to PagerDuty, an event each, whose incident keeps their life."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from keel.alerts.channels.pagerduty import Event, events
from keel_airflow.channels.answers import TIMEOUT, accepted, http_answer, refused, secrets_of
from keel_airflow.channels.connections import connection
from keel_airflow.channels.failures import failure

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from keel.alerts.records import Answer, Delivery, Message

HOLDS = "type pagerduty_events and the integration key as its password"


class PagerDutySender:
    """Sends to the connection that the route names: of type ``pagerduty_events``, with the integration key.

    Its host may name another region, such as ``https://events.eu.pagerduty.com``.
    """

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        """Send every event. A try after half of them repeats some, which PagerDuty knows by their ``dedup_key``.

        Raises
        ------
        NoConnection
            The connection does not exist.

        """
        service = connection(delivery.recipient, holds=HOLDS)
        answers = []
        for event in events(message, delivery.tells):
            answers.append(_sent(service, event))
            if not answers[-1].accepted:
                return answers[-1]
        return accepted(f"{len(answers)} event{'s' if len(answers) > 1 else ''}: {answers[-1].detail}")


def _sent(service: Connection, event: Event) -> Answer:
    from airflow.providers.pagerduty.hooks.pagerduty_events import PagerdutyEventsHook

    secrets = secrets_of(service)
    if not service.password:
        return refused(f"the connection {service.conn_id!r} has no key; give it {HOLDS}", is_final=True)
    base = _base(service)
    if base and not base.startswith("https://"):
        return refused(f"the host of the connection {service.conn_id!r} must begin with https://", is_final=True)
    try:
        key = PagerdutyEventsHook(pagerduty_events_conn_id=service.conn_id).integration_key
        given = _request(key, base, event)
    except Exception as error:
        return failure(error, secrets, where=f"PagerDuty ({service.conn_id})")
    again = given.headers.get("Retry-After")
    return http_answer(given.status_code, given.text[:1_000], retry_after=again, secrets=secrets)


def _request(key: str, base: str | None, event: Event) -> Any:
    """Return PagerDuty's response, whatever it is.

    The library waits within its call: on 429 without end and without regard to ``Retry-After``, on a 5xx up to six
    times, each time twice as long. The outbox has the pauses, so the first response ends the call.
    """
    from pagerduty import EventsApiV2Client

    class _Answered(Exception):
        response: Any

    class _Client(EventsApiV2Client):
        max_network_attempts = 0
        timeout = int(TIMEOUT)  # type: ignore[assignment]  # the library's own is a number, too

        def postprocess(self, response: Any) -> None:
            answered = _Answered()
            answered.response = response
            raise answered

    with closing(_Client(key, base_url=base)) as client:
        try:
            return client.post(event.path, json=event.body)
        except _Answered as answered:
            return answered.response


def _base(service: Connection) -> str | None:
    """Return the address of the region that a connection names; None for PagerDuty's own."""
    if not service.host:
        return None
    address = service.host if "://" in service.host else f"{service.schema or 'https'}://{service.host}"
    return f"{address}:{service.port}" if service.port else address

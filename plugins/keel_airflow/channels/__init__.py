"""The channels of a message: the sender of each, through the hooks of Airflow's providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.alerts.delivery import Sender


def senders() -> dict[str, Sender]:
    """Return the sender of each channel, by the name that a route gives it.

    Nothing is connected before a message is sent, and connections are looked up then: in a task, in a callback of the
    DAG processor, or in a plain process.
    """
    from keel_airflow.channels.apprise import AppriseSender
    from keel_airflow.channels.email import EmailSender
    from keel_airflow.channels.pagerduty import PagerDutySender
    from keel_airflow.channels.slack import SlackSender
    from keel_airflow.channels.teams import TeamsSender

    return {
        "email": EmailSender(),
        "slack": SlackSender(),
        "teams": TeamsSender(),
        "pagerduty": PagerDutySender(),
        "apprise": AppriseSender(),
    }

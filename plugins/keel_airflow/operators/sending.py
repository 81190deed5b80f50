"""Operators that send a message of the outbox by one channel each: the providers' own, where there is one.

The outbox has the recipients and the text, and knows what was sent already, so a task that runs again sends nothing
twice. A server that refuses or does not answer fails no run: `keel.alerts` tries again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.slack.operators.slack import SlackAPIPostOperator
from airflow.providers.smtp.operators.smtp import EmailOperator
from airflow.sdk import BaseOperator

from keel_airflow.channels.connections import SLACK_CONN_ID
from keel_airflow.hooks import KEEL_CONN_ID, KeelHook
from keel_airflow.operators.base import TaskResult, airflow_errors, rendered

if TYPE_CHECKING:
    from airflow.sdk import Context


class SendOperator(BaseOperator):
    """Sends the deliveries of a run's messages by one channel. Returns how many were sent, wait again, and have failed.

    :param message: result of `ComposeMessageOperator`. (templated)
    :param keel_conn_id: connection to Keel's store. (templated)
    """

    by: ClassVar[str]
    """The channel, as `keel.config.Channel` names it."""

    template_fields: Sequence[str] = ("message", "keel_conn_id")

    def __init__(self, *, message: TaskResult, keel_conn_id: str = KEEL_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message
        self.keel_conn_id = keel_conn_id

    def execute(self, context: Context) -> dict[str, int]:
        """Send them, and log what each server answered."""
        from keel_airflow.delivering import counted, deliver

        with airflow_errors():
            self._refuse_unused()
            messages = rendered(self.message, dict)["messages"]
        try:
            with KeelHook(keel_conn_id=self.keel_conn_id).get_conn() as workspace:
                tried = [deliver(workspace, message_id=each, channel=self.by) for each in messages]
        except Exception:  # what the run is about is done, and the outbox has the message
            self.log.exception("%s stay in the outbox; keel.alerts sends them", ", ".join(messages))
            tried = []
        return counted(list(chain.from_iterable(tried)))

    def _refuse_unused(self) -> None:
        """Refuse an argument of the provider's, which a cluster policy may have set after the DAG was read."""
        from keel.errors import ConfigError

        usual = type(self)(task_id=self.task_id, message=self.message)
        theirs = [name for name in self.template_fields if name not in SendOperator.template_fields]
        if given := [name for name in theirs if (getattr(self, name) or None) != (getattr(usual, name) or None)]:
            raise ConfigError(
                f"{self.task_id}: {', '.join(given)} would have no effect on a message of Keel; remove it, or send a "
                "message of your own with the provider's operator"
            )


class SendEmailOperator(SendOperator, EmailOperator):
    """Sends the message by mail, one mail for each recipient."""

    by = "email"
    template_fields = (*SendOperator.template_fields, *EmailOperator.template_fields)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"to": "", **kwargs})


class PostToSlackOperator(SendOperator, SlackAPIPostOperator):
    """Posts the message to Slack, or changes the message of before and answers in its thread."""

    by = "slack"
    template_fields = (*SendOperator.template_fields, *SlackAPIPostOperator.template_fields)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"slack_conn_id": SLACK_CONN_ID, "channel": "", "text": "", "username": "Keel", **kwargs})


class PostToTeamsOperator(SendOperator, HttpOperator):
    """Posts the message as a card to the workflows of Microsoft Teams that the model's routes name."""

    by = "teams"
    template_fields = (*SendOperator.template_fields, *HttpOperator.template_fields)


class PageOperator(SendOperator):
    """Triggers, acknowledges or resolves incidents in PagerDuty. The provider has a hook for it, and no operator."""

    by = "pagerduty"


class SendByAppriseOperator(SendOperator):
    """Sends the message to any address that Apprise knows. The provider has a hook for it, and no operator."""

    by = "apprise"


class WriteToOutboxOperator(SendOperator):
    """Writes the message as an ``.eml`` file, which any mail program opens: nobody is configured to be told."""

    by = "outbox"


BY_CHANNEL: dict[str, tuple[str, type[SendOperator]]] = {
    "email": ("send_email", SendEmailOperator),
    "slack": ("post_to_slack", PostToSlackOperator),
    "teams": ("post_to_teams", PostToTeamsOperator),
    "pagerduty": ("page", PageOperator),
    "apprise": ("send_by_apprise", SendByAppriseOperator),
    "outbox": ("write_to_outbox", WriteToOutboxOperator),
}
"""The task and its operator, by channel."""

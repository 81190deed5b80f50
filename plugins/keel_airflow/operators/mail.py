"""The operator that sends a message by mail: the SMTP provider's, for a mail with text, HTML and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.smtp.operators.smtp import EmailOperator

from keel_airflow.operators.base import TaskResult, airflow_errors, rendered

if TYPE_CHECKING:
    from airflow.sdk import Context


class SendMailOperator(EmailOperator):
    """Sends the message by mail, to ``to``, from ``from_email`` and with ``subject``, which Airflow shows.

    The text and the picture are of the message. So a mail of Keel has none of the provider's `UNUSED` arguments.

    :param message: result of `ComposeMessageOperator`. (templated)
    """

    UNUSED = ("html_content", "files", "cc", "bcc", "custom_headers")

    template_fields = (*EmailOperator.template_fields, "message")

    def __init__(self, *, message: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: Context) -> None:
        """Draw the picture, build the mail, and send it.

        A cluster policy may have set an argument after the DAG was read. One without effect is refused here.
        """
        from keel.errors import ConfigError
        from keel_airflow.mail_hook import send_mail

        with airflow_errors():
            if given := [name for name in self.UNUSED if getattr(self, name)]:
                raise ConfigError(
                    f"{self.task_id}: {', '.join(given)} would have no effect on a mail of Keel; remove it, or send a "
                    "mail of your own with the provider's EmailOperator"
                )
            message = rendered(self.message, dict)
            send_mail(message, to=self.to, sender=self.from_email, subject=self.subject, conn_id=self.conn_id)

"""The operator that sends a message by mail: the SMTP provider's, for a mail with text, HTML and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.smtp.operators.smtp import EmailOperator

from keel_airflow.operators.base import TaskResult, airflow_errors, rendered

if TYPE_CHECKING:
    from airflow.sdk import Context


class SendMailOperator(EmailOperator):
    """Sends the message by mail. The provider's operator, whose arguments show in Airflow whom it was sent to.

    :param message: result of `ComposeMessageOperator`. (templated)
    """

    template_fields = (*EmailOperator.template_fields, "message")

    def __init__(self, *, message: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: Context) -> None:
        """Draw the picture, build the mail, and send it."""
        from keel_airflow.mail_hook import send_mail

        with airflow_errors():
            message = rendered(self.message, dict)
            send_mail(message, conn_id=self.conn_id)

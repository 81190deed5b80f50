"""Send a message through the SMTP provider, as the mail that `keel.alerts.mail` builds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

from airflow.providers.smtp.hooks.smtp import SmtpHook


class MailHook(SmtpHook):
    """The provider's hook, with its connection, TLS, login and retries, for a mail that is built already.

    The provider builds mails of HTML with attachments: without plain text, and a picture would be an attachment of
    unknown type, which some mail programs do not show within the text.

    :param mail: the mail to send
    """

    def __init__(self, *, mail: EmailMessage, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mail = mail

    def _build_mime_message(self, *_: Any, **arguments: Any) -> tuple[Any, list[str]]:
        """Return the mail and its recipients, where the provider would build one."""
        return self.mail, list(arguments["to"])


def send_mail(
    message: Mapping[str, Any],
    *,
    conn_id: str,
    to: str | Iterable[str] | None = None,
    sender: str | None = None,
    subject: str | None = None,
) -> None:
    """Send a message by mail, with its picture drawn here and now.

    message: as `keel_airflow.channels.address` returns it. Its picture is data, because no file of the task that
    composed it need exist on this machine.
    to, sender, subject: in place of the message's own. A text in ``to`` may hold several addresses, between commas.
    """
    from keel.alerts.mail import build
    from keel.monitoring.records import Message

    composed = Message.from_dict({**message, "subject": subject or message["subject"]})
    people = composed.email if to is None else to
    addresses = [each.strip() for each in people.split(",")] if isinstance(people, str) else list(people)
    sender = sender or message["sender"]
    mail = build(composed, sender=sender, to=addresses, now=datetime.now(UTC))
    with MailHook(mail=mail, smtp_conn_id=conn_id) as hook:
        hook.send_email_smtp(to=addresses, subject=composed.subject, html_content="-", from_email=sender)

"""Send a message as one mail to one recipient, through the SMTP provider."""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.smtp.hooks.smtp import SmtpHook

from keel.errors import ConfigError, NoConnection
from keel_airflow.channels.answers import TIMEOUT, accepted, redacted, refused, secrets_of
from keel_airflow.channels.connections import SMTP_CONN_ID, SMTP_URL, sender_address, smtp_connection
from keel_airflow.channels.failures import failure

if TYPE_CHECKING:
    from email.message import EmailMessage

    from airflow.sdk import Connection

    from keel.alerts.records import Answer, Delivery, Message

log = logging.getLogger(__name__)

OK, FORWARDED = 250, 251
PERMANENT = 500
"""Replies from here on are final (RFC 5321, 4.2.1)."""


class OneMailHook(SmtpHook):
    """The provider's hook, with its TLS and login, for a mail that is built already, to one recipient.

    The provider tries several times without a pause, and waits 30 seconds for each answer. Here a try is one try: the
    outbox has the pauses.

    :param connection: the mail server
    """

    smtp_retry_limit = 0

    def __init__(self, connection: Connection) -> None:
        super().__init__(smtp_conn_id=connection.conn_id)
        self._given = connection

    def get_connection(self, conn_id: str) -> Any:  # type: ignore[override]
        """Return the mail server, which need not be one of Airflow's connections."""
        return self._given

    @property
    def timeout(self) -> int:
        """Seconds for each answer: the connection's, else less than a delivery is leased for."""
        return int(self._given.extra_dejson.get("timeout", TIMEOUT))

    def deliver(self, mail: EmailMessage, *, sender: str, to: str) -> str:
        """Send a mail, and return what the server said at its end.

        Step by step, because `smtplib.SMTP.sendmail` returns no word of the server, which names the mail in its queue.
        """
        client = cast("smtplib.SMTP", self._smtp_client)
        client.ehlo_or_helo_if_needed()
        content = bytes(mail)
        options = [f"size={len(content)}"] if client.does_esmtp and client.has_extn("size") else []
        if not (sender + to).isascii():
            if not client.has_extn("smtputf8"):
                raise smtplib.SMTPNotSupportedError(f"the server takes no address that is not ASCII, such as {to}")
            options += ["SMTPUTF8", "BODY=8BITMIME"]
            client.command_encoding = "utf-8"
        code, said = client.mail(sender, options)
        if code != OK:
            raise smtplib.SMTPSenderRefused(code, said, sender)
        code, said = client.rcpt(to)
        if code not in (OK, FORWARDED):
            raise smtplib.SMTPRecipientsRefused({to: (code, said)})
        code, said = client.data(content)
        if code != OK:
            raise smtplib.SMTPDataError(code, said)
        try:
            client.quit()
        except (smtplib.SMTPException, OSError):
            log.debug("the mail server accepted the mail, and then went", exc_info=True)
        return f"{code} {_text(said)}"


class EmailSender:
    """Sends a message as a mail through the connection ``smtp_default``, else through ``KEEL_SMTP_URL``."""

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        """Send the mail. Mail programs thread it by its own headers, so ``earlier`` is not needed.

        Raises
        ------
        NoConnection
            There is no mail server.

        """
        from keel.alerts.channels.email import build

        try:
            smtp = smtp_connection()
        except ConfigError as error:
            return refused(str(error), is_final=True)
        if smtp is None:
            raise NoConnection(f"neither the Airflow connection {SMTP_CONN_ID!r} nor the variable {SMTP_URL} is set")
        sender = sender_address(smtp)
        mail = build(message, sender=sender, to=delivery.recipient, now=datetime.now(UTC))
        return mail_answer(smtp, mail, sender=sender, to=delivery.recipient)


def mail_answer(smtp: Connection, mail: EmailMessage, *, sender: str, to: str) -> Answer:
    """Send a mail, and return what became of it. A fault of the server or the way to it is an answer."""
    secrets = secrets_of(smtp)
    if not smtp.host:
        return refused(f"the connection {smtp.conn_id!r} has no host, which must be the mail server", is_final=True)
    where = f"{smtp.host}:{smtp.port}"
    try:
        hook = OneMailHook(smtp)
        with hook:
            return accepted(hook.deliver(mail, sender=sender, to=to), secrets)
    except smtplib.SMTPRecipientsRefused as error:
        code, said = error.recipients[to]
        return _reply("recipient refused", code, said, secrets)
    except smtplib.SMTPSenderRefused as error:
        return _reply(f"sender {sender} refused", error.smtp_code, error.smtp_error, secrets)
    except smtplib.SMTPAuthenticationError as error:
        return _reply("wrong credentials", error.smtp_code, error.smtp_error, secrets)
    except smtplib.SMTPNotSupportedError as error:
        return refused(f"{where}: {error}", secrets, is_final=True)
    except smtplib.SMTPResponseException as error:
        return _reply("mail refused", error.smtp_code, error.smtp_error, secrets)
    except Exception as error:
        return failure(error, secrets, where=where)


def _reply(what: str, code: int, said: bytes | str, secrets: Sequence[str]) -> Answer:
    return refused(f"{what}: {code} {_text(said)}", secrets, is_final=code >= PERMANENT)


def _text(said: bytes | str) -> str:
    return redacted(said.decode(errors="replace") if isinstance(said, bytes) else said, ())

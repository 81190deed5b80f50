"""A message as a mail to one recipient: plain text, the same as HTML, and within that at most one picture.

One builder makes what a mail server receives and what lies in the outbox. The picture is a part of the mail that the
HTML refers to by its Content-ID: mail programs block pictures of other servers and ``data:`` addresses.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING

from keel.alerts.channels.email_values import values
from keel.alerts.channels.templates import render

if TYPE_CHECKING:
    from keel.alerts.records import Message
    from keel.monitoring.records import MessagePicture

log = logging.getLogger(__name__)

READABLE = policy.default.clone(cte_type="8bit")
TRANSPORT = policy.SMTP.clone(cte_type="7bit")
"""ASCII in lines that every mail server accepts."""
COLOURS = ("reference", "window")
"""What grey and blue stand for in a picture."""
PREFIX = "[Keel] "
MOST_REFERENCES = 20
"""Earlier messages that a mail names, beside the first: servers refuse headers without an end."""
DOMAIN = "keel.localhost"
"""Of the ids in a mail; no mail goes there."""


def build(message: Message, *, sender: str, to: str, now: datetime, readable: bool = False) -> EmailMessage:
    """Return a message as a mail to one recipient. The same message at the same time is the same mail, byte for byte.

    readable: whether the text part is readable in a file, without a mail program. A mail server needs ASCII.

    A picture that cannot be drawn is logged and left out.
    """
    key = hashlib.sha256(f"{message.message_id}\n{to}".encode()).hexdigest()[:12]
    mail = EmailMessage(READABLE if readable else TRANSPORT)
    mail["Subject"] = PREFIX + message.subject
    mail["From"] = sender
    mail["To"] = to
    mail["Date"] = format_datetime(now)
    _add_thread(mail, message, to)
    picture = draw(message.picture)
    source = f"picture.{key}@{DOMAIN}"
    given = values(message, picture=f"cid:{source}" if picture else None)
    mail.set_content(render("email.txt.j2", **given), cte="8bit" if readable else "quoted-printable")
    mail.add_alternative(render("email.html.j2", **given), subtype="html", cte="quoted-printable")
    mail.set_boundary(f"keel-alternative-{key}")
    if picture:
        *_, page = mail.iter_parts()
        assert isinstance(page, EmailMessage)
        page.add_related(picture, "image", "png", cid=f"<{source}>", filename="report.png", disposition="inline")
        page.set_boundary(f"keel-related-{key}")
    return mail


def _add_thread(mail: EmailMessage, message: Message, to: str) -> None:
    """Add what mail programs thread and filter by, and what keeps holiday answers away."""
    mail["Message-ID"] = mail_id(message.message_id, to)
    if message.references:
        mail["In-Reply-To"] = mail_id(message.references[-1], to)
        named = (*message.references[:1], *message.references[1:][-MOST_REFERENCES:])
        mail["References"] = " ".join(mail_id(each, to) for each in named)
    name = message.model or "all-models"
    mail["List-Id"] = f"<{name.replace('_', '-')}.{DOMAIN}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Keel-Model"] = message.model or "-"
    mail["X-Keel-Severity"] = str(message.severity)
    mail["X-Keel-Topic"] = message.topic


def mail_id(message_id: str, to: str) -> str:
    """Return the Message-ID of a message to one recipient: each recipient's mail is a mail of its own."""
    return f"<{message_id}.{hashlib.sha256(to.encode()).hexdigest()[:12]}@{DOMAIN}>"


def draw(picture: MessagePicture | None) -> bytes | None:
    """Return a message's picture as PNG; None for none, and for one that cannot be drawn: the mail matters more."""
    if picture is None:
        return None
    try:
        from keel.reports.charts.plain import from_plain
        from keel.reports.charts.png import png
        from keel.reports.charts.specs import Categories, Histogram

        chart = from_plain(picture.chart)
        legend = COLOURS if isinstance(chart, Histogram | Categories) else None
        title = chart.name if isinstance(chart, Histogram | Categories) else ""
        return png(chart, description=picture.sentence, title=title, legend=legend)
    except Exception:
        log.warning("the picture of the message could not be drawn", exc_info=True)
        return None

"""A message as a mail: plain text, the same as HTML, and within that at most one picture.

One builder makes what a mail server receives and what lies in the outbox. The picture is a part of the mail that the
HTML refers to by its Content-ID: mail programs block pictures of other servers and ``data:`` addresses.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING

from keel.alerts.mail_html import render

if TYPE_CHECKING:
    from keel.monitoring.records import Message, MessagePicture

log = logging.getLogger(__name__)

READABLE = policy.default.clone(cte_type="8bit")
TRANSPORT = policy.SMTP.clone(cte_type="7bit")
"""ASCII in lines that every mail server accepts."""
COLOURS = ("reference", "window")
"""What grey and blue stand for in a picture."""


def build(message: Message, *, sender: str, to: Sequence[str], now: datetime, readable: bool = False) -> EmailMessage:
    """Return a message as a mail. The same message at the same time is the same mail, byte for byte.

    readable: whether the text part is readable in a file, without a mail program. A mail server needs ASCII.

    A picture that cannot be drawn is logged and left out.
    """
    mail = EmailMessage(READABLE if readable else TRANSPORT)
    mail["Subject"] = message.subject
    mail["From"] = sender
    mail["To"] = recipients(to)
    mail["Date"] = format_datetime(now)
    key = identity(message)
    picture = draw(message.picture)
    source = f"picture.{key}@keel.localhost"
    mail.set_content(message.text, cte="8bit" if readable else "quoted-printable")
    mail.add_alternative(
        render(message, picture=f"cid:{source}" if picture else None), subtype="html", cte="quoted-printable"
    )
    mail.set_boundary(f"keel-alternative-{key}")
    if picture:
        *_, page = mail.iter_parts()
        assert isinstance(page, EmailMessage)
        page.add_related(picture, "image", "png", cid=f"<{source}>", filename="report.png", disposition="inline")
        page.set_boundary(f"keel-related-{key}")
    return mail


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


def identity(message: Message) -> str:
    """Return an id that the same message always has."""
    return hashlib.sha256(f"{message.subject}\n{message.text}".encode()).hexdigest()[:8]


def recipients(emails: Sequence[str]) -> str:
    """Return the value of a To: header; mails without an addressee say so.

    >>> recipients([])
    'undisclosed-recipients:;'
    """
    return ", ".join(emails) or "undisclosed-recipients:;"

"""Write mails as ``.eml`` files into the outbox, where no mail server is configured."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.monitoring.records import Message


def write_eml(folder: Path | str, message: Message, *, sender: str, now: datetime) -> Path:
    """Write a message as a file that any mail program opens, and return its path. The same message is one file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = sender
    mail["To"] = recipients(message.email)
    mail["Date"] = format_datetime(now)
    mail.set_content(message.text, cte="8bit")  # readable without a mail program
    identity = hashlib.sha256(f"{message.subject}\n{message.text}".encode()).hexdigest()[:8]
    earlier = next(folder.glob(f"*-{identity}.eml"), None)
    if earlier:
        return earlier
    path = folder / f"{now:%Y%m%dT%H%M%S}-{identity}.eml"
    partial = path.with_suffix(".partial")
    partial.write_bytes(bytes(mail))
    os.replace(partial, path)  # a reader never sees half a mail
    return path


def recipients(emails: Sequence[str]) -> str:
    """Return the value of a To: header; mails without an addressee say so.

    >>> recipients([])
    'undisclosed-recipients:;'
    """
    return ", ".join(emails) or "undisclosed-recipients:;"

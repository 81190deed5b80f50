"""The outbox: mails as ``.eml`` files, where no mail server is configured."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from keel.alerts.messages.decision import recipients


def write_eml(folder: Path | str, message: Mapping[str, Any], *, sender: str, now: datetime) -> Path:
    """Write a message as one complete file that any mail program opens; the same message is one file.

    message: ``subject``, ``text`` and ``email`` (a list of addresses).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mail = EmailMessage()
    mail["Subject"] = message["subject"]
    mail["From"] = sender
    mail["To"] = recipients(message["email"])
    mail["Date"] = format_datetime(now)
    mail.set_content(message["text"], cte="8bit")  # as people read it, also without a mail program
    identity = hashlib.sha256(f"{message['subject']}\n{message['text']}".encode()).hexdigest()[:8]
    earlier = next(folder.glob(f"*-{identity}.eml"), None)
    if earlier:
        return earlier
    path = folder / f"{now:%Y%m%dT%H%M%S}-{identity}.eml"
    partial = path.with_suffix(".partial")
    partial.write_bytes(bytes(mail))
    os.replace(partial, path)  # a reader never sees half a mail
    return path

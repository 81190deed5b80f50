"""Write mails as ``.eml`` files into the outbox, where no mail server is configured."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from keel.alerts.mail import build, identity

if TYPE_CHECKING:
    from keel.monitoring.records import Message


def write_eml(folder: Path | str, message: Message, *, sender: str, now: datetime) -> Path:
    """Write a message as a file that any mail program opens, and return its path. The same message is one file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    key = identity(message)
    earlier = next(folder.glob(f"*-{key}.eml"), None)
    if earlier:
        return earlier
    mail = build(message, sender=sender, to=message.email, now=now, readable=True)
    path = folder / f"{now:%Y%m%dT%H%M%S}-{key}.eml"
    partial = path.with_suffix(".partial")
    partial.write_bytes(bytes(mail))
    os.replace(partial, path)  # a reader never sees half a mail
    return path

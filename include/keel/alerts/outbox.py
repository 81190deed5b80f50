"""Write mails as ``.eml`` files into the outbox, where no mail server is configured, and where a channel fails."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from keel.alerts.channels import email
from keel.alerts.records import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

    from keel.alerts.records import Delivery, Message

NOBODY = "undisclosed-recipients:;"
"""What a mail without an addressee says."""
HEADER = "X-Keel-Channel"
"""In a mail that was meant for another channel: which, and for whom."""


class EmlSender:
    """Delivers into a folder: a file for each recipient, which any mail program opens.

    folder: made where it is missing. sender: the address in ``From``.
    """

    def __init__(self, folder: Path | str, sender: str) -> None:
        self.folder = Path(folder)
        self.sender = sender

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        """Write a message for one recipient. The same delivery is the same file, however often it is sent."""
        path = self.folder / f"{message.at:%Y%m%dT%H%M%S}-{delivery.delivery_id[:12]}.eml"
        try:
            if not path.exists():
                _write(path, self._mail(message, delivery))
        except OSError as error:
            return Answer(accepted=False, detail=f"the outbox {self.folder} cannot be written: {error.strerror}")
        return Answer(accepted=True, detail=f"written to the outbox as {path.name}", reference={"file": path.name})

    def _mail(self, message: Message, delivery: Delivery) -> EmailMessage:
        is_mail = delivery.channel == "email"
        made = email.build(
            message, sender=self.sender, to=delivery.recipient if is_mail else NOBODY, now=message.at, readable=True
        )
        if not is_mail:
            made[HEADER] = f"{delivery.channel} {delivery.recipient}".strip()
        return made


def _write(path: Path, made: EmailMessage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")  # two channels may write the same file at once
    partial.write_bytes(bytes(made))
    os.replace(partial, path)  # a reader never sees half a mail

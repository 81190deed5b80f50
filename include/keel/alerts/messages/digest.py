"""The message that tells together what could wait: warnings of a day or a week, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.base import line
from keel.alerts.messages.words import ranked, sentence_of, severity_of
from keel.alerts.records import ALL_MODELS, Message

if TYPE_CHECKING:
    from keel.alerts.records import Notice
    from keel.config import ModelConfig


def compose_digest(
    notices: Mapping[str, Notice], *, configs: Mapping[str, ModelConfig], message_id: str, now: datetime
) -> Message:
    """Compose one message about the entries that waited, of one model or of several.

    notices: by model, each with at least one entry. An entry that is over has the change ``resolved``.
    configs: of these models, where they can be read.
    """
    news = tuple(each for notice in notices.values() for each in notice.news)
    models = list(notices)
    return Message(
        message_id=message_id,
        model=models[0] if len(models) == 1 else ALL_MODELS,
        topic="digest",
        severity=severity_of(news),
        subject=f"{', '.join(models)}: digest",
        at=now,
        happened=sentence_of(ranked(news)[0].alert),
        alerts=tuple(map(line, ranked(news))),
    )

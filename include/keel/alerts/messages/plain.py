"""The message that takes the place of one that could not be composed: what happened, and nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages import base
from keel.alerts.messages.words import ranked, sentence_of
from keel.alerts.records import Change, Message, News, Notice

if TYPE_CHECKING:
    from keel.config import ModelConfig

MOST = 10
"""Sentences."""
TODO = "See keel alerts list. This message is plain because the usual one could not be composed; the log says why."


def plain(config: ModelConfig | None, notice: Notice, *, now: datetime) -> Message:
    """Compose a message of the sentences of its news. config: None for what concerns no single model."""
    told = [_sentence(each) for each in ranked(notice.news)]
    more = (f"And {len(told) - MOST} more: see keel alerts list.",) if len(told) > MOST else ()
    return base.message(
        config, notice, subject=told[0], happened=told[0], hurts=(*told[1:MOST], *more), todo=(TODO,), now=now
    )


def _sentence(news: News) -> str:
    sentence = sentence_of(news.alert)
    return f"Over: {sentence}" if news.change is Change.RESOLVED else sentence

"""The message that tests a channel: it looks as one about a check does, and says that it is none."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.base import known, owner
from keel.alerts.records import ALL_MODELS, Message, Table, message_identity
from keel.config import Severity
from keel.monitoring.records import MessagePicture
from keel.reports.charts.plain import to_plain
from keel.reports.charts.specs import Histogram

if TYPE_CHECKING:
    from keel.config import ModelConfig

BINS = 24


def compose_test(config: ModelConfig | None, *, channel: str, now: datetime) -> Message:
    """Compose a sample, which says that it is one. config: None for no single model."""
    model = config.model if config else ALL_MODELS
    return Message(
        message_id=message_identity("test", model, channel, now.isoformat()),
        model=model,
        topic="test",
        severity=Severity.INFO,
        subject=f"{model or 'Keel'}: test of the channel {channel}",
        at=now,
        happened=f"This is a test of the channel {channel}. Nothing has happened.",
        hurts=("No: the numbers below are examples, and about no model.",),
        done=("Keel sent this message, because a person ran keel alerts test.",),
        todo=("Nothing to do. If you can read this, alerts arrive here.",),
        runbook=config.alerts.runbook if config else None,
        facts=known({"Model": owner(config)}),
        evidence=(
            Table(
                title="Example of a table",
                head=("Column", "Status", "Impact", "Measures"),
                rows=(
                    ("example_a", "drift", "+0.0123", "PSI 0.412 · KS 0.21"),
                    ("example_b", "changed", "+0.0021", "PSI 0.15 · χ² 88.4"),
                ),
                numeric=(2,),
            ),
        ),
        picture=_picture(),
    )


def _picture() -> MessagePicture:
    """Return an example of a picture: a bell, and the same a little to the right."""
    edges = tuple(float(number) for number in range(BINS + 1))
    reference, window = (_bell(middle) for middle in (9.0, 14.0))
    chart = Histogram("example_a", edges, reference, window)
    return MessagePicture(chart=to_plain(chart), sentence="example_a, an example: it has moved to the right.")


def _bell(middle: float) -> tuple[float, ...]:
    heights = [math.exp(-(((place + 0.5 - middle) / 4) ** 2)) for place in range(BINS)]
    return tuple(height / sum(heights) for height in heights)

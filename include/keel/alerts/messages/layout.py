"""The layout that all messages share: a subject line, facts in two columns, the addressees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keel.monitoring.records import Message, MessagePart, MessagePicture

if TYPE_CHECKING:
    from keel.config import ModelConfig


def to_people_of(
    config: ModelConfig,
    *,
    subject: str,
    lines: list[str],
    parts: Sequence[MessagePart] = (),
    picture: MessagePicture | None = None,
) -> Message:
    """Return a message to a model's people."""
    return Message(
        subject=f"[Keel] {subject}",
        text="\n".join(lines),
        email=tuple(config.alerts.email),
        slack=config.alerts.slack,
        parts=tuple(parts),
        picture=picture,
    )


def known(facts: Mapping[str, str | None]) -> dict[str, str]:
    """Return the facts that have a value."""
    return {label: value for label, value in facts.items() if value}


def aligned(facts: Mapping[str, str | None]) -> list[str]:
    """Return the facts that have a value, a line each, with the values in one column.

    >>> aligned({"Model": "taxi", "Runbook": None, "Run": "run-1"})
    ['Model        taxi', 'Run          run-1']
    """
    return [f"{label:<12} {value}" for label, value in facts.items() if value]

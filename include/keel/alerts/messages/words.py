"""What every message calls an alert of a kind: in a clause of a sentence, and in a word or two of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.alerts.records import Alert, Change, News
from keel.monitoring.performance_words import capitalised

if TYPE_CHECKING:
    from keel.config import Severity

ORDER = (Change.EVENT, Change.ESCALATED, Change.FIRING, Change.REMINDER, Change.RESOLVED)
"""What is told first, of the same severity."""


def ranked(news: tuple[News, ...]) -> list[News]:
    """Return news as a message tells them: what is not over before what is, the worst first, then what costs most."""
    return sorted(
        news,
        key=lambda each: (
            each.change is Change.RESOLVED,
            -each.alert.severity.level,
            ORDER.index(each.change),
            -each.alert.rank,
            each.alert.subject,
        ),
    )


def severity_of(news: tuple[News, ...]) -> Severity:
    """Return the severity of a message about news: what is over counts as what people know of it."""
    return max((_known(each) for each in news), key=lambda severity: severity.level)


def _known(news: News) -> Severity:
    alert = news.alert
    return (alert.told_severity or alert.severity) if news.change is Change.RESOLVED else alert.severity


def sentence_of(alert: Alert) -> str:
    """Return what happened, as a sentence with its full stop."""
    text = capitalised(alert.sentence) if alert.sentence else str(alert.kind).replace("_", " ").capitalize()
    return text if text.endswith((".", "!", "?")) else f"{text}."

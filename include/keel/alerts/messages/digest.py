"""The message that tells together what could wait: warnings of a day or a week, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.findings.outcome import WINDOW_END
from keel.alerts.messages.base import line
from keel.alerts.messages.tables import CELL_OF_DIGEST, MAX_ROWS, period, within, without_empty
from keel.alerts.messages.todo import accept
from keel.alerts.messages.words import clause, headline, ranked, severity_of, some, started, title
from keel.alerts.records import ALL_MODELS, Change, Message, State, Table
from keel.config import Kind
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.values.texts import shown

if TYPE_CHECKING:
    from keel.alerts.records import News, Notice
    from keel.config import ModelConfig

ALL = "To see every alert: `keel alerts list`"
TOP_MODELS = 5
"""Models that a sentence names."""


def compose_digest(
    notices: Mapping[str, Notice], *, configs: Mapping[str, ModelConfig], message_id: str, now: datetime
) -> Message:
    """Compose one message about the entries that waited, of one model or of several.

    notices: by model, each with at least one entry. An entry that is over has the change ``resolved``.
    configs: of these models, where they can be read.
    """
    news = tuple(each for notice in notices.values() for each in notice.news)
    models = list(notices)
    alone = models[0] if len(models) == 1 else None
    named = alone or f"{models[0]} and {numbers.count(len(models) - 1, 'other model')}"
    counts = {
        "still open": sum(each.change not in (Change.RESOLVED, Change.EVENT) for each in news),
        "over": sum(each.change is Change.RESOLVED for each in news),
    }
    config = configs.get(alone) if alone else None
    return Message(
        message_id=message_id,
        model=alone or ALL_MODELS,
        topic="digest",
        severity=severity_of(news),
        subject=", ".join([f"{named}: digest", *(f"{n} {words}" for words, n in counts.items() if n)]),
        at=now,
        happened=_happened(notices),
        hurts=tuple(_harm(notices)),
        todo=(_first(notices), *([] if _open(notices, Kind.PERFORMANCE) else accept(ranked(news)))),
        runbook=config.alerts.runbook if config else None,
        facts={f"Owner of {model}": configs[model].owner for model in models if model in configs},
        evidence=within((_table(model, notice, alone is not None) for model, notice in notices.items()), MAX_ROWS),
        alerts=tuple(map(line, ranked(news))),
    )


def _happened(notices: Mapping[str, Notice]) -> str:
    """Return the worst of one model in a sentence, or how much there is of several."""
    if len(notices) == 1:
        [notice] = notices.values()
        return f"{capitalised(headline(notice.news))}."
    total = sum(len(notice.news) for notice in notices.values())
    names = some([f"{model} ({len(notice.news)})" for model, notice in notices.items()], TOP_MODELS)
    return f"{numbers.count(total, 'alert')} of {numbers.count(len(notices), 'model')} could wait: {names}."


def _harm(notices: Mapping[str, Notice]) -> list[str]:
    """Return whether any of these models is known to do worse: alerts about that are told at once, not here."""
    worse, blind = _open(notices, Kind.PERFORMANCE), _open(notices, Kind.LABELS_MISSING)
    found = []
    if worse:
        found.append(f"Yes: predictions of {', '.join(worse)} are worse than on the holdout.")
    if blind:
        found.append(f"Not known for {', '.join(blind)}: labels are missing.")
    return found or ["No alert about performance is open."]


def _first(notices: Mapping[str, Notice]) -> str:
    """Return what to see to first: what is an error is told at once, not here, and may be open still."""
    urgent = [
        f"{title(each)} ({model})"
        for model, notice in notices.items()
        for each in notice.open_alerts
        if each.severity.is_trouble and each.state is not State.PENDING
    ]
    return f"See first to the errors that are open: {some(urgent)}. {ALL}" if urgent else f"Nothing is urgent. {ALL}"


def _open(notices: Mapping[str, Notice], kind: Kind) -> list[str]:
    return [model for model, notice in notices.items() if any(each.kind is kind for each in notice.open_alerts)]


def _table(model: str, notice: Notice, is_alone: bool) -> Table:
    rows = tuple(_row(each) for each in ranked(notice.news))
    head = ("What", "When", "Impact", "What was found")
    return without_empty(Table(title="" if is_alone else model, head=head, rows=rows, numeric=(2,)))


def _row(news: News) -> tuple[str, str, str, str]:
    alert = news.alert
    cost = alert.evidence.get("impact")
    impact = numbers.signed(cost) if isinstance(cost, int | float) else ""
    if news.change is Change.RESOLVED:
        return title(alert), period(alert), impact, f"over: {alert.resolution}" if alert.resolution else "over"
    began = numbers.time(alert.first_seen.replace(minute=0))
    # a retraining that a person asked for is seen by the clock, and is about data of its own time
    happened = numbers.time(alert.evidence[WINDOW_END]) if WINDOW_END in alert.evidence else began
    when = happened if news.change is Change.EVENT else f"since {began}"
    return title(alert), when, impact, _said(news)


def _said(news: News) -> str:
    text = news.alert.sentence or clause([news.alert])
    return shown(started(text, news.alert.subject), CELL_OF_DIGEST)

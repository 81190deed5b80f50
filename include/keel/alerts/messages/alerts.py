"""The message about alerts of whatever kind, from these alone: overdue checks, channels, reminders, silences' ends."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.base import known, links, message, owner
from keel.alerts.messages.tables import MAX_ROWS, news_table, over, within
from keel.alerts.messages.todo import by_kind
from keel.alerts.messages.words import NOTHING, began_anew, current, headline, ranked, sentence_of, worst
from keel.alerts.records import Change
from keel.config import Kind
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.alerts.records import Alert, Message, News, Notice
    from keel.config import ModelConfig

HARM: dict[Kind, str] = {
    Kind.LEDGER_BROKEN: "Not known: until the cause is found, the history of versions cannot be trusted.",
    Kind.CHECK_OVERDUE: "Not known: a fault, a drift or harm since the last check is not seen. It is not an all clear.",
    Kind.CHANNEL: "Not to the model. Messages that went this way did not arrive by it.",
    Kind.LOST_RECORDS: "Perhaps: what is not in the store is not checked, and no version learns from it.",
    Kind.NO_PREDICTIONS: "Not known: nothing was checked. A fault or a drift is not seen without predictions.",
    Kind.LABELS_MISSING: "Not known: without labels harm is not seen.",
    Kind.PERFORMANCE: "Yes: predictions are worse than those of the holdout.",
    Kind.OUT_OF_BAND: "Not known: this version did not pass Keel's comparison for this place.",
}
"""Whether it does harm, by kind, where no report of a check says more."""


def compose_alerts(config: ModelConfig | None, notice: Notice, *, now: datetime, run_url: str | None = None) -> Message:
    """Compose the message about news of any kind. config: None for what concerns no single model."""
    news = ranked(notice.news)
    words = headline(news)
    left = current(news)
    is_alone = len(left) == 1
    is_known = any(each.change in (Change.REMINDER, Change.ESCALATED, Change.ACKNOWLEDGED) for each in left)
    said = sentence_of(left[0].alert) if is_alone else ""
    is_short = bool(said) and ". " not in said and not is_known
    return message(
        config,
        notice,
        subject=worst(news),
        happened=said if is_short else f"{capitalised(words)}.",
        hurts=(*harm(left), *([said] if said and not is_short else [])),
        done=tuple(unanswered(left) if left else resolutions(news)),
        todo=tuple(by_kind(news)) or (f"{NOTHING}.",),
        facts=known({"Model": owner(config)}),
        evidence=within([None if is_alone else news_table(news), over(news)], MAX_ROWS),
        verbatim=_text_of(left[0].alert, "error") or "" if is_alone else "",
        links=links(run_url=run_url) | (_links_of(left[0].alert) if is_alone else {}),
        now=now,
    )


def _links_of(alert: Alert) -> dict[str, str]:
    return known({"Answer": _text_of(alert, "answer_url"), "Log": _text_of(alert, "log_url")})


def _text_of(alert: Alert, name: str) -> str | None:
    """Return a text that its source has put into an alert's evidence."""
    found = alert.evidence.get(name)
    return found if isinstance(found, str) else None


def harm(news: Sequence[News]) -> list[str]:
    """Return whether news do harm, by what is known of their kinds."""
    return list(dict.fromkeys(HARM[each.alert.kind] for each in news if each.alert.kind in HARM))


def resolutions(news: Sequence[News]) -> list[str]:
    """Return why what is over is over, each reason once."""
    found = Counter(each.alert.resolution for each in news if each.change is Change.RESOLVED and each.alert.resolution)
    return [
        f"{'The alert was' if times == 1 else f'{times} alerts were'} closed: {reason.rstrip('.')}."
        for reason, times in found.items()
    ]


def unanswered(news: Sequence[News]) -> list[str]:
    """Return for how long nobody has answered what people are reminded of."""
    found = [each.alert for each in news if each.change is Change.REMINDER and not began_anew(each)]
    if not found:
        return []
    since = numbers.time(min(each.first_seen for each in found))
    return [f"It lasts since {since}, and no person has acknowledged it."]

"""The message about findings of the maintenance, which no decision stands behind."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.alerts import harm, resolutions
from keel.alerts.messages.base import known, links, message, owner
from keel.alerts.messages.tables import MAX_ROWS, over, within
from keel.alerts.messages.todo import by_kind
from keel.alerts.messages.words import NOTHING, current, headline, ranked, worst
from keel.alerts.records import Table
from keel.ledger.wording import with_full_stop
from keel.monitoring.performance_words import capitalised
from keel.values.texts import shown

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig
    from keel.monitoring.records import ReconcileRecord

RECORDED = "It was recorded in the ledger. Nothing was changed."
KEPT = "The records were kept as dead letters, apart from the others."


def compose_findings(
    config: ModelConfig, notice: Notice, *, found: ReconcileRecord, now: datetime, run_url: str | None = None
) -> Message:
    """Compose the message about what `keel.rollout.reconcile` found."""
    news = ranked(notice.news)
    words = headline(news)
    first, *others = found.findings or (f"{capitalised(words)}.",)
    left = current(news)
    return message(
        config,
        notice,
        subject=worst(news),
        happened=with_full_stop(first) if len(found.findings) == 1 and left else f"{capitalised(words)}.",
        hurts=tuple(harm(left)),
        done=tuple(_done(found) if left else resolutions(news)),
        todo=tuple(by_kind(news)) or (f"{NOTHING}.",),
        facts=known({"Model": owner(config)}),
        evidence=within([_findings(tuple(found.findings)) if others and left else None, over(news)], MAX_ROWS),
        links=links(run_url=run_url),
        now=now,
    )


def _done(found: ReconcileRecord) -> list[str]:
    changed = len(found.findings) > len(found.undelivered)
    return [*([RECORDED] if changed else []), *([KEPT] if found.undelivered else [])]


def _findings(sentences: tuple[str, ...]) -> Table:
    return Table(title="Findings", head=("Finding",), rows=tuple((shown(each),) for each in sentences))

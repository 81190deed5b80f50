"""What the reader of a message should do, in sentences. A command stands between backticks."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from keel.alerts.messages.words import BEFORE, NOTHING
from keel.alerts.records import Change
from keel.config import Kind
from keel.reports import numbers
from keel.reports.check import to_do
from keel.reports.check.words import Trouble, trouble
from keel.store.quarantines import DATA, LABELS
from keel.values.texts import NAME, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from keel.alerts.findings.quality import Quarantine
    from keel.alerts.records import News
    from keel.reports.check import CheckData

ID_SHOWN = 12
"""Characters of an alert's id that a command needs."""


def after_check(data: CheckData, news: Sequence[News]) -> list[str]:
    """Return what to do after a check, in the words of its page, and how to answer the alerts themselves."""
    if data.decision is not None and data.decision.reason is not None and trouble(data) is Trouble.NOT_STORED:
        outcome = data.outcome.outcome if data.outcome else ""
        if outcome not in ("promoted", "staged"):  # a person asked for it, and no check found anything
            return [f"{NOTHING}.", *answer(news)]
    what = to_do(data)
    first = f"{what.value}: {'; '.join(what.lines)}." if what.lines else f"{what.value}."
    steps = [command(step.text.replace(" above.", "."), step.command) for step in what.steps]
    is_said = what.value == "Check the inputs" and bool(steps)  # the step names them
    return [*([] if is_said else [first]), *steps, *_accept(data, news), *answer(news)]


def command(text: str, line: str) -> str:
    """Return a step with its command.

    >>> command("To see the monitors:", "keel live taxi")
    'To see the monitors: `keel live taxi`'
    """
    return f"{text} `{line}`" if line else text


def _accept(data: CheckData, news: Sequence[News]) -> list[str]:
    """Return how to accept a drift that does no harm; none where harm is shown, as the drift may be its cause."""
    return [] if trouble(data) is Trouble.HARM else accept(news)


def accept(news: Sequence[News]) -> list[str]:
    """Return how to accept a drift as the new normal; none without a drift since the training."""
    found = next((each.alert for each in news if _is_new_drift(each)), None)
    if found is None:
        return []
    line = f"keel alerts accept {found.model} {shlex.quote(shown(found.subject, NAME))} --reason …"
    return [command("If a change is the new normal, accept it, and only a further one is told:", line)]


STRETCHES = 3
"""Quarantined stretches that a message names, each with its command."""
_ABOUT = {Kind.DATA_QUALITY: DATA, Kind.LABEL_QUALITY: LABELS}


def release(news: Sequence[News], quarantines: Sequence[Quarantine]) -> list[str]:
    """Return what is still quarantined of the faults that are over or told again, with the commands that release it.

    quarantines: of the model, in order of time.
    """
    since: dict[str, datetime] = {}
    for each in news:
        if each.change in (Change.RESOLVED, Change.REMINDER) and (about := _ABOUT.get(each.alert.kind)):
            since[about] = min(each.alert.first_seen, since.get(about, each.alert.first_seen))
    stretches = [(about, *stretch) for about, begin in since.items() for stretch in _held(quarantines, about, begin)]
    model = news[0].alert.model
    steps = [
        command(
            f"The {about} of {numbers.span(start, end)} {'is' if about == DATA else 'are'} quarantined, until a person "
            f"releases {'it' if about == DATA else 'them'} as right:",
            f"keel quarantine release {model} --start {start:%Y-%m-%dT%H:%MZ} --end {end:%Y-%m-%dT%H:%MZ}",
        )
        for about, start, end in stretches[:STRETCHES]
    ]
    if more := len(stretches) - STRETCHES:
        steps += [command(f"To see the other {more}:", f"keel quarantine list {model}")] if more > 0 else []
    return steps


def _held(quarantines: Iterable[Quarantine], about: str, since: datetime) -> list[tuple[datetime, datetime]]:
    """Return the stretches that were quarantined since a time and not released, those that adjoin as one."""
    joined: list[tuple[datetime, datetime]] = []
    for each in quarantines:
        if each.about != about or each.is_released or each.decided_until < since:
            continue
        if joined and each.start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(each.end, joined[-1][1]))
        else:
            joined.append((each.start, each.end))
    return joined


def _is_new_drift(news: News) -> bool:
    alert = news.alert
    drifted = alert.kind is Kind.DATA_DRIFT and alert.subject and not alert.subject.endswith(BEFORE)
    return bool(drifted) and news.change is not Change.RESOLVED


def answer(news: Sequence[News]) -> list[str]:
    """Return how to take on what needs a person; none where nothing does."""
    urgent = [
        each.alert
        for each in news
        if each.change in (Change.FIRING, Change.ESCALATED, Change.REMINDER) and each.alert.severity.is_trouble
    ]
    if not urgent:
        return []
    what = "it" if len(urgent) == 1 else "the worst of them"
    line = f"keel alerts ack {urgent[0].alert_id[:ID_SHOWN]}"
    return [command(f"To let the others know that you see to {what}:", line)]


MEND_OTHERS = "Fix the cause, then clear the failed task, or start another run."
"""For DAGs of which is not known whether running them again is safe."""
BY_KIND: dict[Kind, tuple[tuple[str, str], ...]] = {
    Kind.APPROVAL: (("Approve or decline it in Airflow, at the link Answer.", ""),),
    Kind.PIPELINE_FAILURE: ((MEND_OTHERS, ""),),
    Kind.LEDGER_BROKEN: (
        ("Promote and roll back nothing until the cause is known. To see which rows do not fit:", "keel ledger verify"),
        ("Find out who can write to the store, and compare it with a signed checkpoint: docs/ledger.md.", ""),
    ),
    Kind.CHECK_OVERDUE: (
        (
            "See whether Airflow's scheduler runs, and whether the DAG is paused:",
            "airflow dags details {model}.drift_check",
        ),
        ("To check now:", "airflow dags trigger {model}.drift_check"),
    ),
    Kind.CHANNEL: (
        (
            "Mend the connection in Airflow, or the recipient. What waits is sent by itself then, within an hour. "
            "To test it:",
            "keel alerts test --channel {channel}",
        ),
        (
            "What was refused for good, or has waited for three days, stays in the outbox. To send it again:",
            "keel alerts send --retry {delivery}",
        ),
    ),
    Kind.LOST_RECORDS: (
        ("The records are kept as dead letters in the service's spool, and are not in the store: docs/serving.md.", ""),
    ),
    Kind.OUT_OF_BAND: (
        (
            "If the change was not meant, undo it by a promotion or a rollback. The ledger has it:",
            "keel ledger show {model}",
        ),
    ),
    Kind.LIVE_ALARM: (("To see the monitors:", "keel live {model}"),),
    Kind.NO_PREDICTIONS: (("See whether the scoring service answers:", "curl http://127.0.0.1:8090/health"),),
    Kind.LABELS_MISSING: (("Send the labels that are due:", "keel feedback {model} labels.csv"),),
    Kind.ROLLBACK: (
        ("Find out what was wrong with the version before another one is trained:", "keel ledger show {model}"),
    ),
}
"""Steps for alerts that come without the records of a check, with their commands."""


AFTER: dict[Kind, tuple[tuple[str, str], ...]] = {
    Kind.LOST_RECORDS: (
        (
            "No more was lost. What was lost before is in no store: only the dead letters in the service's spool have "
            "it, which Keel never deletes: docs/serving.md.",
            "",
        ),
    ),
}
"""What is left to do after the end."""


def by_kind(news: Sequence[News]) -> list[str]:
    """Return what to do about news of any kind, over or not, each step once; the page of a check says more."""
    steps: dict[str, None] = {}
    for each in news:
        is_over = each.change is Change.RESOLVED
        for text, line in (AFTER if is_over else BY_KIND).get(each.alert.kind, ()):
            names = {"model": each.alert.model, "channel": each.alert.subject.partition(":")[0]}
            names |= {"delivery": each.alert.evidence.get("delivery", "DELIVERY")}
            steps[command(text, line.format(**names))] = None
    return [*steps, *answer(news)]

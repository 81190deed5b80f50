"""The evidence of a message, as tables of at most ten rows together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.alerts.messages.words import BEFORE, current, ranked, sentence_of, title
from keel.alerts.records import Alert, Change, News, Table
from keel.config import Kind
from keel.monitoring.accepted import accepted_sentence
from keel.monitoring.alarm_words import evidence_in_words, name_of
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.column_words import status_tag, summary
from keel.reports.metric_words import metric_name
from keel.values.texts import CELL, NAME, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from keel.monitoring.alarms import Judgement
    from keel.monitoring.records import (
        Outcome,
        StoredColumn,
        StoredDriftReport,
        StoredLabelsReport,
        StoredPerformanceReport,
        StoredQualityReport,
    )

MAX_ROWS = 10
"""Of all tables together."""
TOP_ROWS = 5
"""Of one table beside others."""
TOP_METRICS = 3
UNSEEN = " neither version has seen"
NOT_SHOWN = "and {} more"
CELL_OF_DIGEST = 160
"""Characters of a finding in a digest."""


def within(tables: Iterable[Table | None], most: int = TOP_ROWS) -> tuple[Table, ...]:
    """Return tables with at most `MAX_ROWS` rows together, and ``most`` in one; the first ones matter most.

    What is cut is counted.
    """
    found = list[Table]()
    for table in tables:
        left = MAX_ROWS - sum(len(each.rows) for each in found)
        if table is not None and (left or not table.rows):
            found.append(_top(table, min(left, most)))
    return tuple(found)


def _top(table: Table, limit: int) -> Table:
    cut = len(table.rows) - limit
    if cut <= 0:
        return table
    return table.model_copy(update={"rows": table.rows[:limit], "notes": (NOT_SHOWN.format(cut), *table.notes)})


def columns(drift: StoredDriftReport | None, news: Sequence[News], open_alerts: Sequence[Alert]) -> Table | None:
    """Return the columns that moved, by what that costs, with the time since which each is known to have."""
    if drift is None:
        return None
    told = [each.alert for each in current(news)]
    about = {each.subject for each in told}
    names = [name for name, column in drift.features.items() if column.severity == "drift" or name in about]
    if not names:
        return None
    since = _since([*open_alerts, *told])
    has_impact = any(drift.features[name].impact is not None for name in names)
    note = f"{drift.count} in {numbers.count(drift.n, 'prediction')}."
    if has_impact:
        note += " Impact is what the change costs by the losses on the holdout; above 0 is worse."
    note += accepted_sentence(drift)
    table = Table(
        title="Columns that have changed" + (", by what that costs" if has_impact else ""),
        head=("Column", "Status", "Since", "Impact", "Measures"),
        rows=tuple(_column(name, drift.features[name], since.get(name, "")) for name in names),
        numeric=(3,),
        notes=(note,),
    )
    return without_empty(table)


def _column(name: str, column: StoredColumn, since: str) -> tuple[str, ...]:
    """Return a row; that a feature has drifted is what the table is about, and not said again."""
    status = status_tag(column).text
    if status == "drift":
        status = "output" if column.role == "output" else ""
    impact = numbers.signed(column.impact) if column.impact is not None else ""
    return shown(name, NAME), status, since, impact, shown(summary(column), CELL)


def _since(open_alerts: Sequence[Alert]) -> dict[str, str]:
    """Return since when each column is known to have moved. A column without an alert has moved too little for one."""
    drifts = [each for each in open_alerts if each.kind in (Kind.DATA_DRIFT, Kind.PREDICTION_DRIFT)]
    newest = max((each.last_seen for each in drifts), default=None)
    return {
        each.subject: "new" if each.first_seen == newest else numbers.time(each.first_seen.replace(minute=0))
        for each in drifts
        if not each.subject.endswith(BEFORE)
    }


def faults(quality: StoredQualityReport | None) -> Table | None:
    """Return the faults in the form of the data."""
    if quality is None or not quality.findings:
        return None
    rows = tuple(
        (
            shown(each.column, NAME),
            each.status.replace("warn", "warning"),
            numbers.share(each.share),
            shown(capitalised(each.sentence), CELL),
        )
        for each in quality.findings
    )
    head = ("Column", "Status", "Rows", "Finding")
    return Table(title="Faults of the data", head=head, rows=rows, numeric=(2,))


def label_faults(labels: StoredLabelsReport | None) -> Table | None:
    """Return the faults of the labels."""
    if labels is None or not labels.findings:
        return None
    rows = tuple(
        (each.status.replace("warn", "warning"), numbers.span(each.start, each.end), capitalised(each.sentence))
        for each in labels.findings
    )
    return Table(title="Faults of the labels", head=("Status", "Time", "Finding"), rows=rows)


def comparison(outcome: Outcome | None) -> Table | None:
    """Return the two versions that were compared, side by side."""
    if (
        outcome is None
        or outcome.champion_value is None
        or outcome.challenger_value is None
        or outcome.champion is None
    ):
        return None
    metric = outcome.loss or metric_name(outcome.metric or "")
    old, new = numbers.alike(outcome.champion_value, outcome.challenger_value)
    improvement, least = numbers.signs(outcome.improvement, outcome.lower_bound)
    level = f" with {numbers.share(1 - outcome.level)} confidence" if outcome.level is not None else ""
    notes = [f"Improvement {improvement}, at least {least}{level}; it must exceed {numbers.number(outcome.margin)}."]
    if prior := outcome.prior_comparisons:
        used = numbers.count(prior, "earlier comparison")
        notes.append(f"{used} used rows of this holdout, so the bound is stricter.")
    when = numbers.span(outcome.holdout.start, outcome.holdout.end) if outcome.holdout else ""
    is_experiment = outcome.basis == "experiment"
    rows = numbers.count(outcome.n, "outcome" if is_experiment else "row") + ("" if is_experiment else UNSEEN)
    return Table(
        title=f"The comparison, on {rows}" + (f", {when}" if when else ""),
        head=("Version", capitalised(metric) if metric else "Mean"),
        rows=((f"champion, version {outcome.champion}", old), (f"challenger, version {outcome.challenger}", new)),
        numeric=(1,),
        notes=tuple(notes),
    )


def metrics(performance: StoredPerformanceReport | None) -> Table | None:
    """Return the metrics of the window beside those of the holdout."""
    if performance is None:
        return None
    rows = []
    for name, now in performance.current.items():
        then = performance.reference.get(name)
        if now.value is not None and then is not None and then.value is not None:
            rows.append((capitalised(metric_name(name)), *numbers.alike(now.value, then.value)))
    if not rows:
        return None
    title_ = f"Performance on {numbers.count(performance.n, 'label')}"
    if performance.window is not None:
        title_ += f", {numbers.span(performance.window.start, performance.window.end)}"
    return Table(title=title_, head=("Metric", "Now", "Holdout"), rows=tuple(rows[:TOP_METRICS]), numeric=(1, 2))


def alarms(judgements: Sequence[Judgement]) -> Table | None:
    """Return the live alarms that were open: about what, since when, how sure, and what the check made of them."""
    if not judgements:
        return None
    rows = tuple(
        (
            name_of(each.alarm),
            numbers.time(each.alarm.since),
            capitalised(evidence_in_words(each.alarm) or shown(each.alarm.sentence, CELL)),
            each.verdict.words,
        )
        for each in judgements
    )
    return Table(title="Live alarms", head=("About", "Since about", "Evidence", "Outcome"), rows=rows)


def over(news: Sequence[News]) -> Table | None:
    """Return what is over: what it was, from when to when, and why it ended."""
    found = [each for each in ranked(news) if each.change is Change.RESOLVED]
    if not found:
        return None
    rows = tuple(
        (
            title(each.alert),
            period(each.alert),
            numbers.duration(each.lasted),
            shown(capitalised(each.alert.resolution), CELL) if each.alert.resolution else "",
        )
        for each in found
    )
    return without_empty(Table(title="What is over", head=("What", "When", "Lasted", "Why"), rows=rows))


def without_empty(table: Table) -> Table:
    """Return a table without the columns in which no row says anything."""
    kept = [number for number in range(len(table.head)) if any(row[number] for row in table.rows)]
    return table.model_copy(
        update={
            "head": tuple(table.head[number] for number in kept),
            "rows": tuple(tuple(row[number] for number in kept) for row in table.rows),
            "numeric": tuple(place for place, number in enumerate(kept) if number in table.numeric),
        }
    )


def news_table(news: Sequence[News]) -> Table | None:
    """Return news of any kind, a row each: what, how severe, since when, and what was found."""
    found = current(ranked(news))
    if not found:
        return None
    rows = tuple(
        (
            title(each.alert),
            str(each.alert.severity),
            numbers.time(each.alert.first_seen),
            shown(sentence_of(each.alert), CELL),
        )
        for each in found
    )
    return Table(title="What is new", head=("What", "Severity", "Since", "Finding"), rows=rows)


def period(alert: Alert) -> str:
    """Return from when to when an alert was open."""
    end = alert.resolved_at or alert.last_seen
    return numbers.span(alert.first_seen.replace(minute=0), end.replace(minute=0))

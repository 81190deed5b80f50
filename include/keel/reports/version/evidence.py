"""What a model card says of a version's quality: metrics, live performance, limits, and its training data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from keel.ledger.wording import parse_utc
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.charts.specs import Level, Point, Trend
from keel.reports.metric_words import better, limit_of, metric_name
from keel.reports.page import Block, ColumnCard, ColumnCards, Figure, Items, Paragraph, Table, Tag

if TYPE_CHECKING:
    from keel.reports.version.data import TrainedColumn, VersionData

FEW = 100
"""Rows of a category, below which a version has hardly seen it."""
YEAR = timedelta(days=365)
"""Training rows of less do not cover every season."""
NAMED = 8
"""Names that a sentence lists; the others are counted."""


def metrics(data: VersionData) -> Iterator[Block]:
    """Yield the metrics on the version's own holdout."""
    found, holdout = data.reference.get("metrics") or {}, data.reference.get("holdout") or {}
    if not found:
        yield Paragraph("Its metrics are not known, because its files cannot be read.")
        return
    yield Paragraph(
        f"Measured on its holdout: {numbers.count(holdout.get('rows'), 'labelled row')} of "
        f"{numbers.span(holdout.get('start'), holdout.get('end'))}, which it was not trained on. "
        "The standard errors are those of independent rows."
    )
    rows = tuple(
        (
            metric_name(name),
            numbers.number(each.get("value")),
            "" if each.get("standard_error") is None else f"± {numbers.number(each['standard_error'], 2)}",
            better(name),
        )
        for name, each in found.items()
    )
    yield Table("Metrics on the holdout", ("Metric", "Value", "Error", ""), rows, (1, 2))


def expected(data: VersionData) -> tuple[float | None, float | None]:
    """Return the metric on the version's holdout, and the worst value that is tolerated; None where not known."""
    metric = data.config.performance.metric
    baseline: float | None = ((data.reference.get("metrics") or {}).get(metric) or {}).get("value")
    return baseline, limit_of(metric, baseline, data.config.performance.max_degradation)


def live(data: VersionData) -> Iterator[Block]:
    """Yield the performance on live labels over time."""
    if not data.series:
        yield Paragraph("No labels of its own live predictions have been measured.", quiet=True)
        return
    metric = data.config.performance.metric
    points = tuple(
        Point(part.start + (part.end - part.start) / 2, part.value, part.lower, part.upper, part.n)
        for part in data.series
    )
    baseline, limit = expected(data)
    named = ((baseline, f"holdout {numbers.number(baseline)}"), (limit, f"limit {numbers.number(limit)}"))
    levels = tuple(Level(value, label) for value, label in named if value is not None)
    name, n = metric_name(metric), sum(part.n for part in data.series)
    yield Figure(
        Trend(name, points, levels, label=f"version {data.version}"),
        f"{capitalised(name)} on {numbers.count(n, 'label')} of its own predictions, "
        f"{numbers.span(data.series[0].start, data.series[-1].end)}, with 95% intervals; {better(metric)}.",
    )


def limits(data: VersionData) -> Iterator[Block]:
    """Yield what the version was not trained on, and what has changed since."""
    found = [*_of_time(data), *_of_labels(data), *_of_columns(data.columns), *_of_drift(data)]
    if found:
        yield Items(tuple(found))


def _of_time(data: VersionData) -> Iterator[str]:
    trained = data.described["trained_on"]
    start, end = parse_utc(trained.get("start")), parse_utc(trained.get("end"))
    if start and end:
        text = f"Time: it was trained on {numbers.span(start, end)} alone."
        yield text if end - start >= YEAR else f"{text} What happens at other times of the year is new to it."


def _of_labels(data: VersionData) -> Iterator[str]:
    labels = data.reference.get("labels") or {}
    if labels.get("mean") is None:
        return
    if data.config.target.kind == "binary":
        n, share = labels.get("n") or 0, labels["mean"]
        rarer = min(share, 1 - share) * n
        yield (
            f"Classes: {numbers.share(share)} of its {numbers.count(n, 'label')}, holdout included, are positive; the "
            f"rarer class has about {numbers.count(rarer, 'row')}."
        )
    else:
        yield (
            f"Target: its labels have the mean {numbers.number(labels['mean'])} and the standard deviation "
            f"{numbers.number(labels.get('deviation'))}; it was not trained on values far beyond."
        )


def _of_columns(columns: tuple[TrainedColumn, ...]) -> Iterator[str]:
    for column in columns:
        few = [f"{name} ({rows:,})" for name, rows in column.categories if rows < FEW]
        if few:
            yield f"{column.name}: fewer than {FEW} training rows of {_listed(few)}."
    constant = [c.name for c in columns if c.kind == "numeric" and c.minimum is not None and c.minimum == c.maximum]
    if constant:
        yield f"Constant in training, so that it learned nothing of them: {_listed(constant)}."
    empty = [c.name for c in columns if c.missing == 1]
    if empty:
        yield f"Without any value in training: {_listed(empty)}."
    if any(c.kind == "numeric" for c in columns):
        yield "Numbers outside the ranges below, and categories that are not there, are new to it."


def _of_drift(data: VersionData) -> Iterator[str]:
    if data.drift is None:
        return
    names = data.drift.names("drift")
    until = numbers.time(data.drift_until)
    if names:
        yield f"Now: {data.drift.count} in the window until {until}: {_listed(names)}."
    else:
        yield f"Now: no feature has drifted in the window until {until}."


def _listed(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def training(data: VersionData) -> Iterator[Block]:
    """Yield the columns of the training rows, with their distributions."""
    if not data.columns:
        return
    rows = (data.reference.get("training") or {}).get("rows")
    yield Paragraph(
        f"{numbers.count(rows, 'labelled row')} of {numbers.count(len(data.columns), 'column')}, each with its "
        "distribution."
    )
    yield ColumnCards(tuple(map(_card, data.columns)), reference_label="", current_label="training rows")


def _card(column: TrainedColumn) -> ColumnCard:
    missing = f" {numbers.share(column.missing)} of the rows have no value." if column.missing else ""
    if column.kind == "numeric":
        summary = f"{numbers.number(column.minimum)} to {numbers.number(column.maximum)}"
        sentence = f"{column.name}: values from {summary}.{missing}"
    else:
        summary = numbers.count(len(column.categories), "category", "categories")
        most = f", most often {column.categories[0][0]}" if column.categories else ""
        sentence = f"{column.name}: {summary}{most}.{missing}"
    if column.missing:
        summary += f" · {numbers.share(column.missing)} missing"
    return ColumnCard(
        column.name, column.kind, "feature", Tag(column.kind), Figure(column.chart, sentence), "", summary
    )

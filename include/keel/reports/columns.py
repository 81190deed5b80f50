"""The columns of a drift report as cards: the worst first, each measure with what it means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keel.monitoring.accepted import accepted_words
from keel.monitoring.column_status import Severity
from keel.reports import numbers
from keel.reports.charts.specs import Sparkline
from keel.reports.column_words import figure_sentence, history_sentence, measures, status_tag, summary
from keel.reports.page import ColumnCard, ColumnCards, Figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from keel.monitoring.records import StoredColumn, StoredDriftReport
    from keel.reports.charts.specs import Chart


MAX_DECIMALS = 6
"""Of impacts."""


def column_cards(
    report: StoredDriftReport,
    charts: Mapping[str, Chart | None],
    *,
    histories: Mapping[str, Sequence[float | None]] | None = None,
    period: str = "checks",
    impact_unit: str = "",
    reference_label: str = "reference",
    current_label: str = "window",
) -> ColumnCards:
    """Return a card for every column of a drift report, ranked as the report ranks.

    Parameters
    ----------
    report
        The stored report; a live one is read with ``StoredDriftReport.from_dict(report.to_dict())``.
    charts
        Chart by column name; a column without one, or with None, has a card without a figure.
    histories
        PSI above chance by column name, the newest last; None where it was not measured.
    period
        What each of these is of, in the plural: ``checks``, ``days``.
    impact_unit
        What impacts are in, such as ``Brier score``.
    reference_label, current_label
        What a reader calls the two sides.

    """
    histories = histories or {}
    context = _Context(
        report.alpha,
        (report.psi_warn, report.psi_alert),
        period,
        (reference_label, current_label),
        _decimals(report.features.values()),
    )
    cards = [
        _card(name, column, charts.get(name), histories.get(name, ()), context)
        for name, column in ((name, report.features[name]) for name in ranked_names(report))
    ]
    with_impact = any(card.impact for card in cards)
    return ColumnCards(tuple(cards), reference_label, current_label, impact_unit if with_impact else "")


@dataclass(frozen=True)
class _Context:
    """What all cards of a report share."""

    alpha: float | None
    thresholds: tuple[float | None, float | None]
    """Of the PSI above chance: from the first a column has changed, from the second it drifts."""
    period: str
    labels: tuple[str, str]
    decimals: int
    """Of impacts, which are read beside each other."""


def _decimals(columns: Iterable[StoredColumn]) -> int:
    """Return the decimals that give the largest impact three digits, unless it is nothing but rounding."""
    largest = max((abs(column.impact) for column in columns if column.impact is not None), default=0.0)
    return min(2 - math.floor(math.log10(largest)), MAX_DECIMALS) if 0 < largest < math.inf else 0


def _impact(value: float | None, decimals: int) -> str:
    """Return an impact with its sign; what rounds to nothing has none.

    >>> _impact(0.01867, 4), _impact(-0.00001, 4), _impact(16.31, 1), _impact(None, 2)
    ('+0.0187', '0.0000', '+16.3', '')
    """
    if value is None:
        return ""
    text = f"{value:+,.{max(decimals, 0)}f}"
    return text.replace("-", numbers.MINUS) if text.strip("+-0.,") else text[1:]


def _reference(column: StoredColumn) -> tuple[str, ...]:
    """Return what a column was compared with where that is not the version's own reference, and what that hides."""
    accepted = column.accepted
    return (accepted_words(accepted), *accepted.limits) if accepted else ()


def ranked_names(report: StoredDriftReport) -> list[str]:
    """Return the names of a report's columns, the worst first."""
    return [name for name, _ in sorted(report.features.items(), key=_rank)]


def _rank(item: tuple[str, StoredColumn]) -> tuple[float, int, float, str]:
    """Order as `keel.monitoring.drift` does: impact, status, PSI above chance, name. A store may lose the order."""
    name, column = item
    worst = -list(Severity).index(Severity(column.severity))
    return (-abs(column.impact or 0.0), worst, -(column.measure("psi", "excess") or 0.0), name)


def _card(
    name: str, column: StoredColumn, chart: Chart | None, history: Sequence[float | None], context: _Context
) -> ColumnCard:
    known = any(value is not None for value in history)
    line = summary(column)
    return ColumnCard(
        name=name,
        kind=column.kind,
        role=column.role,
        status=status_tag(column),
        figure=None if chart is None else Figure(chart, figure_sentence(chart, *context.labels)),
        impact=_impact(column.impact, context.decimals),
        summary=line,
        measures=tuple(measures(column, context.alpha, context.thresholds)),
        reasons=(*(() if line == " ".join(column.reasons) else column.reasons), *_reference(column)),
        history=Sparkline(tuple(history), context.thresholds[1]) if known else None,
        history_sentence=history_sentence(history, context.thresholds[1], context.period) if known else "",
    )

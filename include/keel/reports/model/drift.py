"""Drift over time: the heatmap of columns and checks, and what it says in a sentence."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from keel.monitoring.column_status import ColumnStatus
from keel.reports import numbers
from keel.reports.charts.specs import HeatCell, Heatmap, Mark
from keel.reports.column_words import WORDS
from keel.reports.model.addresses import check_path, column_path
from keel.reports.page import Figure, Local, Paragraph, Section

if TYPE_CHECKING:
    from keel.reports.model.view import DriftCell, DriftColumn, DriftHistory, ModelView
    from keel.reports.page import Block
    from keel.window import Window

MAX_ROWS = 25
"""Columns of the heatmap: the worst of the newest check first."""
MAX_NAMED = 3
SEVERITIES = ("ok", "insufficient", "warn", "drift")
THIRD = 1 / 3
FULL = 4.0
"""The darkest shade is at so many times the PSI from which a column has drifted."""


def section(view: ModelView) -> Section:
    """Return the section about drift over time."""
    return Section("Drift", tuple(_blocks(view)))


def _blocks(view: ModelView) -> list[Block]:
    history = view.drift
    if not history.windows:
        return [Paragraph("No check is stored, so there is nothing to compare yet.", quiet=True)]
    if not history.columns:
        return [Paragraph("The stored checks name no column.", quiet=True)]
    ordered = sorted(history.columns, key=lambda column: rank(column, history))
    shown = ordered[:MAX_ROWS]
    chart = Heatmap(
        "drift by column and check",
        tuple(f"{column.name} (output)" if column.role == "output" else column.name for column in shown),
        tuple(window.end for window in history.windows),
        tuple(tuple(_cells(view, column)) for column in shown),
        f"PSI {numbers.number(FULL * history.thresholds[1])} above chance, or more",
        tuple(_marks(history)),
    )
    newest = Local("The newest check in full", check_path(view.model, history.windows[-1]))
    about = _about(view, len(ordered))
    return [Paragraph(_now(history)), Figure(chart, about), Paragraph("", (newest,))]


def rank(column: DriftColumn, history: DriftHistory) -> tuple[float, ...]:
    """Order by the newest check's severity, then by what drift costs, then by all checks."""
    newest = column.cells[-1]
    severity = SEVERITIES.index(newest.severity) if newest and newest.severity in SEVERITIES else -1
    impact = abs(newest.impact or 0.0) if newest else 0.0
    total = sum(shade(cell, history.thresholds) or 0.0 for cell in column.cells if cell)
    return (-severity, -round(impact, 6), -total)


def shade(cell: DriftCell, thresholds: tuple[float, float]) -> float | None:
    """Return how dark a cell is, in [0, 1]: in the first third nothing has changed, in the last it has drifted.

    Within a third it is the PSI above chance. A column can drift by something else, such as missing values.
    """
    if cell.severity not in SEVERITIES or cell.severity == "insufficient":
        return None
    warn, alert = thresholds
    third = {"ok": 0, "warn": 1, "drift": 2}[cell.severity]
    low, high = ((0.0, warn), (warn, alert), (alert, FULL * alert))[third]
    part = ((cell.excess or 0.0) - low) / (high - low) if high > low else 0.0
    return (third + min(max(part, 0.0), 0.999)) * THIRD


def _cells(view: ModelView, column: DriftColumn) -> list[HeatCell | None]:
    history = view.drift
    return [
        None
        if cell is None
        else HeatCell(
            shade(cell, history.thresholds),
            _title(column.name, cell, window),
            column_path(view.model, column.name, window),
            marked=cell.severity == "drift",
        )
        for cell, window in zip(column.cells, history.windows, strict=True)
    ]


def _title(name: str, cell: DriftCell, window: Window) -> str:
    known = cell.status in set(ColumnStatus)
    words = WORDS[ColumnStatus(cell.status)] if known else cell.status.replace("_", " ")
    psi = f", PSI {numbers.number(cell.excess)} above chance" if cell.excess is not None else ""
    impact = f", impact {numbers.signed(cell.impact)}" if cell.impact is not None else ""
    return f"{name}, {numbers.span(window.start, window.end)}: {words}{psi}{impact}"


def _marks(history: DriftHistory) -> list[Mark]:
    """Return where another version was checked for the first time."""
    pairs = list(zip(history.versions, history.windows, strict=True))
    return [
        Mark(window.end, f"version {version}")
        for i, (version, window) in enumerate(pairs)
        if version is not None and (i == 0 or version != pairs[i - 1][0])
    ]


def _now(history: DriftHistory) -> str:
    """Say which columns have drifted in the newest check, and for how long."""
    features = [column for column in history.columns if column.role != "output" and column.cells[-1] is not None]
    drifted = [column for column in features if _is_drifted(column.cells[-1])]
    if not drifted:
        return "No feature has drifted in the newest check."
    drifted.sort(key=lambda column: rank(column, history))
    has = "has" if len(drifted) == 1 else "have"
    text = f"{len(drifted)} of {numbers.count(len(features), 'feature')} {has} drifted in the newest check."
    if len(history.windows) > 1:
        lasting = [f"{column.name} in {_lasting(column)}" for column in drifted[:MAX_NAMED]]
        text += f" Of the last {numbers.count(len(history.windows), 'check')} in a row: {', '.join(lasting)}."
    return text


def _is_drifted(cell: DriftCell | None) -> bool:
    return cell is not None and cell.severity == "drift"


def _lasting(column: DriftColumn) -> int:
    return sum(1 for _ in takewhile(_is_drifted, reversed(column.cells)))


def _about(view: ModelView, n_columns: int) -> str:
    history = view.drift
    cell = (
        f"the worst check of {history.group if ' ' in history.group else f'a {history.group}'}"
        if history.group
        else "a check"
    )
    text = (
        f"A row is a column, and a cell {cell}, at the end of its window. The stronger its blue, the more it "
        "differs from the rows that the version was trained on; a dot is a drift."
    )
    if n_columns > MAX_ROWS:
        text += f" The worst {MAX_ROWS} of {numbers.count(n_columns, 'column')} are shown."
    return f"{text} Select a cell to see the column in that window."

"""The page of one column in the window of a check: against its reference, its measures, and what came before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keel.errors import UnknownWindow, suggestion
from keel.monitoring.accepted import accepted_words
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.charts.specs import Histogram, Level, Mark, Point, Trend
from keel.reports.check.data import charts_of, stored_check
from keel.reports.check.find import find_check
from keel.reports.check.history import column_histories
from keel.reports.column_words import figure_sentence, history_sentence, measures, status_tag, summary
from keel.reports.metric_words import row_loss_name
from keel.reports.model.addresses import check_path, model_path
from keel.reports.page import Fact, Figure, Items, Local, Page, Paragraph, Section, Table, Tone

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import StoredColumn, StoredDriftReport
    from keel.reports.charts.specs import Categories
    from keel.reports.check.history import ColumnHistory
    from keel.reports.page import Block
    from keel.window import Window
    from keel.workspace import Workspace


@dataclass(frozen=True)
class ColumnView:
    """What is known of a column in the window of a check."""

    config: ModelConfig
    name: str
    version: int
    window: Window
    column: StoredColumn
    report: StoredDriftReport
    charts: Mapping[str, Histogram | Categories] = field(default_factory=dict)
    without_chart: str = ""
    history: ColumnHistory | None = None


def column_page(ws: Workspace, config: ModelConfig, column: str, window: str = "") -> Page:
    """Return the page of a column in the window of a check.

    window: as `keel.reports.check.find.find_check` reads it; empty: of the newest check.

    The reference of the column is read from the version's files in MLflow, which takes a second where MLflow is not
    imported yet. Without them the page has the measures alone, and says why.

    Raises
    ------
    UnknownWindow
        There is no such check, or it has no such column; the message names what there is.
    StoreUnavailable
        The store cannot be read.

    """
    version, found, report = require_column(ws, config, column, window)
    charts, without = charts_of(ws, config, version, found, report, names=[column])
    history = column_histories(ws, config.model, found).get(column)
    return page(ColumnView(config, column, version, found, report.features[column], report, charts, without, history))


def require_column(
    ws: Workspace, config: ModelConfig, column: str, window: str = ""
) -> tuple[int, Window, StoredDriftReport]:
    """Return the check whose drift report has a column: version, window and report. Raises as `column_page`."""
    version, found = find_check(ws, config.model, window)
    report = stored_check(ws, config, version, found).drift
    if report is None or column not in report.features:
        raise UnknownWindow(_missing(column, report))
    return version, found, report


def _missing(column: str, report: StoredDriftReport | None) -> str:
    if report is None:
        return "no drift report of this window is stored"
    return f"the check of this window has no column {column!r}{suggestion(column, report.features)}"


def page(view: ColumnView) -> Page:
    """Return the page of a column. The same view gives the same page."""
    column = view.column
    return Page(
        title=f"{view.config.model}: {view.name}",
        eyebrow=" · ".join(
            (
                view.config.model,
                f"version {view.version}",
                numbers.span(view.window.start, view.window.end),
                f"{column.kind} {column.role}",
            )
        ),
        headline=_headline(view),
        tag=status_tag(column),
        lead=" ".join(column.reasons),
        facts=tuple(_facts(view)),
        sections=(
            Section("Reference against window", tuple(_distribution(view))),
            Section("Earlier checks", tuple(_history(view))),
            Section("Measures", tuple(_measures(view))),
            Section(
                "More",
                (
                    Paragraph(
                        "",
                        (
                            Local(f"All of {view.config.model}", model_path(view.config.model)),
                            Local("The check of this window", check_path(view.config.model, view.window)),
                        ),
                    ),
                ),
            ),
        ),
        footer=("Times are in UTC.",),
    )


def _headline(view: ColumnView) -> str:
    words = {
        "drift": "has drifted",
        "warn": "has changed a little",
        "insufficient": "has too few values to be compared",
    }.get(view.column.severity, "has not changed")
    return f"{view.name} {words}."


def _facts(view: ColumnView) -> Iterator[Fact]:
    column, report = view.column, view.report
    tone = {"drift": Tone.BAD, "warn": Tone.WARN, "ok": Tone.GOOD}.get(column.severity, Tone.NEUTRAL)
    if (excess := column.measure("psi", "excess")) is not None:
        lines = ["PSI above chance"]
        if report.psi_warn is not None and report.psi_alert is not None:
            lines.append(f"{numbers.number(report.psi_warn)} is a change, {numbers.number(report.psi_alert)} a drift")
        yield Fact(numbers.number(excess), tuple(lines), tone)
    if column.impact is not None:
        unit = row_loss_name(view.config.performance.metric)
        costs = "costs" if column.impact > 0 else "spares"
        yield Fact(numbers.signed(column.impact), (f"impact on the {unit}", f"what this change alone {costs}"))
    missing = column.rates.get("missing", {}).get("reference")
    before = f"reference {numbers.share(missing)}" if missing is not None else ""
    yield Fact(numbers.share(column.missing_rate), ("of the rows have no value", *([before] if before else [])))
    yield Fact(numbers.count(report.n), ("predictions in the window",))


def _distribution(view: ColumnView) -> Iterator[Block]:
    chart = view.charts.get(view.name)
    if chart is not None:
        drawn = ("Filled", "outlined") if isinstance(chart, Histogram) else ("Wide bars", "thin bars")
        yield Figure(chart, f"{drawn[0]}: the reference; {drawn[1]}: the window. {figure_sentence(chart)}")
    else:
        yield Paragraph(view.without_chart or "The distribution of this column is not available.", quiet=True)
    accepted = view.column.accepted
    if accepted is not None:
        yield Items((capitalised(accepted_words(accepted)), *accepted.limits))


def _history(view: ColumnView) -> Iterator[Block]:
    found = view.history
    known = [value for value in found.excess if value is not None] if found else []
    if found is None or len(known) < 2:
        yield Paragraph("There is no earlier check of such a window to compare with.", quiet=True)
        return
    points = tuple(Point(at, value) for at, value in zip(found.ends, found.excess, strict=True))
    limits = ((view.report.psi_warn, "changed"), (view.report.psi_alert, "drifted"))
    levels = tuple(
        Level(value, f"{words} from {numbers.number(value)}") for value, words in limits if value is not None
    )
    pairs = list(zip(found.versions, found.ends, strict=True))
    marks = tuple(
        Mark(end, f"version {version}")
        for i, (version, end) in enumerate(pairs)
        if version is not None and (i == 0 or version != pairs[i - 1][0])
    )
    chart = Trend("PSI above chance", points, levels, marks, unit="PSI above chance")
    yield Figure(chart, capitalised(history_sentence(found.excess, view.report.psi_alert, "checks")))


def _measures(view: ColumnView) -> Iterator[Block]:
    report = view.report
    rows = tuple(
        (each.name, each.value, each.meaning)
        for each in measures(view.column, report.alpha, (report.psi_warn, report.psi_alert))
    )
    if rows:
        yield Table("Each measure and what it means", ("measure", "value", "meaning"), rows, (1,), wide=True)
    else:
        yield Paragraph(summary(view.column) or "Nothing was measured.", quiet=True)

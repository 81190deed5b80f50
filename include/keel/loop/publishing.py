"""The report of a check: rendered for the task's log, and published in MLflow with one picture for the mail.

`keel.reports` is imported where it is needed, because most tasks render nothing.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from keel.errors import KeelError, for_people
from keel.monitoring import storage
from keel.monitoring.records import (
    MessagePicture,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.window import HOUR

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import ComparisonRecord, CountedWindow, DecisionRecord, Outcome, ReportRecord
    from keel.reports.page import Figure, Page, Section
    from keel.reports.publication import PublishedReport
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

HARM = "harm"
"""The cause of a decision that rests on labels: its picture is performance over time."""


def publish_report(
    ws: Workspace,
    config: ModelConfig,
    decision: DecisionRecord,
    outcome: Outcome | None = None,
    *,
    run_url: str | None = None,
    now: datetime,
) -> PublishedReport | None:
    """Render the page of a check and publish it in MLflow, or else find that of the comparison behind the outcome.

    None for a decision with neither. With ``reports.publish`` off it is rendered only. It never raises: a report that
    cannot be made or published must stop neither the decision nor its message, so the reason is logged and returned.
    """
    from keel.reports.publication import PublishedReport

    text, picture, address = "", None, None
    try:
        comparison = storage.read_comparison(ws, config.model, outcome.report_id) if outcome else None
        address = _address_of(ws, comparison)
        if (version := checked_version(decision)) is not None:
            page = _check_page(ws, config, version, decision, outcome, (run_url, address))
        elif comparison is not None:
            page = _comparison_page(comparison)
        else:
            return None
        text, picture = _markdown(page), _picture(page, decision)
        if version is not None:
            address = _publish(ws, config, page, decision, now) if config.reports.publish else None
    except Exception as error:  # whatever it is, people must hear of the decision
        log.warning("the report could not be published", exc_info=True)
        problem = f"could not be {'published' if text else 'made'}: {for_people(error)}"
        return PublishedReport(text, picture, problem=problem)
    if address:
        log.info("the report is at %s", address)
    return PublishedReport(text, picture, address=address)


def checked_version(decision: DecisionRecord) -> int | None:
    """Return the version that a decision's check was about; None where no check made the decision."""
    made = storage.report_id("decision", decision.model, decision.version, decision.window)
    return decision.version if decision.decision_id == made else None


def describe_report(ws: Workspace, config: ModelConfig, counted: CountedWindow, report: ReportRecord) -> str:
    """Return what one check of a window found, in Markdown for its task's log.

    It never raises: a check whose report cannot be rendered is a check nevertheless.
    """
    from keel.reports.page import Page

    try:
        page = Page(
            title=config.model,
            eyebrow=f"{config.model} · version {counted.version} in production",
            headline=report.sentence,
            sections=_sections(ws, config, counted, report.kind),
        )
        return _markdown(page)
    except Exception:
        log.warning("the report of the check could not be rendered", exc_info=True)
        return report.sentence


def _sections(ws: Workspace, config: ModelConfig, counted: CountedWindow, kind: str) -> tuple[Section, ...]:
    """Return the sections of a check's page that one of its reports is in."""
    from keel.reports.check import CheckData, performance, sections

    about = counted.model, counted.version, counted.window
    data = CheckData(config, counted.version, counted.window)
    if kind == StoredQualityReport.CHECK:
        return (sections.quality(replace(data, quality=storage.read_report(ws, StoredQualityReport, *about))),)
    if kind == StoredDriftReport.CHECK:
        return (sections.columns(replace(data, drift=storage.read_report(ws, StoredDriftReport, *about))),)
    measured = storage.read_report(ws, StoredPerformanceReport, *about)
    labels = storage.read_report(ws, StoredLabelsReport, *about)
    data = replace(data, performance=measured, labels=labels)
    return performance.section(data), sections.labels(data)


def _check_page(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    decision: DecisionRecord,
    outcome: Outcome | None,
    addresses: tuple[str | None, str | None],
) -> Page:
    from keel.reports import check

    run, comparison = addresses
    links = check.CheckLinks(run=run, comparison=comparison)
    return check.page(check.collect(ws, config, version, decision.window, decision, outcome, links=links))


def _address_of(ws: Workspace, comparison: ComparisonRecord | None) -> str | None:
    """Return where the page of a comparison is; None also where MLflow does not answer, as the check has a page too."""
    from keel.reports.publication import comparison_address

    try:
        return comparison_address(ws, comparison) if comparison else None
    except KeelError as error:
        log.warning("the report of the comparison cannot be linked: %s", error)
        return None


def _comparison_page(comparison: ComparisonRecord) -> Page:
    from keel.reports.comparison import page

    return page(comparison)


def _markdown(page: Page) -> str:
    from keel.reports import markdown

    return markdown.render(page)


def _publish(ws: Workspace, config: ModelConfig, page: Page, decision: DecisionRecord, now: datetime) -> str:
    from keel.reports.publication import publish

    window = decision.window
    name = f"check_{round((window.end - window.start) / HOUR)}h_version_{decision.version}"
    return publish(ws, config, page, about=decision.decision_id, name=name, window=window, now=now).address


def _picture(page: Page, decision: DecisionRecord) -> MessagePicture | None:
    """Return the picture of a decision as data: whoever sends the message draws it.

    It never raises: a picture that cannot be described is left out, and the report is published without it.
    """
    from keel.reports.charts.plain import to_plain
    from keel.reports.charts.specs import Categories, Histogram

    try:
        figure = choose_picture(page, decision)
        if figure is None:
            return None
        chart, sentence = figure.chart, figure.sentence
        if isinstance(chart, Histogram | Categories):  # on its page the column's name is above it
            sentence = f"{chart.name}: {sentence}"
        return MessagePicture(chart=to_plain(chart), sentence=sentence)
    except Exception:
        log.warning("the message is without its picture", exc_info=True)
        return None


def choose_picture(page: Page, decision: DecisionRecord) -> Figure | None:
    """Return the picture of what a decision is about: the first of those that its page has.

    For harm that is performance over time, else the distribution of the worst column that moved, else the improvement
    that a comparison shows. None where no picture says anything, such as for an alert about missing labels.
    """
    from keel.reports.charts.specs import Intervals, Trend
    from keel.reports.page import ColumnCards, Figure, Tone

    blocks = [block for section in page.sections for block in section.blocks]
    drawn = [block for block in blocks if isinstance(block, Figure)]
    cards = [card for block in blocks if isinstance(block, ColumnCards) for card in block.cards]
    columns = [card.figure for card in cards if card.figure and card.status.tone in (Tone.WARN, Tone.BAD)]
    trends = [figure for figure in drawn if isinstance(figure.chart, Trend)] if HARM in decision.about else []
    compared = [] if decision.about else [figure for figure in drawn if isinstance(figure.chart, Intervals)]
    return next(iter([*trends, *columns, *compared]), None)

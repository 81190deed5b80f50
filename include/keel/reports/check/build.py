"""Put the page of a check together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.monitoring.storage import report_id
from keel.reports import numbers
from keel.reports.check import alarms, consecutive, performance, sections, words
from keel.reports.check.data import KINDS
from keel.reports.page import Link, Page, Paragraph, Section

if TYPE_CHECKING:
    from keel.reports.check.data import CheckData


def page(data: CheckData) -> Page:
    """Return the page of a check. The same records give the same page."""
    return Page(
        title=f"{data.model}, {numbers.span(data.window.start, data.window.end)}",
        eyebrow=_eyebrow(data),
        headline=words.headline(data),
        tag=words.status_tag(data),
        lead=performance.lead(data),
        facts=(
            performance.fact(data),
            sections.columns_fact(data),
            sections.decision_fact(data),
            sections.to_do_fact(data),
        ),
        sections=(
            *alarms.section(data),
            performance.section(data),
            sections.columns(data),
            *consecutive.section(data),
            sections.quality(data),
            sections.labels(data),
            sections.decided(data),
            sections.next_steps(data),
            *_links(data),
        ),
        footer=_footer(data),
    )


def _eyebrow(data: CheckData) -> str:
    rows = data.drift.n if data.drift else data.quality.n if data.quality else None
    parts = [
        data.model,
        f"version {data.version} in production",
        numbers.span(data.window.start, data.window.end),
        *([numbers.count(rows, "prediction")] if rows is not None else []),
        *([numbers.count(data.performance.n, "label")] if data.performance else []),
    ]
    return " · ".join(parts)


def _links(data: CheckData) -> tuple[Section, ...]:
    named = (("Run in Airflow", data.links.run), ("This page in MLflow", data.links.mlflow))
    links = tuple(Link(text, address) for text, address in named if address)
    return (Section("Links", (Paragraph("", links),)),) if links else ()


def _footer(data: CheckData) -> tuple[str, ...]:
    lines = []
    if data.drift is not None:
        grid = f"Grid {data.drift.grid_id[:12]}. " if data.drift.grid_id else ""
        alpha = data.drift.alpha
        level = "" if alpha is None else f"False discovery rate over all columns and tests: {numbers.share(alpha)}. "
        lines.append(f"{grid}{level}Times are in UTC.")
    stored = [kind for kind in KINDS if getattr(data, kind) is not None]
    if stored:
        ids = ", ".join(report_id(kind, data.model, data.version, data.window) for kind in stored)
        lines.append(f"Reports: {ids}.")
    if data.decision is not None and data.decision.decision_id:
        rows = ", ".join(str(row.seq) for row in data.ledger)
        lines.append(f"Decision: {data.decision.decision_id}." + (f" Ledger rows: {rows}." if rows else ""))
    release = f"Keel {data.release}." if data.release else "Keel."
    lines.append(f"{release} The same numbers as JSON: keel report {data.model} --window {_window(data)} --json")
    return tuple(lines)


def _window(data: CheckData) -> str:
    start, end = (f"{time:%Y-%m-%dT%H:%MZ}" for time in (data.window.start, data.window.end))
    return f"{start}/{end}"

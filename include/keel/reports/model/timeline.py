"""The ledger as a timeline: what happened, by whom, and where its evidence is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keel.ledger.entry_view import SCHEDULED_ACTORS
from keel.ledger.narrative import describe
from keel.ledger.wording import as_mapping, as_text
from keel.reports import numbers
from keel.reports.model.addresses import check_path, report_path
from keel.reports.model.view import TimelineRow
from keel.reports.page import Details, Items, Local, Paragraph, Section, Table
from keel.window import Window

if TYPE_CHECKING:
    from keel.ledger.entries import Entry
    from keel.reports.model.view import ModelView
    from keel.reports.page import Block, Cell
    from keel.workspace import Workspace

MAX_ROWS = 60
"""Of the timeline: the newest."""
OPEN_ROWS = 12
"""Rows that are seen at once."""
REPORTS = {"comparison": "comparison", "probation": "probation", "experiment": "experiment"}
"""What a stored report is called, by the beginning of its id."""


def timeline(ws: Workspace, model: str, rows: Sequence[Entry]) -> tuple[TimelineRow, ...]:
    """Return the newest rows of a model's ledger, the newest first. rows: all of them, oldest first."""
    found = []
    for row in rows[-MAX_ROWS:][::-1]:
        name, path = _evidence(ws, model, as_mapping(as_mapping(row.body).get("evidence")))
        actor = "" if row.actor in SCHEDULED_ACTORS else row.actor
        found.append(TimelineRow(row.seq, row.at, actor, describe(row), name, path))
    return tuple(found)


def _evidence(ws: Workspace, model: str, evidence: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the evidence of a row is called, and the path of its page: a stored report, or the check."""
    report = as_text(evidence.get("report_id"))
    kind = report.partition("-")[0]
    if kind in REPORTS:
        return REPORTS[kind], report_path(report)
    decision = as_text(evidence.get("decision_id")) or as_text(as_mapping(evidence.get("tags")).get("keel.decision_id"))
    stored = ws.store.decisions.get(decision) if decision.startswith("decision-") else None
    if stored is None or stored["window_start"] is None or stored["window_end"] is None:
        return "", ""
    return "check", check_path(model, Window(stored["window_start"], stored["window_end"]))


def section(view: ModelView) -> Section:
    """Return the section with the ledger as a timeline."""
    if not view.ledger:
        return Section("What happened", (Paragraph("The ledger has no row about this model yet.", quiet=True),))
    blocks: list[Block] = [_table("Ledger rows, the newest first", view.ledger[:OPEN_ROWS])]
    earlier = view.ledger[OPEN_ROWS:]
    if earlier:
        blocks.append(Details(f"{numbers.count(len(earlier), 'earlier row')}", (_table("Earlier rows", earlier),)))
    full = Items(tuple(f"{row.seq}: {row.sentence}" for row in view.ledger))
    blocks.append(Details("The rows in full", (full,)))
    if (more := view.ledger_rows - len(view.ledger)) > 0:
        blocks.append(Paragraph(f"{more:,} older rows: keel ledger show {view.model}", quiet=True))
    return Section("What happened", tuple(blocks))


def _table(caption: str, rows: Sequence[TimelineRow]) -> Table:
    lines: tuple[tuple[Cell, ...], ...] = tuple(
        (
            f"{row.sentence.partition('. ')[0].rstrip('.')}.",
            numbers.time(row.at.replace(second=0, microsecond=0)),
            row.actor or "by schedule",
            Local(row.evidence, row.path) if row.path else "",
        )
        for row in rows
    )
    return Table(caption, ("what", "when", "by", "evidence"), lines, wide=True, unbroken=(1,), sentences=(0,))

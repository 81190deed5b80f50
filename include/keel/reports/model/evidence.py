"""The sections whose evidence has a page of its own: the live monitors and the experiment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from keel.evaluation.experiment.report import with_current_names
from keel.ledger.wording import with_full_stop
from keel.reports import numbers
from keel.reports.model.actions import stop_experiment
from keel.reports.model.addresses import report_path
from keel.reports.page import Actions, Details, Facts, Local, Paragraph, Section, Table
from keel.reports.production import experiment as of_experiment
from keel.reports.production import live as of_live

if TYPE_CHECKING:
    from keel.reports.model.view import ModelView
    from keel.reports.page import Block

OPEN_ROWS = 8
"""Monitors that are seen at once: those nearest to their bound."""


def live(view: ModelView) -> Section:
    """Return the section about the live monitors: their evidence beside the bound at which an alarm opens."""
    status = view.live
    if status is None:
        off = "The live monitors are off: live is null in the model's model.yaml."
        return Section("Live monitors", (Paragraph(off, quiet=True),))
    blocks: list[Block] = [Paragraph(of_live.headline(status)), *of_live.alarms(status)]
    blocks += of_live.to_read(status)
    for block in of_live.evidence(status, drawn=True):
        blocks += _folded(block) if isinstance(block, Table) else [block]
    if promised := tuple(of_live.promise(status)):
        blocks.append(Details("How often they alarm without a change", promised))
    return Section("Live monitors", tuple(blocks))


def _folded(table: Table) -> list[Block]:
    """Return a table whose rows beyond those with the most evidence are folded."""
    rest = table.rows[OPEN_ROWS:]
    if not rest:
        return [table]
    more = replace(table, caption="Further monitors, the worst first", rows=rest)
    return [replace(table, rows=table.rows[:OPEN_ROWS]), Details(numbers.count(len(rest), "further monitor"), (more,))]


def experiment(view: ModelView) -> Section:
    """Return the section about the experiment that runs, or about the last one; empty where there was none."""
    found = view.experiment
    if found is None:
        return Section("Experiment", ())
    plan = found.plan
    report = with_current_names(view.evidence) if view.evidence else None
    outcome = found.outcome or {}
    if report is None:
        text = f"Version {plan.challenger} against version {plan.champion}, since {numbers.time(plan.started_at)}."
        what = with_full_stop(str(outcome.get("sentence") or "")) or "It is not evaluated yet; that happens hourly."
        blocks: list[Block] = [Paragraph(f"{text} {what}")]
    else:
        ended = str(outcome.get("outcome") or report["verdict"])
        blocks = [Paragraph(of_experiment.headline(report, ended))]
        facts = Facts((of_experiment.improvement(report), of_experiment.outcomes(report)))
        shown: tuple[Block, ...] = (facts, *of_experiment.difference(report).blocks)
        blocks += shown if found.outcome is None else [Details("Its evidence", shown)]
    if found.outcome is None:
        blocks.append(Actions((stop_experiment(view.model, plan.experiment_id, plan.champion),)))
    elif outcome.get("report_id"):
        blocks.append(Paragraph("", (Local("The evaluation in full", report_path(str(outcome["report_id"]))),)))
    return Section("Experiment" if found.outcome is None else "Last experiment", tuple(blocks))

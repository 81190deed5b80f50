"""Store reports and decisions, and read them back as they were stored.

What passes between tasks is only a reference, because any task could have written it. A step that acts therefore reads
the decision or the comparison here, by its id. The id follows from model, version and window, so that a step which runs
again replaces its own row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from keel.errors import SchemaError
from keel.monitoring.records import (
    ComparisonRecord,
    CountedWindow,
    DecisionRecord,
    ReportRecord,
    Span,
    StoredConsecutiveReport,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredProbationReport,
    StoredQualityReport,
)
from keel.window import Window, now_utc

if TYPE_CHECKING:
    from keel.workspace import Workspace

StoredReport = (
    StoredQualityReport
    | StoredDriftReport
    | StoredConsecutiveReport
    | StoredPerformanceReport
    | StoredLabelsReport
    | StoredProbationReport
)
CheckReportT = TypeVar(
    "CheckReportT",
    StoredQualityReport,
    StoredDriftReport,
    StoredConsecutiveReport,
    StoredPerformanceReport,
    StoredLabelsReport,
)
DecisionT = TypeVar("DecisionT", bound=DecisionRecord)

SAME_MOMENT = timedelta(hours=6)
"""Runs of a model's check follow each other, and one lasts at most five hours. The window of one that a live alarm
started ends with the latest data. So it ends at most so much later than that of the schedule's check which had to wait
for it, full hours included."""

CHECKS = ("quality", "drift", "performance")
"""The checks whose reports a decision rests on."""


def report_id(kind: str, model: str, version: int | str | None, window: Window | Span) -> str:
    """Return the id of a report: a hash of its model, version, kind and window."""
    parts = (model, str(version), kind, window.start.isoformat(), window.end.isoformat())
    return f"{kind}-{derived_id(*parts)}"


def request_id(model: str, what: str, run_id: str) -> str:
    """Return the id of what a run requests, whenever its tasks run."""
    return f"request-{derived_id(model, what, run_id)}"


def store_report(
    ws: Workspace, kind: str, model: str, version: int, window: Window, report: StoredReport, *, sentence: str = ""
) -> ReportRecord:
    """Store a report in place of the one for the same window, and return a reference to it.

    sentence: of the reference; the report's own where empty.
    """
    identity = report_id(kind, model, version, window)
    body = report.to_dict()
    ws.store.reports.put(identity, model, version, kind, window.start, window.end, report.status, body, now_utc())
    return ReportRecord(
        report_id=identity, kind=kind, status=report.status, sentence=sentence or body.get("sentence", "")
    )


def read_report(
    ws: Workspace, kind: type[CheckReportT], model: str, version: int | None, window: Window
) -> CheckReportT | None:
    """Return the report that a check stored for a window; None where it has not run."""
    found = ws.store.reports.get(report_id(kind.CHECK, model, version, window))
    return kind.from_dict(found["body"]) if found else None


@dataclass(frozen=True)
class CheckReports:
    """The reports that the checks stored for a window."""

    quality: StoredQualityReport
    drift: StoredDriftReport
    performance: StoredPerformanceReport
    labels: StoredLabelsReport | None
    """None where an earlier release made the check of performance."""
    consecutive: StoredConsecutiveReport | None = None
    """None unless ``drift.against`` has ``previous``. No decision rests on it."""


def read_check_reports(ws: Workspace, counted: CountedWindow) -> CheckReports:
    """Return the reports of a window.

    Raises
    ------
    SchemaError
        A check has not stored its report for this window.

    """
    about = counted.model, counted.version, counted.window
    quality = read_report(ws, StoredQualityReport, *about)
    drift = read_report(ws, StoredDriftReport, *about)
    performance = read_report(ws, StoredPerformanceReport, *about)
    if quality is None or drift is None or performance is None:
        stored = dict(zip(CHECKS, (quality, drift, performance), strict=True))
        missing = ", ".join(name for name, report in stored.items() if report is None)
        raise SchemaError(f"{counted.model}: no {missing} report for this window: run that check first")
    return CheckReports(
        quality,
        drift,
        performance,
        read_report(ws, StoredLabelsReport, *about),
        read_report(ws, StoredConsecutiveReport, *about),
    )


def store_decision(ws: Workspace, decision: DecisionT, *, run_id: str) -> DecisionT:
    """Store a decision with the run that made it, in place of the one with its id, and return it."""
    window = decision.window
    ws.store.decisions.put(
        decision.decision_id,
        decision.model,
        decision.version,
        window.start,
        window.end,
        str(decision.action),
        decision.sentence,
        decision.to_dict(),
        run_id,
        now_utc(),
    )
    return decision


def read_decision(ws: Workspace, model: str, decision_id: str | None, kind: type[DecisionT]) -> DecisionT | None:
    """Return a decision as it was stored; None where the model has none of that id and kind."""
    found = ws.store.decisions.get(decision_id) if decision_id else None
    if found is None or found["model"] != model:
        return None
    decision = DecisionRecord.from_dict(found["body"])
    return decision if isinstance(decision, kind) else None


def decide_once(
    ws: Workspace, model: str, decision_id: str, kind: type[DecisionT], make: Callable[[], DecisionT], *, run_id: str
) -> DecisionT:
    """Return the decision of an id as it was stored, or make and store it. A task that runs again makes no other."""
    return read_decision(ws, model, decision_id, kind) or store_decision(ws, make(), run_id=run_id)


def store_comparison(ws: Workspace, comparison: ComparisonRecord) -> ComparisonRecord:
    """Store a comparison under its id, and return it."""
    start, end = comparison.holdout.start, comparison.holdout.end
    body = comparison.to_dict()
    ws.store.reports.put(
        comparison.report_id,
        comparison.model,
        comparison.challenger,
        "comparison",
        min(start, end),
        end,
        comparison.verdict,
        body,
        now_utc(),
    )
    return comparison


def read_comparison(ws: Workspace, model: str, identity: str | None) -> ComparisonRecord | None:
    """Return a comparison as it was stored; None where the model has none of that id."""
    found = ws.store.reports.get(identity) if identity else None
    if found is None or (found["model"], found["kind"]) != (model, "comparison"):
        return None
    return ComparisonRecord.from_dict(found["body"])


def derived_id(*parts: str) -> str:
    """Return an id that the same parts always give: 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]

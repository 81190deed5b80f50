"""Stored reports, as answers have them."""

from __future__ import annotations

from typing import Any

from keel_airflow.web.schemas.common import Answer, AnswerTime


class ReportSummary(Answer):
    """A stored report without its body."""

    report_id: str
    model: str
    version: int | None
    """The version that it is about; none for a report of the whole model."""
    kind: str
    """Such as quality, drift, performance, labels, comparison, probation or experiment."""
    window_start: AnswerTime | None
    window_end: AnswerTime | None
    status: str
    created_at: AnswerTime


class Report(ReportSummary):
    """A stored report."""

    body: dict[str, Any]
    """What the report found, as it was stored; its keys depend on the kind."""


class ReportPage(Answer):
    """Stored reports, newest first."""

    reports: list[ReportSummary]
    next_before: str | None
    """Give this as ``before`` for the reports that follow; none at the end."""

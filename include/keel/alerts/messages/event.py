"""The message about a change of a version that no check made: a promotion, a rollback, a probation, an experiment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.alerts import compose_alerts

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig
    from keel.monitoring.records import DecisionRecord, Outcome
    from keel.reports.publication import PublishedReport


def compose_event(
    config: ModelConfig,
    notice: Notice,
    *,
    decision: DecisionRecord,
    outcome: Outcome | None,
    now: datetime,
    run_url: str | None = None,
    report: PublishedReport | None = None,
    version_url: str | None = None,
) -> Message:
    """Compose the message about a person's request, a probation or an experiment, and what it led to.

    run_url, version_url: the pages of the run in Airflow and of the version in MLflow.
    report: the page of the comparison behind the outcome, with its picture.
    """
    return compose_alerts(config, notice, now=now, run_url=run_url).model_copy(
        update={"picture": report.picture if report else None}
    )

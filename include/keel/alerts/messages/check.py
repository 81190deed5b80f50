"""The message about a check: what it found that people do not know yet, whether it hurts, what Keel did about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.alerts import compose_alerts

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig
    from keel.monitoring.alarms import Judgement
    from keel.monitoring.records import (
        DecisionRecord,
        Outcome,
        StoredDriftReport,
        StoredLabelsReport,
        StoredPerformanceReport,
        StoredQualityReport,
    )
    from keel.reports.publication import PublishedReport


def compose_check(
    config: ModelConfig,
    notice: Notice,
    *,
    decision: DecisionRecord,
    outcome: Outcome | None,
    quality: StoredQualityReport | None,
    drift: StoredDriftReport | None,
    performance: StoredPerformanceReport | None,
    labels: StoredLabelsReport | None,
    now: datetime,
    judgements: Sequence[Judgement] = (),
    run_url: str | None = None,
    report: PublishedReport | None = None,
    version_url: str | None = None,
) -> Message:
    """Compose the message about the news of a check, of a request to retrain, and of what followed.

    Parameters
    ----------
    config, notice
        The model, and what is new.
    decision, outcome
        What was decided and what it led to; None where no task followed it.
    quality, drift, performance, labels
        The reports of the window; None for a check that did not run.
    now
        By the clock.
    judgements
        The live alarms that were open, and what the check made of them.
    run_url, version_url
        The pages of the run in Airflow and of the version in MLflow.
    report
        The page of the check: where it is, or why it could not be published, and its picture.

    """
    return compose_alerts(config, notice, now=now, run_url=run_url).model_copy(
        update={"picture": report.picture if report else None}
    )

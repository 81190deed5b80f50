"""The message about a failed run: a check or a step that did not happen, which says nothing about drift."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.alerts import compose_alerts

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig


def compose_failure(
    config: ModelConfig | None,
    notice: Notice,
    *,
    dag_id: str,
    run_id: str,
    task_id: str | None,
    error: str | None,
    log_url: str | None,
    now: datetime,
    run_url: str | None = None,
    report_url: str | None = None,
) -> Message:
    """Compose the message about a failed run, or about one that works again (news that is resolved).

    Parameters
    ----------
    config
        None for a run that concerns no single model, such as the maintenance.
    task_id
        The task that failed; None where the run failed without one, such as by its time limit.
    error
        What was raised, without secrets.
    report_url
        The check's page, where the run had published it before it failed.

    """
    return compose_alerts(config, notice, now=now, run_url=run_url).model_copy(update={"topic": "failure"})

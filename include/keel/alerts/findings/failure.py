"""A run of a DAG that failed, and one that works again."""

from __future__ import annotations

from datetime import datetime

from keel.alerts.records import ALL_MODELS, EPISODE, PARTS, Examined, Finding, Observation
from keel.config import Kind, Severity
from keel.monitoring.storage import derived_id

PIPELINE = "pipeline"
"""The source."""


def observe_failure(
    *,
    dag_id: str,
    run_id: str,
    task_id: str | None,
    error: str | None,
    model: str | None,
    now: datetime,
    attempt: str = "",
    log_url: str | None = None,
    subject: str | None = None,
    instance: int | None = None,
    kind: Kind = Kind.PIPELINE_FAILURE,
    episode: str | None = None,
) -> Observation:
    """Return that a run failed. What it did not check says nothing about drift, and ends no alert.

    Parameters
    ----------
    task_id
        The task that failed; None where the run failed without one, such as by its time limit.
    error
        What was raised, without secrets.
    model
        None for a run that concerns no single model, such as the maintenance.
    now
        The clock's time.
    attempt
        What tells a run that was cleared, and failed again, from its first failure.
    log_url
        Where the log of the task is.
    subject
        What fails and works again on its own; None: the DAG.
    instance
        Which one of a mapped task's. They are one alert, which is over when none of them fails any more.
    kind
        ``ledger_broken`` where that is why it failed.
    episode
        Where nobody hears of successes in between: a failure of another episode is told again.

    """
    where = f"Task {task_id} of {dag_id}" if task_id else f"A run of {dag_id}"
    broken = kind is Kind.LEDGER_BROKEN
    parts = None if instance is None else [instance]
    about = {"run": run_id, "task": task_id, PARTS: parts, "error": error, "log_url": log_url, EPISODE: episode}
    found = Finding(
        kind=kind,
        subject=subject or dag_id,
        severity=Severity.CRITICAL if broken else Severity.ERROR,
        sentence="The ledger does not hold: a row was changed, or is missing" if broken else f"{where} failed",
        evidence={name: value for name, value in about.items() if value is not None},
    )
    return Observation(
        observation_id=derived_id("observation", "failed", dag_id, run_id, task_id or "", str(instance), attempt),
        model=model or ALL_MODELS,
        source=PIPELINE,
        at=now,
        findings=(found,),
    )


def observe_success(
    *,
    dag_id: str,
    run_id: str,
    model: str | None,
    now: datetime,
    attempt: str = "",
    subject: str | None = None,
    instance: int | None = None,
    instances: int | None = None,
) -> Observation:
    """Return that a run succeeded: an earlier failure of its DAG is over.

    instance: which one of a mapped task's. instances: how many it has in this run; a failure of one that there is no
    more is over, too.

    A broken ledger is over too where the DAG verifies it, as it fails otherwise.
    """
    return Observation(
        observation_id=derived_id("observation", "succeeded", subject or dag_id, run_id, str(instance), attempt),
        model=model or ALL_MODELS,
        source=PIPELINE,
        at=now,
        examined=tuple(
            Examined(kind=kind, subject=subject or dag_id, part=instance, parts=instances)
            for kind in (Kind.PIPELINE_FAILURE, Kind.LEDGER_BROKEN)
        ),
        resolution=f"the run {run_id} succeeded",
    )

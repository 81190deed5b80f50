"""Telling people that the pipeline itself broke: a run failed, or ran out of time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

ERROR_KEY = "error"
"""XCom under which a failed task leaves its error for the run's callback."""


def remember_error(context: Context) -> None:
    """Leave a failed task's error where the run's failure message finds it."""
    error = context.get("exception")
    context["ti"].xcom_push(key=ERROR_KEY, value=f"{type(error).__name__}: {error}" if error else None)


class FailureNotifier(BaseNotifier):
    """Tells a model's people, once, that a run of one of its DAGs failed.

    A DAG's ``on_failure_callback``. Airflow runs it in the DAG processor, also when the run timed out or deadlocked.
    It opens neither store nor registry, as either may be what broke.

    :param model: name of the monitored model
    """

    template_fields = ()  # an error's text may hold braces and is never a template

    def __init__(self, *, model: str) -> None:
        super().__init__()
        self.model = model

    def notify(self, context: Context) -> None:
        """Compose the message, and send it by every channel whose connection exists, else into the outbox."""
        from keel.alerts.failure import compose_failure
        from keel.config import get_model
        from keel_airflow.channels import deliver

        config = get_model(self.model)
        task_instance: Any = context.get("ti")
        message = compose_failure(
            dag_id=context["dag"].dag_id,
            run_id=context["run_id"],
            task_id=task_instance.task_id if task_instance else None,
            error=_error(context),
            log_url=task_instance.log_url if task_instance else None,
            model=self.model,
            email=config.alerts.email,
            slack=config.alerts.slack,
        )
        channels = deliver(message)
        log.info("told of the failed run %s by %s", context["run_id"], ", ".join(channels) or "nobody")


def _error(context: Context) -> str:
    reason = context.get("reason") or "task_failure"
    if reason != "task_failure":
        return f"the run {reason.replace('_', ' ')}"
    try:
        left = context["ti"].xcom_pull(task_ids=context["ti"].task_id, key=ERROR_KEY)
    except Exception:
        log.exception("the failed task's error could not be read")
        left = None
    return left or "the task left none behind, as one that is killed does"

"""Notifications outside the tasks: a run failed or timed out, or it waits for approval."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.log import redact  # type: ignore[attr-defined]  # Airflow has no public name for it

from keel.errors import InvalidParameter, NoVersionYet

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

ERROR_KEY = "error"
"""XCom key under which a failed task pushes its error for the run's callback."""
REFUSED_KEY = "refused"
"""XCom key under which a failed task pushes whether it refused what the run's user asked for."""
ERROR_LENGTH = 2_000
"""Longest error text, in characters. Some libraries put a whole SQL statement with its data into their errors."""
TASK_FAILURE = "task_failure"
"""Airflow's reason for a run that fails because of a task."""
ENDINGS = {
    "timed_out": "the run took longer than its dagrun_timeout",
    "all_tasks_deadlocked": "no task of the run could start any more",
}
"""Reasons for which a run fails without a failed task, by Airflow's names."""


def push_error(context: Context) -> None:
    """Push a failed task's error, with secrets masked, as an XCom for the run's failure message."""
    error = context.get("exception")
    if isinstance(error, AirflowFailException) and error.__cause__:
        error = error.__cause__  # Keel's error is more specific than Airflow's for "do not retry"
    text = f"{type(error).__name__}: {error}" if error else None
    context["ti"].xcom_push(key=ERROR_KEY, value=redact(text[:ERROR_LENGTH]) if text else None)
    context["ti"].xcom_push(key=REFUSED_KEY, value=isinstance(error, InvalidParameter | NoVersionYet))


class FailureNotifier(BaseNotifier):
    """Notifies people, once, that a run of a DAG failed.

    A run that a person started with a parameter that is not valid, or before the model's first version, notifies no
    one: that person reads the error in the run, nothing was changed, and no check has failed.

    A DAG's ``on_failure_callback``. Airflow runs it in the DAG processor, also when the run timed out or deadlocked.
    It opens neither store nor registry, because either may have failed.

    :param model: name of the monitored model whose people are notified; None: those of every model
    """

    def __init__(self, *, model: str | None) -> None:
        super().__init__()
        self.model = model

    def render_template_fields(self, *_: Any, **__: Any) -> None:
        """Render nothing: an error's text is not a template, and the context of ``dag.test`` cannot render."""

    def notify(self, context: Context) -> None:
        """Compose the message, and send it by every channel whose connection exists, else into the outbox."""
        from keel.alerts.messages.failure import compose_failure
        from keel_airflow.channels import deliver

        task_instance: Any = context.get("ti")
        if _refused_its_user(context):
            log.info("the run %s was refused, and its user reads why; no one else is notified", context["run_id"])
            return
        message = compose_failure(
            dag_id=context["dag"].dag_id,
            run_id=context["run_id"],
            task_id=task_instance.task_id if task_instance else None,
            error=_error(context),
            log_url=task_instance.log_url if task_instance else None,
            model=self.model,
            report=_report(context) if task_instance else None,
        )
        plain = message.to_dict()
        notified = [channel for people in _audience(self.model) for channel in deliver({**plain, **people})]
        log.info("notified of the failed run %s by: %s", context["run_id"], ", ".join(notified) or "no channel")


class ApprovalNotifier(BaseNotifier):
    """Notifies a model's people that a task waits for their approval, with the address at which to answer.

    :param model: name of the monitored model
    """

    def __init__(self, *, model: str) -> None:
        super().__init__()
        self.model = model

    def render_template_fields(self, *_: Any, **__: Any) -> None:
        """Render nothing: the evidence in a question is not a template."""

    def notify(self, context: Context) -> None:
        """Compose the message, and send it by every channel whose connection exists, else into the outbox."""
        from keel.alerts.messages.approval import compose_approval_request
        from keel.config import get_model
        from keel_airflow.channels import deliver
        from keel_airflow.operators.base import run_url

        task: Any = context["task"]
        message = compose_approval_request(
            get_model(self.model),
            subject=task.subject,
            body=task.body,
            answer_url=f"{run_url(context)}/tasks/{task.task_id}/required_actions",
        )
        log.info("asked for approval by: %s", ", ".join(deliver(message.to_dict())) or "no channel")


def _audience(model: str | None) -> list[dict[str, Any]]:
    """Return the addressees, one entry for each Slack channel; the first entry also has all mail addresses."""
    from keel.config import get_model, read_models

    configs = [get_model(model)] if model else list(read_models()[0].values())
    email = list(dict.fromkeys(address for config in configs for address in config.alerts.email))
    slack = list(dict.fromkeys(config.alerts.slack for config in configs if config.alerts.slack))
    first = {"email": email, "slack": slack[0] if slack else None}
    return [first, *({"email": [], "slack": channel} for channel in slack[1:])]


def _refused_its_user(context: Context) -> bool:
    """Whether the run failed because of what the person who started it asked for.

    Runs of schedules, assets and Keel's own tasks have no reader, so their people are notified.
    """
    if (context.get("reason") or TASK_FAILURE) != TASK_FAILURE:
        return False
    try:
        return context["dag_run"].run_type == "manual" and _pushed(context, REFUSED_KEY) is True
    except Exception:
        log.exception("could not read whether the failed task refused its user")
        return False


def _pushed(context: Context, key: str) -> Any:
    return context["ti"].xcom_pull(task_ids=context["ti"].task_id, key=key)


def _report(context: Context) -> str | None:
    """Return where the run had published its report before it failed; None where it had not."""
    try:
        message = context["ti"].xcom_pull(task_ids="compose_message")
    except Exception:
        log.exception("could not read where the run published its report")
        return None
    return message.get("report") if isinstance(message, dict) else None


def _error(context: Context) -> str:
    reason = context.get("reason") or TASK_FAILURE
    if reason != TASK_FAILURE:
        return ENDINGS.get(reason, reason)
    try:
        error = _pushed(context, ERROR_KEY)
    except Exception:
        log.exception("could not read the failed task's error")
        return "it could not be read: see the task's log"
    return error or "the task pushed none, so it was probably killed: see the task's log"

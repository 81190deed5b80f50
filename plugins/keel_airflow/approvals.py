"""What people are told of a task that waits for their approval. Its answer is told with what it leads to."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.alerts.door import Posted
    from keel.config import ModelConfig
    from keel.workspace import Workspace


def report_question(workspace: Workspace, config: ModelConfig, context: Context) -> Posted:
    """Put the question of an `AwaitApprovalOperator` into the outbox, with the address at which to answer.

    A cleared task asks again, and earlier answers do not count, so each try is a question of its own.
    """
    from keel.alerts.door import observe
    from keel.alerts.findings.approval import observe_question
    from keel.alerts.messages.approval import compose_approval
    from keel_airflow.operators.base import run_url

    task: Any = context["task"]
    now, answer_url = datetime.now(UTC), f"{run_url(context)}/tasks/{task.task_id}/required_actions"
    question = observe_question(
        config.model,
        challenger=task.challenger,
        report_id=task.report_id,
        run_id=f"{context['run_id']}/{context['ti'].try_number}",
        answer_url=answer_url,
        until=now + config.promotion.approval_timeout,
        now=now,
    )
    compose = partial(
        compose_approval,
        config,
        question=task.subject,
        body=task.body,
        answer_url=answer_url,
        now=now,
    )
    return observe(workspace, config, question, compose, now=now)

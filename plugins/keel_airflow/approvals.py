"""What people are told of a task that waits for their approval: the question, and later the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.alerts.door import Posted
    from keel.alerts.records import Message
    from keel.config import ModelConfig
    from keel.monitoring.records import Outcome
    from keel.workspace import Workspace


def report_question(workspace: Workspace, config: ModelConfig, context: Context) -> Posted:
    """Put the question of an `AwaitApprovalOperator` into the outbox, with the address at which to answer."""
    from keel.alerts.door import observe
    from keel.alerts.findings.approval import observe_question

    task: Any = context["task"]
    now = datetime.now(UTC)
    question = observe_question(
        config.model,
        challenger=task.challenger,
        report_id=task.report_id,
        run_id=_asking(context),
        until=now + config.promotion.approval_timeout,
        now=now,
    )
    compose = _composer(config, context, now, question=task.subject, body=task.body)
    return observe(workspace, config, question, compose, now=now)


def report_answer(workspace: Workspace, config: ModelConfig, outcome: Outcome, context: Context) -> Posted:
    """Put what was answered, or that nobody answered in time, into the outbox."""
    from keel.alerts.door import observe
    from keel.alerts.findings.approval import observe_answer

    assert outcome.challenger is not None, "an answer is about a version"
    now, challenger = datetime.now(UTC), outcome.challenger
    answer = observe_answer(
        config.model, challenger=challenger, sentence=outcome.sentence, run_id=_asking(context), now=now
    )
    question = f"Promote {config.model} version {challenger}?"
    return observe(workspace, config, answer, _composer(config, context, now, question=question, body=""), now=now)


def _composer(config: ModelConfig, context: Context, now: datetime, *, question: str, body: str) -> partial[Message]:
    from keel.alerts.messages.approval import compose_approval
    from keel_airflow.operators.base import run_url

    address = f"{run_url(context)}/tasks/{context['task'].task_id}/required_actions"
    return partial(compose_approval, config, question=question, body=body, answer_url=address, now=now)


def _asking(context: Context) -> str:
    """Return what tells one question from another: a cleared task asks again, and earlier answers do not count."""
    return f"{context['run_id']}/{context['ti'].try_number}"

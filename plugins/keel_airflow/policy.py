"""The policy that every DAG of Keel keeps: shared arguments, and a check of each DAG."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator

from keel_airflow.notifications import KeelNotifier
from keel_airflow.operators.approval import AwaitApprovalOperator
from keel_airflow.operators.base import WorkspaceOperator
from keel_airflow.operators.training import RetrainOperator
from keel_airflow.runs import push_error

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from keel.config import ModelConfig

START_DATE = datetime(2024, 1, 1, tzinfo=UTC)
TRAINING_POOL = "keel_training"
"""Trainings share few slots, so that drift in many models does not start all trainings at once."""
TRAINING_TIMEOUT = timedelta(hours=2)
TASK_TIMEOUT = timedelta(minutes=30)
WORK_TIMEOUT = timedelta(hours=5)
"""For the work of a run. Waiting for a person comes on top."""
OWNER = "ml-platform"
"""Owner of the DAG that belongs to no model."""
UNCHECKED = "begins the DAG and does not check the run's parameters"
DOC_SECTIONS = ("## Purpose", "## Inputs", "## Outputs", "## When it fails")


class Tag(StrEnum):
    """The tags that a DAG may have. The model is in the DAG's id."""

    KEEL = "keel"
    MONITORING = "monitoring"
    TRAINING = "training"
    DEPLOYMENT = "deployment"
    MAINTENANCE = "maintenance"
    ALERTS = "alerts"


def dag_arguments(
    config: ModelConfig | None, *, doc: str, tags: set[Tag], dagrun_timeout: timedelta = WORK_TIMEOUT
) -> dict[str, Any]:
    """Return the arguments that every DAG shares.

    The DAG's callback tells people that runs fail, and that they work again: three checks that fail on one lost store
    make one message. The callback runs in the DAG processor, which has no exception, so each failed task pushes its
    error.

    A DAG is active as soon as its model is configured: no user must remember to switch monitoring on. Templates render
    to native objects, so that an XCom stays a dict.

    Parameters
    ----------
    config:
        of the model; None for a DAG of all models
    doc:
        the DAG's documentation, with fields such as ``{model}`` and ``{people}``
    tags:
        beside `Tag.KEEL`
    dagrun_timeout:
        time after which a run fails

    """
    notifier = KeelNotifier(model=config.model if config else None)
    return {
        "start_date": START_DATE,
        "catchup": False,
        "max_active_runs": 1,
        "dagrun_timeout": dagrun_timeout,
        "is_paused_upon_creation": False,
        "render_template_as_native_obj": True,
        "on_failure_callback": notifier,
        "on_success_callback": notifier,
        "tags": {Tag.KEEL.value, *(tag.value for tag in tags)},
        "doc_md": doc.format(**_fields(config)) if config else doc,
        "default_args": {
            "owner": config.owner if config else OWNER,
            "retries": 2,
            "retry_delay": timedelta(seconds=30),
            "retry_exponential_backoff": 2,
            "max_retry_delay": timedelta(minutes=10),
            "execution_timeout": TASK_TIMEOUT,
            "on_failure_callback": push_error,
        },
    }


def _fields(config: ModelConfig) -> dict[str, str]:
    people = dict.fromkeys(name for route in config.alerts.all_routes() for name in route.to)
    policy = config.promotion
    return {
        "model": config.model,
        "check_schedule": _runs_at(config.check.schedule),
        "monitor_schedule": _runs_at(policy.monitor_schedule),
        "people": ", ".join(people) or "the outbox",
        "approval": policy.approval,
        "approvers": ", ".join(policy.approvers) or "any permitted user",
        "runbook": config.alerts.runbook or "none is configured",
    }


def _runs_at(schedule: str | None) -> str:
    return f"at `{schedule}` (UTC)" if schedule else "at no fixed time"


def violations(dag: DAG) -> list[str]:
    """Return a sentence for each part of the policy that a DAG violates."""
    found = [
        (dag.start_date is None or dag.start_date.tzinfo is None, "start_date is missing or naive"),
        (dag.catchup, "catchup is on"),
        (dag.max_active_runs != 1, f"max_active_runs is {dag.max_active_runs}, not 1"),
        (dag.dagrun_timeout is None, "dagrun_timeout is missing"),
        (_ends_while_waiting(dag), "dagrun_timeout ends before the wait for a person does"),
        (not isinstance(dag.on_failure_callback, KeelNotifier), "on_failure_callback notifies no person"),
        (Tag.KEEL not in dag.tags, f"the tag {Tag.KEEL.value!r} is missing"),
    ]
    found += [(True, f"tag {tag!r} is not in the vocabulary") for tag in dag.tags if tag not in set(Tag)]
    found += [(section not in (dag.doc_md or ""), f"doc_md has no {section!r}") for section in DOC_SECTIONS]
    found += [(param.schema.get("type") is None, f"param {name!r} has no type") for name, param in _params(dag)]
    found += [
        (not issubclass(getattr(task, "operator_class", type(task)), WorkspaceOperator), f"{task.task_id}: {UNCHECKED}")
        for task in dag.roots
    ]
    return [sentence for broken, sentence in found if broken] + [
        f"{task.task_id}: {sentence}" for task in dag.tasks for sentence in _task_violations(task)
    ]


def _ends_while_waiting(dag: DAG) -> bool:
    """Whether a run may end while one of its tasks still waits for a person's answer."""
    waits = [task.response_timeout for task in dag.tasks if isinstance(task, HITLOperator)]
    return dag.dagrun_timeout is not None and any(dag.dagrun_timeout <= wait for wait in waits if wait)


def _params(dag: DAG) -> list[tuple[str, Any]]:
    return [(name, dag.params.get_param(name)) for name in dag.params]


def _task_violations(task: Any) -> list[str]:
    found = [
        (task.owner in {"", "airflow"}, "has no owner"),
        (task.execution_timeout is None, "execution_timeout is missing"),
        (task.retries < 1, "never retries"),
        (not task.retry_exponential_backoff, "retries without backoff"),
        (push_error not in task.on_failure_callback, "its error is not pushed for the failure message"),
        (isinstance(task, RetrainOperator) and task.pool != TRAINING_POOL, f"trains outside the pool {TRAINING_POOL}"),
        (isinstance(task, AwaitApprovalOperator) and not task.response_timeout, "waits for a person without a timeout"),
        (not task.task_id.replace("_", "").isalpha() or not task.task_id.islower(), "task ids are verbs in snake_case"),
    ]
    return [sentence for broken, sentence in found if broken]

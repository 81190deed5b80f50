"""Tasks and task groups that several DAGs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import TaskGroup, TriggerRule, conf
from airflow.sdk.execution_time.hitl import HITLUser

from keel_airflow.assets import production_asset
from keel_airflow.notifications import ApprovalNotifier
from keel_airflow.operators.alerting import ComposeMessageOperator, RecordCheckOperator, RecordOperator
from keel_airflow.operators.approval import AwaitApprovalOperator
from keel_airflow.operators.experiment import ConcludeExperimentOperator
from keel_airflow.operators.rollout import KeepChampionOperator, PromoteOperator, StageOperator
from keel_airflow.operators.sending import BY_CHANNEL
from keel_airflow.operators.training import CompareModelsOperator, RetrainOperator
from keel_airflow.policy import TRAINING_POOL, TRAINING_TIMEOUT

if TYPE_CHECKING:
    from airflow.sdk import DAG, BaseOperator

    from keel.config import ModelConfig
    from keel_airflow.operators.base import TaskResult

RETRAIN_AND_COMPARE = "retrain_and_compare"
PROMOTION_AFTER_RETRAIN: Any = """{{ {
    'version': ti.xcom_pull('stage')['version'],
    'reason': ti.xcom_pull('compare')['sentence'][:500],
    'end': ti.xcom_pull('compare')['until'],
    'overrides': params.overrides,
} }}"""
"""Parameters of the run of ``<model>.promote`` that asks for approval of a new challenger.

One expression, so that it renders to a dict and the sentence in it stays text. ``end`` is the end of the check, so that
people approve what the check found. (`Any`, as Airflow's type is that of the rendered value.)
"""
PROMOTION_AFTER_EXPERIMENT: Any = """{{ {
    'version': ti.xcom_pull('stage')['version'],
    'reason': ti.xcom_pull('watch')['sentence'][:500],
    'end': ti.xcom_pull('stage')['until'],
    'experiment': ti.xcom_pull('stage')['experiment_id'],
} }}"""
"""As `PROMOTION_AFTER_RETRAIN`, for a version that an experiment showed to be better."""


def needs_approval(config: ModelConfig) -> bool:
    """Whether the model's policy wants a person to approve a promotion."""
    return config.promotion.approval != "auto"


def retrain_outcomes(config: ModelConfig) -> tuple[str, str]:
    """Return the ids of the tasks that return the outcome of a retraining."""
    return ("stage" if needs_approval(config) else "promote", "keep_champion")


def retrain_and_compare(config: ModelConfig, *, decision: TaskResult) -> TaskGroup:
    """Return the group that trains a challenger, compares it with the champion, and acts on the verdict.

    Where the policy wants approval, a better challenger is staged, and a run of ``<model>.promote`` asks for it. That
    run is not waited for, because the next check must not be delayed.

    Parameters
    ----------
    config:
        of the model
    decision:
        the decision to retrain

    """
    model = config.model
    with TaskGroup(RETRAIN_AND_COMPARE, prefix_group_id=False, tooltip="Champion against challenger") as group:
        retrain = RetrainOperator(
            task_id="retrain",
            model=model,
            decision=decision,
            pool=TRAINING_POOL,
            execution_timeout=TRAINING_TIMEOUT,
        )
        compare = CompareModelsOperator(
            task_id="compare",
            model=model,
            candidate=retrain.output,
            branches={name: name for name in retrain_outcomes(config)},
        )
        if needs_approval(config):
            stage = StageOperator(task_id="stage", model=model, comparison=compare.output)
            stage >> start_promotion(model, cause="retrain", parameters=PROMOTION_AFTER_RETRAIN)
        else:
            promote_operator(model, comparison=compare.output)
        KeepChampionOperator(task_id="keep_champion", model=model, comparison=compare.output)
    return group


def conclude_experiment(config: ModelConfig, *, decision: TaskResult) -> list[BaseOperator]:
    """Return the tasks that conclude an experiment, by their task ids the branches of `WatchDeploymentOperator`."""
    model = config.model
    end = ConcludeExperimentOperator(task_id="end_experiment", model=model, decision=decision)
    if not config.retrain:  # there are no challengers, and no ``<model>.promote``
        return [end]
    if not needs_approval(config):
        outlets = [production_asset(model)]
        return [end, ConcludeExperimentOperator(task_id="promote", model=model, decision=decision, outlets=outlets)]
    stage = ConcludeExperimentOperator(task_id="stage", model=model, decision=decision)
    stage >> start_promotion(model, cause="experiment", parameters=PROMOTION_AFTER_EXPERIMENT)
    return [end, stage]


def start_promotion(model: str, *, cause: str, parameters: Any) -> TriggerDagRunOperator:
    """Return the task that starts the run which asks for approval. A cleared run starts no second one."""
    return TriggerDagRunOperator(
        task_id="start_promotion",
        trigger_dag_id=f"{model}.promote",
        trigger_run_id=f"{cause}__{{{{ dag_run.run_id }}}}",
        logical_date=None,
        conf=parameters,
        skip_when_already_exists=True,
    )


def start_check(model: str) -> TriggerDagRunOperator:
    """Return the task that starts the check of the alarms which a check leaves. A cleared run starts no second one."""
    return TriggerDagRunOperator(
        task_id="check_again",
        trigger_dag_id=f"{model}.drift_check",
        trigger_run_id="{{ ti.xcom_pull('record')['again'] }}",
        logical_date=None,
        skip_when_already_exists=True,
    )


def notify_after_staging(dag: DAG, notify: TaskGroup) -> None:
    """Let the notification depend on ``stage`` itself, because a cleared run skips ``start_promotion``."""
    if dag.has_task("stage"):
        dag.get_task("stage") >> notify


def promote_operator(model: str, *, comparison: TaskResult) -> PromoteOperator:
    """Return the task that promotes, the same in every DAG."""
    return PromoteOperator(task_id="promote", model=model, comparison=comparison, outlets=[production_asset(model)])


def approve_operator(config: ModelConfig, *, comparison: TaskResult) -> AwaitApprovalOperator:
    """Return the task that asks the approvers, and waits as long as the model's policy says."""
    return AwaitApprovalOperator(
        task_id="approve",
        model=config.model,
        comparison=comparison,
        branches={"approved": "promote", "declined": "compose_message"},
        response_timeout=config.promotion.approval_timeout,
        notifiers=ApprovalNotifier(model=config.model),
        assigned_users=assigned_users(config.promotion.approvers),
    )


def assigned_users(approvers: Sequence[str]) -> list[HITLUser]:
    """Return the users whose answers Airflow accepts; none means every user with permission to answer.

    Airflow compares user ids. Only with the simple auth manager are these the names that a model configures: FAB's are
    numbers, Keycloak's are UUIDs. With those, Airflow accepts an answer of every user who may edit the DAG, and the
    task `approve` refuses an approval by a name that is not among the approvers.
    """
    if not conf.get("core", "auth_manager").endswith(".SimpleAuthManager"):
        return []
    return [HITLUser(id=name, name=name) for name in approvers]


def notify_and_record(
    config: ModelConfig, *, decided_by: str, outcomes_of: Sequence[str], check_again: bool = False
) -> TaskGroup:
    """Return the group that notifies people of a decision, then stores its outcome.

    There is a task for each channel that the model has a route for.

    Parameters
    ----------
    config:
        of the monitored model
    decided_by:
        id of the task that returns the decision
    outcomes_of:
        ids of the tasks that return its outcome; at most one of them runs
    check_again:
        whether another check is started where live alarms have opened that this one has not judged

    """
    model = config.model
    decision, outcomes = result_of(decided_by), [result_of(task_id) for task_id in outcomes_of]
    with TaskGroup("notify_and_record", prefix_group_id=False, tooltip="Notification and record") as group:
        sends = {name: BY_CHANNEL[name] for name in channels_of(config)}
        compose_message = ComposeMessageOperator(
            task_id="compose_message",
            model=model,
            decision=decision,
            outcomes=outcomes,
            branches={name: task_id for name, (task_id, _) in sends.items()} | {"none": "record"},
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        channels = [operator(task_id=task_id, message=compose_message.output) for task_id, operator in sends.values()]
        recorded: dict[str, Any] = {
            "task_id": "record",
            "model": model,
            "decision": decision,
            "outcomes": outcomes,
            "channels": _message("channels"),
            "trigger_rule": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        }
        if check_again:
            record: RecordOperator = RecordCheckOperator(branches={"again": "check_again"}, **recorded)
            record >> start_check(model)
        else:
            record = RecordOperator(**recorded)
        compose_message >> [*channels, record]
        channels >> record
    return group


def channels_of(config: ModelConfig) -> list[str]:
    """Return the channels by which a model's people are told, in the order of `BY_CHANNEL`; without any, the outbox."""
    named = {str(route.channel) for route in config.alerts.all_routes()} or {"outbox"}
    return [name for name in BY_CHANNEL if name in named]


def result_of(task_id: str) -> str:
    """Return a template for the result of a task, None when it did not run.

    For tasks that are not neighbours in the graph: ``task.output`` would draw an edge between them.
    """
    return f"{{{{ ti.xcom_pull('{task_id}') }}}}"


def _message(key: str) -> str:
    return f"{{{{ ti.xcom_pull('compose_message')['{key}'] }}}}"

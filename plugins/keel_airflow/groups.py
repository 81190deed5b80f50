"""The stretches of work that several DAGs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.slack.operators.slack import SlackAPIPostOperator
from airflow.providers.smtp.operators.smtp import EmailOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import TaskGroup, TriggerRule, conf
from airflow.sdk.execution_time.hitl import HITLUser

from keel_airflow.assets import production_asset
from keel_airflow.channels import SLACK_CONN_ID, SMTP_CONN_ID
from keel_airflow.notifications import QuestionNotifier
from keel_airflow.operators.alerting import ComposeMessageOperator, RecordOperator, WriteToOutboxOperator
from keel_airflow.operators.approval import AwaitApprovalOperator
from keel_airflow.operators.experiment import ConcludeExperimentOperator
from keel_airflow.operators.rollout import KeepChampionOperator, PromoteOperator, StageOperator
from keel_airflow.operators.training import CompareModelsOperator, RetrainOperator
from keel_airflow.policy import TRAINING_POOL, TRAINING_TIMEOUT

if TYPE_CHECKING:
    from airflow.sdk import DAG, BaseOperator

    from keel.config import ModelConfig
    from keel_airflow.operators.base import TaskResult

RETRAIN_AND_COMPARE = "retrain_and_compare"
PROMOTION_OF_OFFER: Any = """{{ {
    'version': ti.xcom_pull('offer')['version'],
    'reason': ti.xcom_pull('compare')['sentence'][:500],
    'end': ti.xcom_pull('compare')['until'],
    'overrides': params.overrides,
} }}"""
"""What the run that asks for approval is given: one expression, so that it arrives as the dict it is, and a sentence in
it as text. It ends where the check ended, so that what people are asked to agree to is what was found."""


PROMOTION_OF_TRIED: Any = """{{ {
    'version': ti.xcom_pull('offer')['version'],
    'reason': ti.xcom_pull('watch')['sentence'][:500],
    'end': ti.xcom_pull('offer')['until'],
    'experiment': ti.xcom_pull('offer')['experiment_id'],
} }}"""
"""As `PROMOTION_OF_OFFER`, of a version that an experiment has shown to be better."""


def asks_people(config: ModelConfig) -> bool:
    """Whether the model's policy wants a person to agree to a promotion."""
    return config.promotion.approval != "auto"


def retrain_outcomes(config: ModelConfig) -> tuple[str, str]:
    """Return the tasks that say what came of a retraining."""
    return ("offer" if asks_people(config) else "promote", "keep_champion")


def retrain_and_compare(config: ModelConfig, *, decision: TaskResult) -> TaskGroup:
    """Train a challenger, judge it against the champion on one holdout, and act on the verdict.

    Where a person must agree, the challenger is offered and ``<model>.promote`` started to ask for it. Nobody waits for
    that: the next check must go on.

    decision: the decision to retrain.
    """
    model, better = config.model, retrain_outcomes(config)[0]
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
        if better == "promote":
            promote_operator(model, comparison=compare.output)
        else:
            offer = StageOperator(task_id="offer", model=model, comparison=compare.output)
            offer >> TriggerDagRunOperator(
                task_id="start_promotion",
                trigger_dag_id=f"{model}.promote",
                trigger_run_id="offered__{{ dag_run.run_id }}",
                logical_date=None,
                conf=PROMOTION_OF_OFFER,
                skip_when_already_exists=True,
            )
        KeepChampionOperator(task_id="keep_champion", model=model, comparison=compare.output)
    return group


def conclude_experiment(config: ModelConfig, *, decision: TaskResult) -> list[BaseOperator]:
    """Return the tasks that carry out an experiment's verdict, of which one runs.

    Where a person must agree, the challenger is offered, and ``<model>.promote`` started with the experiment as its
    evidence.
    """
    model = config.model
    end = ConcludeExperimentOperator(task_id="end_experiment", model=model, decision=decision)
    if not config.retrain:  # no challenger can come, and there is no ``<model>.promote``
        return [end]
    if not asks_people(config):
        outlets = [production_asset(model)]
        return [end, ConcludeExperimentOperator(task_id="promote", model=model, decision=decision, outlets=outlets)]
    offer = ConcludeExperimentOperator(task_id="offer", model=model, decision=decision)
    offer >> TriggerDagRunOperator(
        task_id="start_promotion",
        trigger_dag_id=f"{model}.promote",
        trigger_run_id="tried__{{ dag_run.run_id }}",
        logical_date=None,
        conf=PROMOTION_OF_TRIED,
        skip_when_already_exists=True,
    )
    return [end, offer]


def tell_of_offer(dag: DAG, tell: TaskGroup) -> None:
    """Let the message follow the offer itself: the start of its promotion is skipped in a run that is cleared."""
    if dag.has_task("offer"):
        dag.get_task("offer") >> tell


def promote_operator(model: str, *, comparison: TaskResult) -> PromoteOperator:
    """Return the task that promotes, the same wherever it stands."""
    return PromoteOperator(task_id="promote", model=model, comparison=comparison, outlets=[production_asset(model)])


def approve_operator(config: ModelConfig, *, comparison: TaskResult) -> AwaitApprovalOperator:
    """Return the task that asks those who may agree, for as long as the model's policy says."""
    return AwaitApprovalOperator(
        task_id="approve",
        model=config.model,
        comparison=comparison,
        branches={"approved": "promote", "declined": "compose_message"},
        response_timeout=config.promotion.approval_timeout,
        notifiers=QuestionNotifier(model=config.model),
        assigned_users=respondents(config.promotion.approvers),
    )


def respondents(names: Sequence[str]) -> list[HITLUser]:
    """Return the users whose answers Airflow itself lets through; none means whoever it permits to answer.

    It knows them by their ids, which are the names that people configure only with the simple auth manager; FAB's are
    numbers, Keycloak's are UUIDs. With those Airflow lets everybody answer who may write to the DAG, and a yes by
    somebody else than an approver is refused by the name it was given under.
    """
    if not conf.get("core", "auth_manager").endswith(".SimpleAuthManager"):
        return []
    return [HITLUser(id=name, name=name) for name in names]


def tell_and_record(model: str, *, decided_by: str, outcomes_of: Sequence[str]) -> TaskGroup:
    """Tell whoever can be reached what was decided, then close the record of the decision.

    decided_by: task that returned the decision. outcomes_of: tasks that return what came of it, where they run.
    """
    decision, outcomes = returned_by(decided_by), [returned_by(task_id) for task_id in outcomes_of]
    with TaskGroup("tell_and_record", prefix_group_id=False, tooltip="Who was told, and the record") as group:
        compose_message = ComposeMessageOperator(
            task_id="compose_message",
            model=model,
            decision=decision,
            outcomes=outcomes,
            branches={
                "email": "send_email",
                "slack": "post_to_slack",
                "outbox": "write_to_outbox",
                "none": "record",
            },
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        channels = [
            EmailOperator(
                task_id="send_email",
                conn_id=SMTP_CONN_ID,
                to=_message("email"),
                from_email=_message("sender"),
                subject=_message("subject"),
                html_content=_message("html"),
            ),
            SlackAPIPostOperator(
                task_id="post_to_slack",
                slack_conn_id=SLACK_CONN_ID,
                channel=_message("slack"),
                username="Keel",
                text=_message("post"),
            ),
            WriteToOutboxOperator(task_id="write_to_outbox", model=model, message=compose_message.output),
        ]
        record = RecordOperator(
            task_id="record",
            model=model,
            decision=decision,
            outcomes=outcomes,
            channels=_message("channels"),
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        compose_message >> [*channels, record]
        channels >> record
    return group


def returned_by(task_id: str) -> str:
    """Return a template for what a task returned, None when it did not run.

    For tasks that are no neighbours: ``task.output`` would draw an edge between them.
    """
    return f"{{{{ ti.xcom_pull('{task_id}') }}}}"


def _message(key: str) -> str:
    return f"{{{{ ti.xcom_pull('compose_message')['{key}'] }}}}"

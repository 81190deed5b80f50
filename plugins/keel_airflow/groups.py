"""The two stretches of work that several DAGs share."""

from __future__ import annotations

from collections.abc import Sequence

from airflow.providers.slack.operators.slack import SlackAPIPostOperator
from airflow.providers.smtp.operators.smtp import EmailOperator
from airflow.sdk import TaskGroup, TriggerRule, XComArg

from keel_airflow.assets import production_asset
from keel_airflow.channels import SLACK_CONN_ID, SMTP_CONN_ID
from keel_airflow.operators.compare_models import CompareModelsOperator
from keel_airflow.operators.compose_message import ComposeMessageOperator
from keel_airflow.operators.keep_champion import KeepChampionOperator
from keel_airflow.operators.promote import PromoteOperator
from keel_airflow.operators.record import RecordOperator
from keel_airflow.operators.retrain import RetrainOperator
from keel_airflow.operators.write_to_outbox import WriteToOutboxOperator
from keel_airflow.policy import TRAINING_POOL, TRAINING_TIMEOUT

RETRAIN_AND_COMPARE = "retrain_and_compare"
RETRAIN_OUTCOMES = ("promote", "keep_champion")


def retrain_and_compare(model: str, *, decision: XComArg) -> TaskGroup:
    """Train a challenger, judge it against the champion on one holdout, and act on the verdict.

    decision: the decision to retrain.
    """
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
            training=retrain.output,
            branches={name: name for name in RETRAIN_OUTCOMES},
        )
        PromoteOperator(task_id="promote", model=model, comparison=compare.output, outlets=[production_asset(model)])
        KeepChampionOperator(task_id="keep_champion", model=model, comparison=compare.output)
    return group


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

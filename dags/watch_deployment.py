"""``<model>.watch_deployment``: evaluate a version on probation and a running experiment, and find changes by hand.

There is one DAG for each valid model.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.assets import production_asset
from keel_airflow.groups import conclude_experiment, notify_and_record, result_of
from keel_airflow.operators.maintenance import ReconcileOperator
from keel_airflow.operators.rollout import ConfirmOperator, RollbackOperator, WatchDeploymentOperator
from keel_airflow.params import end_param, override_params
from keel_airflow.policy import Tag, dag_arguments
from keel_airflow.schedules import monitor_schedule

DOC = """
## Purpose
Evaluates a new version of **{model}** during its probation: does it reach its baseline from the holdout, and is it no
worse than the version before it? A harmful version is rolled back at once and quarantined. A version that passes is
confirmed. Without enough evidence at the end, people are notified and the version stays. Evaluates the running
experiment too, and ends it when there is a verdict. Completes an interrupted change of the deployment, and adopts
aliases that a user moved in MLflow.

## Inputs
- The deployment, the ledger, MLflow's aliases, and the labelled predictions of the versions concerned.
- Runs {monitor_schedule}. By hand: `end`, `overrides`.

## Outputs
- A report of each evaluation, while a version is on probation or an experiment runs.
- When there is something to do: a decision with its outcome, a row in the ledger, and a message to {people}. A version
  is rolled back or confirmed; an experiment ends, and its challenger is promoted, staged or rejected (asset
  `keel://{model}/production`). One run does one thing, the probation first.

## When it fails
The version stays in production and on probation, and is not monitored: a failed evaluation is not an all clear. Fix the
cause, then clear the failed task: the same evaluation runs again. Changes made by hand are already recorded, and people
are notified of them when the task is cleared. Clearing the task of an interrupted rollback or promotion completes it.
Runbook: {runbook}
"""


def watch_deployment(config: ModelConfig) -> DAG:
    """Build the DAG of one model."""
    model = config.model
    with DAG(
        f"{model}.watch_deployment",
        description=f"Evaluate a new version of {model} and its experiment",
        schedule=monitor_schedule(config),
        params=end_param() | override_params(),
        **dag_arguments(config, doc=DOC, tags={Tag.MONITORING, Tag.DEPLOYMENT}),
    ) as dag:
        reconcile = ReconcileOperator(task_id="reconcile", model=model)
        conclusions = conclude_experiment(config, decision=result_of("watch"))
        watch = WatchDeploymentOperator(
            task_id="watch",
            model=model,
            findings=reconcile.output,
            branches={
                "no_action": "no_action",
                "notify": "raise_alert",
                "rollback": "rollback",
                "confirm": "confirm",
                **{task.task_id: task.task_id for task in conclusions},
            },
        )
        ends = [
            EmptyOperator(task_id="raise_alert"),
            RollbackOperator(
                task_id="rollback",
                model=model,
                decision=watch.output,
                actor="keel",
                outlets=[production_asset(model)],
            ),
            ConfirmOperator(task_id="confirm", model=model, decision=watch.output),
            *conclusions,
        ]
        watch >> [EmptyOperator(task_id="no_action"), *ends]
        outcomes = ("rollback", "confirm", *(task.task_id for task in conclusions))
        ends >> notify_and_record(config, decided_by="watch", outcomes_of=outcomes)
    return dag


for valid in read_models()[0].values():
    watch_deployment(valid)

"""``<model>.watch_deployment``: look after a version on probation and a running experiment, and notice what was changed
by hand.

One DAG per valid model.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.assets import production_asset
from keel_airflow.groups import conclude_experiment, returned_by, tell_and_record
from keel_airflow.operators.maintenance import ReconcileOperator
from keel_airflow.operators.rollout import ConfirmOperator, RollbackOperator, WatchDeploymentOperator
from keel_airflow.params import end_param, override_params
from keel_airflow.policy import Tag, dag_arguments
from keel_airflow.schedules import watch_schedule

DOC = """
## Purpose
Watches a new version of **{model}** during its probation: does it keep what its holdout promised, and is it no worse
than the version before it? Harm takes it back at once and quarantines it; surviving confirms it; what shows nothing
in the end is told, and the version stays. Looks at the experiment that runs, and ends it as soon as it has a verdict.
Completes a change of the deployment that was cut short, and adopts what somebody moved in MLflow by hand.

## Inputs
The deployment, the ledger and MLflow's aliases; the predictions of the version on probation, and of the experiment,
with their labels. Runs {watch_clock}, and by hand with `end`, `overrides`.

## Outputs
While a version is on probation or an experiment runs, a report of each look. When there is something to do, a decision
with its outcome: the version taken back or confirmed, the experiment ended and its challenger promoted, offered or
turned down (asset `keel://{model}/production`), each with a row in the ledger; and a message to {people}. What the
probation leads to comes first, one thing a run.

## When it fails
The version stays on probation and in production, unwatched: a failed look is no all clear. What was changed by hand is
recorded by then, and is told when the failed task is cleared. Mend the cause and clear it: the same look is taken
again. A verdict that was cut short is completed by clearing its task. Runbook: {runbook}
"""


def watch_deployment(config: ModelConfig) -> DAG:
    """Build the DAG of one model."""
    model = config.model
    with DAG(
        f"{model}.watch_deployment",
        description=f"Look after a new version of {model}",
        schedule=watch_schedule(config),
        params=end_param() | override_params(),
        **dag_arguments(config, doc=DOC, tags={Tag.MONITORING, Tag.DEPLOYMENT}),
    ) as dag:
        reconcile = ReconcileOperator(task_id="reconcile", model=model)
        conclusions = conclude_experiment(config, decision=returned_by("watch"))
        watch = WatchDeploymentOperator(
            task_id="watch",
            model=model,
            findings=reconcile.output,
            branches={
                "nothing": "stay_silent",
                "tell": "raise_alert",
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
        watch >> [EmptyOperator(task_id="stay_silent"), *ends]
        outcomes = ("rollback", "confirm", *(task.task_id for task in conclusions))
        ends >> tell_and_record(model, decided_by="watch", outcomes_of=outcomes)
    return dag


for valid in read_models()[0].values():
    watch_deployment(valid)

"""``<model>.drift_check``: check a window of production, decide, act on the decision, and notify people.

There is one DAG for each model whose ``model.yaml`` is valid. `model_configuration.py` shows the errors of the others.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator

from keel.config import ModelConfig, read_models
from keel_airflow.groups import (
    RETRAIN_AND_COMPARE,
    notify_after_staging,
    notify_and_record,
    result_of,
    retrain_and_compare,
    retrain_outcomes,
)
from keel_airflow.operators.monitoring import (
    CountWindowOperator,
    DataDriftOperator,
    DataQualityOperator,
    DecideOperator,
    PerformanceDriftOperator,
    QuarantineOperator,
)
from keel_airflow.overdue import DeadlineDAG, check_deadline
from keel_airflow.params import override_params, window_params
from keel_airflow.policy import Tag, dag_arguments
from keel_airflow.schedules import check_schedule

DOC = """
## Purpose
Checks **{model}** in production, and acts on the result. The data quality, drift and performance of one window lead to
one action: `all_clear`, `raise_alert`, `quarantine`, or a retraining. A challenger replaces the champion only when it
is shown to be better.

## Inputs
- The prediction log with its labels, the production version with its reference grid, and `model.yaml`.
- Runs {check_schedule}, and whenever the asset `keel://{model}/alarm` is updated. Keel's live monitors update it when
  they alarm. Such a run checks the time since the change, and judges the open alarms.
- By hand: `start`, `end`, `overrides`.
- Until {model} has a first version, every task is skipped, and the log of `count_window` says so. To get one, submit
  labelled history and run `{model}.retrain`.

## Outputs
- Three reports, and a decision with its reason: in the tasks' logs, and as a page in the model's MLflow experiment.
- Depending on the decision: quarantined rows, a staged version, or a new production version (asset
  `keel://{model}/production`).
- A message to {people}, unless the action is `all_clear`.
- The live alarms that were open are closed. For alarms that opened during the run, `check_again` starts another run.

## When it fails
No decision was made: a failed check is not an all clear, and live alarms stay open. Read the failure message or the log
of the failed task. Fix the cause, then clear that task. Re-running is safe: the window stays the same, and no row is
written twice.
Runbook: {runbook}
"""


def drift_check(config: ModelConfig) -> DeadlineDAG:
    """Build the DAG of one model. Without a section ``retrain`` it only alerts and quarantines."""
    model = config.model
    with DeadlineDAG(
        f"{model}.drift_check",
        description=f"Check {model} in production, and act on the result",
        schedule=check_schedule(config),
        params=window_params() | override_params(),
        deadline=check_deadline(config),
        **dag_arguments(config, doc=DOC, tags={Tag.MONITORING}),
    ) as dag:
        count_window = CountWindowOperator(
            task_id="count_window", model=model, start="{{ params.start }}", end="{{ params.end }}"
        )
        checks = [
            DataQualityOperator(task_id="check_data_quality", model=model, counted=count_window.output),
            DataDriftOperator(task_id="check_data_drift", model=model, counted=count_window.output),
            PerformanceDriftOperator(task_id="check_performance", model=model, counted=count_window.output),
        ]
        branches = {"all_clear": "all_clear", "raise_alert": "raise_alert", "quarantine": "quarantine"}
        if config.retrain:
            branches["retrain"] = RETRAIN_AND_COMPARE
        decide = DecideOperator(task_id="decide", model=model, counted=result_of("count_window"), branches=branches)
        ends = [
            EmptyOperator(task_id="all_clear"),
            EmptyOperator(task_id="raise_alert"),
            QuarantineOperator(task_id="quarantine", model=model, decision=decide.output),
        ]
        if config.retrain:
            ends.append(retrain_and_compare(config, decision=decide.output))
        outcomes = ("quarantine", *retrain_outcomes(config))
        notify = notify_and_record(config, decided_by="decide", outcomes_of=outcomes, check_again=True)

        checks >> decide >> ends >> notify
        notify_after_staging(dag, notify)
    return dag


for valid in read_models()[0].values():
    drift_check(valid)

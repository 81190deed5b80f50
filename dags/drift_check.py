"""``<model>.drift_check``: look at a window of production, decide what it asks for, do it, and tell people.

One DAG per model whose ``model.yaml`` is valid; `model_configuration.py` shows the errors of those that are not.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.groups import (
    RETRAIN_AND_COMPARE,
    retrain_and_compare,
    retrain_outcomes,
    returned_by,
    tell_and_record,
    tell_of_offer,
)
from keel_airflow.operators.monitoring import (
    CountWindowOperator,
    DataDriftOperator,
    DataQualityOperator,
    DecideOperator,
    PerformanceDriftOperator,
    QuarantineOperator,
)
from keel_airflow.params import override_params, window_params
from keel_airflow.policy import Tag, dag_arguments
from keel_airflow.schedules import check_schedule

DOC = """
## Purpose
Checks whether **{model}** still does in production what it did on its holdout, and acts on what it finds: nothing,
an alert, a window set aside, or a challenger that replaces the champion only when it is shown to be better.

## Inputs
The prediction log with its labels, the production version with its reference grid, and `model.yaml`. Runs {clock},
whenever the asset `keel://{model}/alarm` is updated, and by hand with `start`, `end`, `overrides`.

## Outputs
Three reports and a decision with its sentence; where decided, rows set aside or a new production version (asset
`keel://{model}/production`); and a message to {people}, unless all is clear.

## When it fails
Nothing was concluded: a failed check is no all clear. Read the failure message or the failed task's log, mend the
cause and clear that task: the window stays the same and every write is repeatable. Runbook: {runbook}
"""


def drift_check(config: ModelConfig) -> DAG:
    """Build the DAG of one model; a model without ``retrain`` is only watched."""
    model = config.model
    with DAG(
        f"{model}.drift_check",
        description=f"Check {model} in production, and act on it",
        schedule=check_schedule(config),
        params=window_params() | override_params(),
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
        decide = DecideOperator(task_id="decide", model=model, counted=returned_by("count_window"), branches=branches)
        ends = [
            EmptyOperator(task_id="all_clear"),
            EmptyOperator(task_id="raise_alert"),
            QuarantineOperator(task_id="quarantine", model=model, decision=decide.output),
        ]
        if config.retrain:
            ends.append(retrain_and_compare(config, decision=decide.output))
        tell = tell_and_record(model, decided_by="decide", outcomes_of=("quarantine", *retrain_outcomes(config)))

        checks >> decide >> ends >> tell
        tell_of_offer(dag, tell)
    return dag


for valid in read_models()[0].values():
    drift_check(valid)

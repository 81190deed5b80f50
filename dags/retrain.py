"""``<model>.retrain``: train a challenger because a user or the API requests it, and promote it if it is better.

There is one DAG for each valid model with a section ``retrain``.
"""

from __future__ import annotations

from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.groups import notify_after_staging, notify_and_record, retrain_and_compare, retrain_outcomes
from keel_airflow.operators.training import RequestRetrainOperator
from keel_airflow.params import override_params, reason_param, window_params
from keel_airflow.policy import Tag, dag_arguments

DOC = """
## Purpose
Trains a challenger for **{model}** on request. It is promoted, or staged for approval, only when it is shown to be
better than the champion on labelled rows that neither has seen. The first version of a model has no champion, and is
promoted.

## Inputs
- The labelled predictions before `end` (empty: now), `model.yaml`, and the pipeline it names.
- Runs only by hand or by the API. `reason` is stored with the decision and the version.
- `start`, `end` and `overrides` change the window and the configuration for this run.

## Outputs
- A version in MLflow with its reference grid, holdout metrics and comparison.
- A decision with its outcome, and a message to {people}.
- After a promotion: a row in the ledger, and the asset `keel://{model}/production`.

## When it fails
Production is unchanged, unless `promote` had started: then clear `promote`, and it completes the promotion. Too few
labelled rows, and a pipeline that raises an error, fail at once. Fix the cause, then clear the failed task. Re-running
is safe: the same rows are not trained on twice. Runbook: {runbook}
"""


def retrain(config: ModelConfig) -> DAG:
    """Build the DAG of one model that can be retrained."""
    model = config.model
    with DAG(
        f"{model}.retrain",
        description=f"Train a challenger for {model}, compare, promote if better",
        schedule=None,
        params=reason_param() | window_params() | override_params(),
        **dag_arguments(config, doc=DOC, tags={Tag.TRAINING}),
    ) as dag:
        request = RequestRetrainOperator(
            task_id="request_retrain",
            model=model,
            start="{{ params.start }}",
            end="{{ params.end }}",
        )
        compared = retrain_and_compare(config, decision=request.output)
        notify = notify_and_record(config, decided_by="request_retrain", outcomes_of=retrain_outcomes(config))

        request >> compared >> notify
        notify_after_staging(dag, notify)
    return dag


for valid in read_models()[0].values():
    if valid.retrain:
        retrain(valid)

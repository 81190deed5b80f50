"""``<model>.retrain``: train a challenger now, because a person or the API asked, and offer it to production.

One DAG per valid model that has a ``retrain`` section.
"""

from __future__ import annotations

from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.groups import retrain_and_compare, retrain_outcomes, tell_and_record, tell_of_offer
from keel_airflow.operators.training import RequestRetrainOperator
from keel_airflow.params import override_params, reason_param, window_params
from keel_airflow.policy import Tag, dag_arguments

DOC = """
## Purpose
Trains a challenger for **{model}** when somebody asks for it, and promotes it only when it is shown to be better than
the champion on labelled rows that neither has seen. The first version of a model has no champion and is promoted.

## Inputs
The labelled predictions before `end` (empty: now), `model.yaml`, and the pipeline it names. `reason` is kept with the
decision and the version; `overrides` change the configuration for this run.

## Outputs
A version in MLflow with its reference grid, holdout metrics and comparison; a decision with its outcome; when promoted,
a row in the ledger and the asset `keel://{model}/production`; and a message to {people}.

## When it fails
Production is as it was, unless `promote` itself had begun: clearing it completes the promotion. Too few labelled rows
and a pipeline that raises fail at once and say so. Mend the cause and clear the failed task: the same rows never train
twice. Runbook: {runbook}
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
        tell = tell_and_record(model, decided_by="request_retrain", outcomes_of=retrain_outcomes(config))

        request >> compared >> tell
        tell_of_offer(dag, tell)
    return dag


for valid in read_models()[0].values():
    if valid.retrain:
        retrain(valid)

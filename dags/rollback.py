"""``<model>.rollback``: take the production version back, because a person or the API asked.

One DAG per valid model.
"""

from __future__ import annotations

from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.assets import production_asset
from keel_airflow.groups import tell_and_record
from keel_airflow.operators.rollout import RequestRollbackOperator, RollbackOperator
from keel_airflow.params import override_params, reason_param, version_param
from keel_airflow.policy import Tag, dag_arguments

DOC = """
## Purpose
Takes the production version of **{model}** back to the one before it, or to one that has served before. What is taken
back is quarantined: it cannot be promoted again until somebody releases it.

## Inputs
`reason`, which is kept with the version, and `version` (empty: the previous one).

## Outputs
The deployment and its row in the ledger, MLflow's aliases, the asset `keel://{model}/production`, all within the one
task `rollback`; and a message to {people}.

## When it fails
Nothing was taken back, unless `rollback` had begun: clearing it completes the rollback. With no version to go back to
it says so and names those that have served. Production moved meanwhile: look again, then start another run.
Runbook: {runbook}
"""


def rollback(config: ModelConfig) -> DAG:
    """Build the DAG of one model."""
    model = config.model
    with DAG(
        f"{model}.rollback",
        description=f"Take the production version of {model} back",
        schedule=None,
        params=reason_param() | version_param("the previous one") | override_params(),
        **dag_arguments(config, doc=DOC, tags={Tag.DEPLOYMENT}),
    ) as dag:
        request = RequestRollbackOperator(task_id="request_rollback", model=model)
        take_back = RollbackOperator(
            task_id="rollback", model=model, decision=request.output, outlets=[production_asset(model)]
        )
        take_back >> tell_and_record(model, decided_by="request_rollback", outcomes_of=("rollback",))
    return dag


for valid in read_models()[0].values():
    rollback(valid)

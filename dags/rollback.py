"""``<model>.rollback``: roll back the production version because a user or the API requests it.

There is one DAG for each valid model.
"""

from __future__ import annotations

from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.assets import production_asset
from keel_airflow.groups import notify_and_record
from keel_airflow.operators.rollout import RequestRollbackOperator, RollbackOperator
from keel_airflow.params import override_params, reason_param, version_param
from keel_airflow.policy import Tag, dag_arguments

DOC = """
## Purpose
Rolls **{model}** back to the previous production version, or to an earlier one. The version that is replaced is
quarantined: it cannot be promoted again until a user reinstates it.

## Inputs
- Runs only by hand or by the API. `reason` is stored with the version, and `version` is the version to roll back to
  (empty: the previous one).

## Outputs
- One task, `rollback`, changes the deployment with a row in the ledger, MLflow's aliases, and the asset
  `keel://{model}/production`.
- A message to {people}.

## When it fails
Production is unchanged, unless `rollback` had started: then clear `rollback`, and it completes the change. Without a
version to roll back to, the error lists the versions that have served. If production has changed since the request,
check the deployment first, then start another run. Runbook: {runbook}
"""


def rollback(config: ModelConfig) -> DAG:
    """Build the DAG of one model."""
    model = config.model
    with DAG(
        f"{model}.rollback",
        description=f"Roll back the production version of {model}",
        schedule=None,
        params=reason_param() | version_param("the previous one") | override_params(),
        **dag_arguments(config, doc=DOC, tags={Tag.DEPLOYMENT}),
    ) as dag:
        request = RequestRollbackOperator(task_id="request_rollback", model=model)
        rollback_task = RollbackOperator(
            task_id="rollback", model=model, decision=request.output, outlets=[production_asset(model)]
        )
        rollback_task >> notify_and_record(config, decided_by="request_rollback", outcomes_of=("rollback",))
    return dag


for valid in read_models()[0].values():
    rollback(valid)

"""``<model>.experiment``: start or stop an experiment with a challenger in production.

There is one DAG for each valid model with a section ``retrain``: only those have challengers.
"""

from __future__ import annotations

from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.groups import notify_and_record
from keel_airflow.operators.experiment import ExperimentOperator
from keel_airflow.params import experiment_params, override_params, reason_param
from keel_airflow.policy import Tag, dag_arguments

DOC = """
## Purpose
Starts an experiment on **{model}**, or stops the running one. In mode `ab` the challenger answers a share of the
entities; in mode `shadow` its answers are only logged. `{model}.watch_deployment` evaluates the experiment,
and ends it when there is a verdict.

## Inputs
- Runs only by hand. `action` is `start` or `stop`, and `reason` is stored in the ledger.
- `experiment`: with `stop`, which one is meant (empty: the one that is running).
- `challenger` (empty: the version in staging), `mode`, `allocation` or `ramp` (`5:24h,20:24h,50`).
- `metric`, `margin`, `alpha`: empty, they are those of the promotion policy. An experiment may be stricter than the
  policy, never laxer.
- `min_duration`, `max_duration` and `max_outcomes` limit its length; `start_at` is the time from which rows count.
- `overrides` change the configuration for this run, except the promotion policy.

## Outputs
- A row in the ledger, a decision, and a message to {people}.
- The scoring service follows at its next poll.

## When it fails
No experiment was started or stopped. The error gives the reason: another experiment runs, the challenger may not be
promoted, or the plan cannot reach a verdict. Fix the cause, then clear the task. Re-running is safe: no experiment
starts twice. Runbook: {runbook}
"""


def experiment(config: ModelConfig) -> DAG:
    """Build the DAG of one model."""
    model = config.model
    with DAG(
        f"{model}.experiment",
        description=f"Start or stop an experiment with a challenger of {model}",
        schedule=None,
        params=experiment_params() | reason_param() | override_params(),
        **dag_arguments(config, doc=DOC, tags={Tag.DEPLOYMENT}),
    ) as dag:
        change = ExperimentOperator(task_id="start_or_stop", model=model)
        change >> notify_and_record(config, decided_by="start_or_stop", outcomes_of=())
    return dag


for valid in read_models()[0].values():
    if valid.retrain:
        experiment(valid)

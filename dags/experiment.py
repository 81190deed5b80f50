"""``<model>.experiment``: try a challenger in production beside the champion, or stop doing so.

One DAG per valid model that has a ``retrain`` section: only those get challengers.
"""

from __future__ import annotations

from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.groups import tell_and_record
from keel_airflow.operators.experiment import ExperimentOperator
from keel_airflow.params import experiment_params, override_params, reason_param
from keel_airflow.policy import Tag, dag_arguments

DOC = """
## Purpose
Starts an experiment on **{model}**: the scoring service has a challenger answer a share of the entities (`ab`), or asks
it too without using its answer (`shadow`), until it is shown to be better or worse than the champion. Or stops the one
that runs. `{model}.watch_deployment` looks at it and carries out its verdict.

## Inputs
`action`; the `challenger` (empty: the one in staging), `mode`, `allocation` or `ramp` (`5:24h,20:24h,50`), `metric`,
`margin`, `alpha`, `max_n`, `least` and `most` (how long it lasts), and `at`, from when rows count. What is left empty
is what the gate asks; an experiment may ask for more, not for less. `reason` is kept in the ledger. `overrides` change
the configuration for this run, but nothing that the gate goes by.

## Outputs
A row in the ledger, a decision, and a message to {people}. The scoring service follows within its next poll.

## When it fails
Nothing was started or stopped, and the error says why: another experiment runs, the challenger may not go into
production, or the plan could not end in a verdict. Clearing a run that was cut short starts nothing twice.
Runbook: {runbook}
"""


def experiment(config: ModelConfig) -> DAG:
    """Build the DAG of one model."""
    model = config.model
    with DAG(
        f"{model}.experiment",
        description=f"Try a challenger of {model} in production, or stop",
        schedule=None,
        params=experiment_params() | reason_param() | override_params(),
        **dag_arguments(config, doc=DOC, tags={Tag.DEPLOYMENT}),
    ) as dag:
        change = ExperimentOperator(task_id="start_or_stop", model=model)
        change >> tell_and_record(model, decided_by="start_or_stop", outcomes_of=())
    return dag


for valid in read_models()[0].values():
    if valid.retrain:
        experiment(valid)

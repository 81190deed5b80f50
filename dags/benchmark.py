"""``<model>.benchmark``: measure latency, throughput, memory and size of versions side by side.

There is one DAG for each valid model.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.operators.training import BenchmarkOperator
from keel_airflow.params import override_params, versions_param
from keel_airflow.policy import TRAINING_POOL, Tag, dag_arguments

DOC = """
## Purpose
Measures versions of **{model}** side by side on the same rows: latency for one row and for batches, throughput, load
time, memory, and size on disk. Use the numbers to choose between versions, and to set the limits in the section
`promotion` of `model.yaml`.

## Inputs
- The last predictions in the log, and the versions in MLflow.
- Runs only by hand, with `versions` (empty: production, staging, previous and the newest candidate) and `overrides`.
- Shares a pool with trainings, and waits for one that runs: its load would be measured too.

## Outputs
- In each version's run in MLflow: metrics `benchmark_…`, and the artifact `keel/benchmark.json`.
- On each version in MLflow: the tag `keel.benchmark`.
- In the task's log: the same numbers, with ratios to the production version.

## When it fails
No deployment was changed, and {people} get a message. An unknown version, a changed artifact, and too few logged
predictions fail at once, without retries. Fix the cause that the error names, then clear the task. Re-running is safe.
Runbook: {runbook}
"""


def benchmark(config: ModelConfig) -> DAG:
    """Build the DAG of one model."""
    model = config.model
    with DAG(
        f"{model}.benchmark",
        description=f"Measure latency, throughput, memory and size of versions of {model}",
        schedule=None,
        params=versions_param() | override_params(),
        **dag_arguments(config, doc=DOC, tags={Tag.DEPLOYMENT}, dagrun_timeout=timedelta(hours=1)),
    ) as dag:
        BenchmarkOperator(task_id="benchmark", model=model, pool=TRAINING_POOL)
    return dag


for valid in read_models()[0].values():
    benchmark(valid)

"""``<model>.benchmark``: measure how fast and how large versions are, side by side.

One DAG per valid model.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from keel.config import ModelConfig, read_models
from keel_airflow.operators.training import BenchmarkOperator
from keel_airflow.params import override_params
from keel_airflow.policy import TRAINING_POOL, Tag, dag_arguments

DOC = """
## Purpose
Measures versions of **{model}** in turns, on the same rows: latency for one row and for batches, throughput, load time,
memory, size on disk. For the choice between versions, and for the limits in `model.yaml`'s `promotion` section.

## Inputs
`versions` (empty: production, staging, previous and the newest candidate), the last predictions in the log, and the
versions in MLflow. Only by hand. Waits for a training that runs, whose load would be measured too.

## Outputs
Metrics `benchmark_…` and `keel/benchmark.json` in each version's own run in MLflow, where runs and versions can be
compared; the tag `keel.benchmark` of each version; the same numbers, with ratios to production, in the task's log.

## When it fails
Nothing was deployed or taken back, and {people} are told. An unknown version, a changed artifact and too few logged
predictions fail at once and say so. Mend the cause and clear the task. Runbook: {runbook}
"""


def versions_param() -> dict[str, Param]:
    """Return ``versions``: what to measure."""
    words = "Versions to measure. Empty: production, staging, previous and the newest candidate."
    number = {"type": "integer", "minimum": 1}
    return {"versions": Param([], type="array", items=number, uniqueItems=True, description=words)}


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

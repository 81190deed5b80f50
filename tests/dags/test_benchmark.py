"""Benchmarks by hand."""

from __future__ import annotations

import pytest

from tests.support.airflow.dag_bag import parse_dag
from tests.support.airflow.dag_run import run

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.mark.slow
def test_benchmark_measures_production_and_logs_to_mlflow(tide):
    done = run("tide.benchmark")

    assert (done.state, done.path) == ("success", {"benchmark"})
    report = done.xcoms["benchmark/return_value"]
    assert (list(report["versions"]), report["production"]) == (["1"], 1)
    [version] = tide.registry.versions("tide")
    metrics = tide.registry.client.get_run(version.run_id).data.metrics
    assert metrics["benchmark_p50_ms"] == report["versions"]["1"]["p50_ms"] > 0
    assert metrics["benchmark_memory_mb"] == report["versions"]["1"]["memory_mb"] > 0
    assert report["sentence"] == f"Version 1: {version.tags['keel.benchmark']}."


def test_benchmark_of_an_unknown_version_fails_and_names_the_known_ones(tide):
    done = run("tide.benchmark", versions=[1, 7])

    assert (done.state, done.states) == ("failed", {"benchmark": "failed"})
    assert "tide has no version 7; versions: 1; aliases: production → 1" in done.xcoms["benchmark/error"]
    [version] = tide.registry.versions("tide")
    assert "keel.benchmark" not in version.tags


@pytest.mark.parametrize("versions", [[1, 1], [0], ["1"], 1, None])
def test_benchmark_params_with_invalid_versions_are_refused(versions):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match="versions"):
        parse_dag("tide.benchmark").params["versions"] = versions


def test_benchmark_runs_by_hand_and_shares_the_training_pool():
    from keel_airflow.policy import TRAINING_POOL

    dag = parse_dag("tide.benchmark")

    [task] = dag.tasks
    assert type(dag.timetable).__name__ == "NullTimetable"
    assert (task.pool, dag.max_active_runs) == (TRAINING_POOL, 1)

"""The DAGs as Airflow parses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG

DAGS = PROJECT / "dags"


def parse(file: Path = DAGS) -> DagBag:
    """Parse one DAG file, or all."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(file)


def parse_dag(dag_id: str) -> DAG:
    """Parse the DAG's file, and return a DAG that the test may change."""
    bag = parse(DAGS / f"{dag_id.split('.')[1]}.py")
    assert bag.import_errors == {}
    return bag.dags[dag_id]

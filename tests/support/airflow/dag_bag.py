"""The DAGs as Airflow parses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG

DAGS = PROJECT / "dags"


def parse() -> DagBag:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(DAGS)


def parse_dag(dag_id: str) -> DAG:
    """A freshly parsed DAG, which a test may change."""
    bag = parse()
    assert bag.import_errors == {}
    return bag.dags[dag_id]

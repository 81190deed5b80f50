"""The runs that the metadata database has."""

from __future__ import annotations

from collections.abc import Sequence

from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select


def runs_of(dag_id: str, run_id: str) -> Sequence[DagRun]:
    """Return the runs of a DAG with an id."""
    with create_session() as session:
        found = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).all()
        session.expunge_all()
    return found

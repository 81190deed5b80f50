"""A run of a DAG in this process: the scheduler's decisions and the tasks are real, processes and waiting are not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import psutil
import structlog
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.sdk.execution_time.supervisor import (
    InProcessSupervisorComms,
    InProcessTestSupervisor,
    set_supervisor_comms,
)
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select

from tests.support.airflow.dag_bag import parse_dag


@dataclass(frozen=True)
class Run:
    """What a finished run left behind; ``states`` without the tasks that were skipped."""

    run_id: str
    state: str
    states: dict[str, str]
    xcoms: dict[str, Any]

    @property
    def path(self) -> set[str]:
        """The tasks that ran well."""
        return {task_id for task_id, state in self.states.items() if state == "success"}


def run(
    dag_id: str,
    *,
    logical_date: datetime | None = None,
    asked: Callable[[TaskInstance], None] | None = None,
    **params: Any,
) -> Run:
    """Run a DAG to its end without retries. ``logical_date`` None is a manual run without a data interval.

    Two runs of one logical date are one run, cleared and run again. ``asked`` is called with each task that begins to
    wait for a person.
    """
    dag = parse_dag(dag_id)
    for task in dag.tasks:
        task.retries = 0  # a retry would wait half a minute here
    with (
        patch.object(DagRun, "execute_dag_callbacks", _execute_dag_callbacks),
        patch("time.sleep", _nap(dag_id, asked)),
    ):
        finished = dag.test(logical_date=logical_date, run_after=logical_date, run_conf=params)
    with create_session() as session:
        states = {ti.task_id: str(ti.state) for ti in finished.get_task_instances(session=session)}
        mine = select(XComModel).where(XComModel.run_id == finished.run_id, XComModel.dag_id == dag_id)
        xcoms = {f"{x.task_id}/{x.key}": XComModel.deserialize_value(x) for x in session.scalars(mine)}
    ran = {task_id: state for task_id, state in states.items() if state != "skipped"}
    return Run(finished.run_id, str(finished.state), ran, xcoms)


_sleep = time.sleep


def _nap(dag_id: str, asked: Callable[[TaskInstance], None] | None) -> Callable[[float], None]:
    """Sleep no second between looks at tasks that wait for nothing but the next look, or for a person."""
    heard = set()

    def nap(seconds: float) -> None:
        _sleep(min(seconds, 0.01))
        with create_session() as session:
            parked = TaskInstance.dag_id == dag_id, TaskInstance.state == TaskInstanceState.AWAITING_INPUT
            waiting = session.scalars(select(TaskInstance).where(*parked)).unique().all()
        for task_instance in waiting:
            if task_instance.id not in heard:
                heard.add(task_instance.id)
                assert asked is not None, f"{task_instance.task_id} waits for a person, and the test has none"
                asked(task_instance)

    return nap


_plain_callbacks = DagRun.execute_dag_callbacks


def _execute_dag_callbacks(dag_run: DagRun, *arguments: Any, **named: Any) -> None:
    """Run a DAG's callbacks with a line to the supervisor, as the DAG processor does and ``dag.test`` forgets to."""
    process = psutil.Process()
    supervisor = InProcessTestSupervisor(
        id=uuid4(),
        pid=process.pid,
        process=process,
        process_log=structlog.get_logger(),
        client=InProcessTestSupervisor._api_client(),
    )
    supervisor.comms = InProcessSupervisorComms(supervisor=supervisor)
    with set_supervisor_comms(supervisor.comms):
        _plain_callbacks(dag_run, *arguments, **named)

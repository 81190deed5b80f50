"""A run of a DAG in this process. The scheduler's decisions and the tasks are real; processes and waiting are not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

import psutil
import structlog
from airflow.dag_processing import dagbag
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.execution_time.supervisor import (
    InProcessSupervisorComms,
    InProcessTestSupervisor,
    set_supervisor_comms,
)
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from airflow.utils.types import DagRunType
from jsonschema import Draft202012Validator
from sqlalchemy import select

from tests.support.airflow.dag_bag import parse_dag

if TYPE_CHECKING:
    from airflow.sdk import DAG


@dataclass(frozen=True)
class Run:
    """The results of a finished run; ``states`` has no skipped tasks."""

    run_id: str
    state: str
    states: dict[str, str]
    xcoms: dict[str, Any]

    @property
    def path(self) -> set[str]:
        """The tasks that succeeded."""
        return {task_id for task_id, state in self.states.items() if state == "success"}


def run(
    tested: str | DAG,
    *,
    logical_date: datetime | None = None,
    run_after: datetime | None = None,
    run_type: DagRunType = DagRunType.MANUAL,
    on_wait: Callable[[TaskInstance], None] | None = None,
    **params: Any,
) -> Run:
    """Run a DAG to its end, without retries. Two runs of one logical date are one run, which is cleared in between.

    tested: the DAG, or the id of one of Keel's.
    logical_date: None for a manual run without a data interval.
    run_after: when the run was due; by default its logical date, else now.
    run_type: ``dag.test`` makes manual runs only.
    on_wait: called with each task that starts to wait for a person.
    params: the run's parameters.
    """
    dag = parse_dag(tested) if isinstance(tested, str) else tested
    dag_id = dag.dag_id
    for task in dag.tasks:
        task.retries = 0  # a retry would wait for half a minute
    with (
        patch.object(DagRun, "execute_dag_callbacks", _execute_dag_callbacks),
        patch("time.sleep", _nap(dag_id, on_wait)),
        patch.object(dagbag, "BundleDagBag", partial(_Bag, _with_started_dags(dag))),
        patch.object(SerializedDAG, "create_dagrun", _creator(dag_id, run_type)),
    ):
        finished = dag.test(logical_date=logical_date, run_after=run_after or logical_date, run_conf=params)
    with create_session() as session:
        states = {ti.task_id: str(ti.state) for ti in finished.get_task_instances(session=session)}
        mine = select(XComModel).where(XComModel.run_id == finished.run_id, XComModel.dag_id == dag_id)
        xcoms = {f"{x.task_id}/{x.key}": XComModel.deserialize_value(x) for x in session.scalars(mine)}
    ran = {task_id: state for task_id, state in states.items() if state != "skipped"}
    return Run(finished.run_id, str(finished.state), ran, xcoms)


def store_all_dags() -> None:
    """Store all DAGs in the metadata database, as the DAG processor does."""
    manager = DagBundlesManager()
    manager.sync_bundles_to_db()
    for bundle in manager.get_all_dag_bundles():
        bag = dagbag.BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        dagbag.sync_bag_to_db(bag, bundle.name, bundle.version)


def _with_started_dags(dag: DAG) -> list[DAG]:
    """Return a DAG, and those that its tasks start."""
    return [dag, *(parse_dag(task.trigger_dag_id) for task in dag.tasks if isinstance(task, TriggerDagRunOperator))]


def _creator(dag_id: str, run_type: DagRunType) -> Callable[..., DagRun]:
    """Return a method that creates runs: that of the test with this type, those that its tasks start with theirs."""
    create = SerializedDAG.create_dagrun

    def create_dagrun(dag: SerializedDAG, **options: Any) -> DagRun:
        tested = dag.dag_id == dag_id and options.get("run_type") == DagRunType.MANUAL
        return create(dag, **({**options, "run_type": run_type} if tested else options))

    return create_dagrun


class _Bag(dagbag.BundleDagBag):
    """DAGs that are parsed already: ``dag.test`` would parse and store every DAG of the folder for every run."""

    def __init__(self, dags: list[DAG], **bundle: Any) -> None:
        super().__init__(collect_dags=False, **bundle)
        self.dags.update({dag.dag_id: dag for dag in dags})


_check_schema = Draft202012Validator.check_schema


@cache
def _check_schema_once(schema: str) -> None:
    _check_schema(json.loads(schema))


# Airflow checks a parameter's schema at each access, hundreds of times a run: an eighth of the time of these tests.
Draft202012Validator.check_schema = lambda schema, **_: _check_schema_once(json.dumps(schema, sort_keys=True))

_sleep = time.sleep


def _nap(dag_id: str, on_wait: Callable[[TaskInstance], None] | None) -> Callable[[float], None]:
    """Return a sleep that lasts no second, and reports each task that starts to wait for a person."""
    reported = set()

    def nap(seconds: float) -> None:
        _sleep(min(seconds, 0.01))
        with create_session() as session:
            parked = TaskInstance.dag_id == dag_id, TaskInstance.state == TaskInstanceState.AWAITING_INPUT
            waiting = session.scalars(select(TaskInstance).where(*parked)).unique().all()
        for task_instance in waiting:
            if task_instance.id not in reported:
                reported.add(task_instance.id)
                assert on_wait is not None, f"{task_instance.task_id} waits for a person, and the test has none"
                on_wait(task_instance)

    return nap


_plain_callbacks = DagRun.execute_dag_callbacks


def _execute_dag_callbacks(dag_run: DagRun, *arguments: Any, **named: Any) -> None:
    """Run a DAG's callbacks connected to a supervisor, as the DAG processor does and ``dag.test`` does not."""
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

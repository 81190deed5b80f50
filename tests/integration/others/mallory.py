"""A DAG of somebody else in the same Airflow, whose task does what tasks can to have a version promoted.

``conf``: what to try, by name: see `ATTEMPTS`.
"""

from __future__ import annotations

from airflow.sdk import DAG, Variable, task

from keel_airflow.assets import production_asset


def _trigger(dag_id, run_id, conf):
    from airflow.sdk.execution_time.comms import TriggerDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    return SUPERVISOR_COMMS.send(TriggerDagRun(dag_id=dag_id, run_id=run_id, logical_date=None, conf=conf))


def _push(dag_id, run_id, task_id, value):
    from airflow.sdk.execution_time.comms import SetXCom
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    where = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id}
    return SUPERVISOR_COMMS.send(SetXCom(key="return_value", value=value, **where))


def _answer(ti_id):
    from uuid import UUID

    from airflow.sdk.execution_time.hitl import update_hitl_detail_response

    return update_hitl_detail_response(UUID(ti_id), ["Approve"], {})


def _variable(key, value):
    Variable.set(key, value)


ATTEMPTS = {
    "answer": _answer,
    "push": _push,
    "trigger": _trigger,
    "variable": _variable,
}

with DAG("mallory", schedule=None, is_paused_upon_creation=False):

    @task(outlets=[production_asset("neap")])
    def forge(params=None):
        """Return what came of each attempt."""
        came = {}
        for name, arguments in params.items():
            try:
                ATTEMPTS[name](**arguments)
                came[name] = "done"
            except Exception as error:
                came[name] = f"{type(error).__name__}: {error}"
        return came

    forge()

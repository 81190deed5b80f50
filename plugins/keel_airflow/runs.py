"""How a run, or a task, has ended: what Airflow knows of it in a callback, and what of that people are told."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.log import redact  # type: ignore[attr-defined]  # Airflow has no public name for it

from keel.errors import InvalidParameter, LedgerBroken, NoVersionYet
from keel.values.redaction import without_secrets

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

    from keel.alerts.door import Posted
    from keel.alerts.records import Message, Observation
    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

ERROR_KEY = "error"
"""XCom key under which a failed task pushes its error for the run's callback."""
REFUSED_KEY = "refused"
"""XCom key under which a failed task pushes whether it refused what the run's user asked for."""
LEDGER_KEY = "ledger_broken"
"""XCom key under which a failed task pushes whether the ledger does not hold."""
ERROR_LENGTH = 2_000
"""Longest error text, in characters. Some libraries put a whole SQL statement with its data into their errors."""
ERROR_READ = 4 * ERROR_LENGTH
"""Characters of an error that are looked at: it may be as long as the data."""
SUCCESS, TASK_FAILURE = "success", "task_failure"
"""Airflow's reasons for a run that succeeds, and for one that fails because of a task."""
ENDINGS = {
    "timed_out": "the run took longer than its dagrun_timeout",
    "all_tasks_deadlocked": "no task of the run could start any more",
}
"""Reasons for which a run fails without a failed task, by Airflow's names."""
KILLED = "the task pushed none, so it was probably killed: see the task's log"
UNREADABLE = "it could not be read: see the task's log"


def push_error(context: Context) -> None:
    """Push a failed task's error, without secrets, as an XCom for the run's failure message."""
    error = _cause(context)
    context["ti"].xcom_push(key=ERROR_KEY, value=_text(error) if error else None)
    context["ti"].xcom_push(key=REFUSED_KEY, value=isinstance(error, InvalidParameter | NoVersionYet))
    context["ti"].xcom_push(key=LEDGER_KEY, value=isinstance(error, LedgerBroken))


@dataclass(frozen=True)
class RunEnd:
    """The end of a run or, in the callback of a task, of that task."""

    dag_id: str
    run_id: str
    succeeded: bool
    task_id: str | None = None
    """The task that failed; None where the run failed without one."""
    of_task: bool = False
    """Whether it is the end of the task alone: other tasks of the run may end otherwise."""
    instance: int | None = None
    """Which instance of a mapped task it is; None for a task that is not mapped. Each may end otherwise, too."""
    instances: int | None = None
    """How many there are in this run; None where that is not known."""
    success_is_seen: bool = True
    """Whether a success, too, has a callback that ends the alert. If not, a failure of another day is told again."""
    error: str | None = None
    ledger_broken: bool = False
    refused_its_user: bool = False
    """Whether a person started the run with what it refuses. That person reads the error in the run, nothing was
    changed, and no check has failed: nobody else is to be told."""
    log_url: str | None = None
    report_url: str | None = None
    """Where the run had published its report before it failed."""
    run_url: str | None = None
    decided: str | None = None
    """What the run had found and decided before it failed."""

    @property
    def subject(self) -> str:
        """What an alert of it is about: the DAG, or one task of it."""
        return f"{self.dag_id}.{self.task_id}" if self.of_task else self.dag_id


def end_of(context: Context, *, told_by: type[BaseNotifier]) -> RunEnd:
    """Return what has ended, from the context of any callback: in a task's process or in the DAG processor.

    told_by: the class of the callback, which may be that of a success, too.

    In the DAG processor the context has no exception, and without a failed task it has neither task nor run.
    """
    from keel_airflow.operators.base import run_url

    reason, ti = context.get("reason"), context.get("ti")
    of_task = reason is None
    known: dict[str, Any] = {
        "dag_id": context["dag"].dag_id,
        "run_id": context["run_id"],
        "run_url": run_url(context),
        "of_task": of_task,
        "succeeded": _task_succeeded(context) if of_task else reason == SUCCESS,
        "task_id": ti.task_id if ti and reason in (None, TASK_FAILURE) else None,
        "instance": _instance(ti) if of_task else None,
        "success_is_seen": _tells_success(ti.task if of_task and ti else context["dag"], told_by),
    }
    if known["succeeded"]:
        return RunEnd(**known, instances=_instances(context) if known["instance"] is not None else None)
    return RunEnd(**known, **_failure(context, reason), log_url=ti.log_url if ti else None)


def report_run(workspace: Workspace, end: RunEnd, *, model: str | None, now: datetime) -> Posted | None:
    """Put what is new about the end of a run into the outbox; None where it has succeeded, as people believe it does.

    model: whose people are told; None: those of every model.
    """
    from keel.alerts.door import observe
    from keel.alerts.records import ALL_MODELS, fingerprint
    from keel.config import Kind, read_models

    if end.succeeded:
        kinds = (Kind.PIPELINE_FAILURE, Kind.LEDGER_BROKEN)
        over = {fingerprint(model or ALL_MODELS, kind, end.subject) for kind in kinds}
        if not any(
            row["fingerprint"] in over for row in workspace.store.alerts.list(model or ALL_MODELS, is_open=True)
        ):
            return None
    elif end.dag_id == f"{model}.drift_check":  # scheduled runs of two DAGs share an id
        end = replace(end, decided=_decided(workspace, str(model), end.run_id))
    # A model.yaml that is not valid any more names nobody: then everybody is told.
    config = read_models()[0].get(model) if model else None
    return observe(workspace, config, observation_of(end, model=model, now=now), composer(end, config, now), now=now)


def _decided(workspace: Workspace, model: str, run_id: str) -> str | None:
    """Return what the check of a run had decided, unless that all is clear: then nothing is left to be told."""
    from keel.monitoring.records import Action

    found = workspace.store.decisions.of_run(model, run_id)
    return str(found["sentence"]) if found and found["action"] != Action.ALL_CLEAR else None


def observation_of(end: RunEnd, *, model: str | None, now: datetime) -> Observation:
    """Return what a run's end is to the alerts of its model."""
    from keel.alerts.findings.failure import observe_failure, observe_success
    from keel.config import Kind

    about: dict[str, Any] = {"run_id": end.run_id, "model": model, "now": now, "subject": end.subject}
    about["instance"] = end.instance
    # A run may be cleared and end again, so the time is a part of what tells one end from another.
    about |= {"dag_id": end.dag_id, "attempt": now.isoformat()}
    if end.succeeded:
        return observe_success(**about, instances=end.instances)
    kind = Kind.LEDGER_BROKEN if end.ledger_broken else Kind.PIPELINE_FAILURE
    episode = None if end.success_is_seen else f"{now:%Y-%m-%d}"
    about |= {"task_id": end.task_id, "error": end.error, "log_url": end.log_url}
    return observe_failure(kind=kind, episode=episode, **about)


def composer(end: RunEnd, config: ModelConfig | None, now: datetime) -> partial[Message]:
    """Return what composes the message about a run's end."""
    from keel.alerts.messages.pipeline import compose_failure

    return partial(
        compose_failure,
        config,
        dag_id=end.dag_id,
        run_id=end.run_id,
        task_id=end.task_id,
        instance=end.instance,
        error=end.error,
        log_url=end.log_url,
        now=now,
        run_url=end.run_url,
        report_url=end.report_url,
        decided=end.decided,
    )


def _instance(ti: Any) -> int | None:
    index = getattr(ti, "map_index", -1)
    return index if index >= 0 else None


def _instances(context: Context) -> int | None:
    """Return how many instances of its task the run has; None where Airflow does not say."""
    ti = context["ti"]
    try:
        return ti.get_ti_count(ti.dag_id, task_ids=[ti.task_id], run_ids=[context["run_id"]])
    except Exception:  # the instance itself is known to work
        log.exception("could not count the instances of %s", ti.task_id)
        return None


def _tells_success(ended: Any, told_by: type[BaseNotifier]) -> bool:
    callbacks = getattr(ended, "on_success_callback", None) or ()
    return any(isinstance(each, told_by) for each in (callbacks if isinstance(callbacks, Iterable) else (callbacks,)))


def _task_succeeded(context: Context) -> bool:
    """Whether the callback of a task is that of its success. A failed one has an exception, unless it was killed."""
    return context.get("exception") is None and getattr(context["ti"], "state", None) == SUCCESS


def _failure(context: Context, reason: str | None) -> dict[str, Any]:
    """Return what is known of a failure. What cannot be read is said to be unreadable: the message must leave."""
    if reason is None:
        error = _cause(context)
        return {"error": _text(error) if error else KILLED, "ledger_broken": isinstance(error, LedgerBroken)}
    if reason != TASK_FAILURE:
        return {"error": ENDINGS.get(reason, reason)}
    try:
        return {
            "error": _clean(_pushed(context, ERROR_KEY) or (KILLED if _pushes(context) else "see the task's log")),
            "ledger_broken": _pushed(context, LEDGER_KEY) is True,
            "refused_its_user": context["dag_run"].run_type == "manual" and _pushed(context, REFUSED_KEY) is True,
            "report_url": _report(context),
        }
    except Exception:
        log.exception("could not read what the failed task pushed")
        return {"error": UNREADABLE}


def _cause(context: Context) -> BaseException | None:
    """Return a failed task's error. Keel's is more specific than Airflow's for "do not retry"."""
    error = context.get("exception")
    if isinstance(error, AirflowFailException) and error.__cause__:
        return error.__cause__
    return error if isinstance(error, BaseException) else None


def _text(error: BaseException) -> str:
    return _clean(f"{type(error).__name__}: {error}")


def _clean(error: object) -> str:
    """Return the text of an error without secrets: those that Airflow knows, and what looks like one.

    An error is stored and mailed, so it is shown to more people than the task's log, which has all of it.
    """
    return without_secrets(str(redact(str(error)[:ERROR_READ])), limit=ERROR_LENGTH, keep_lines=True)


def _pushed(context: Context, key: str) -> Any:
    return context["ti"].xcom_pull(task_ids=context["ti"].task_id, key=key)


def _pushes(context: Context) -> bool:
    """Whether the task is one of those that push their error."""
    return push_error in (context["ti"].task.on_failure_callback or ())


def _report(context: Context) -> str | None:
    """Return where the run had published its report before it failed; None where it had not."""
    message = context["ti"].xcom_pull(task_ids="compose_message")
    return message.get("report") if isinstance(message, dict) else None

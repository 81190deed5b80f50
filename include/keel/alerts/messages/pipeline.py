"""The message about a failed run: a check or a step that did not happen, which says nothing about drift."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.messages.alerts import harm, resolutions
from keel.alerts.messages.base import known, message, owner
from keel.alerts.messages.tables import MAX_ROWS, news_table, over, within
from keel.alerts.messages.todo import MEND_OTHERS, answer, by_kind
from keel.alerts.messages.words import NOTHING, current, headline, ranked, started, worst
from keel.config import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.alerts.records import Message, News, Notice
    from keel.config import ModelConfig

MEND = "Fix the cause, then clear the failed task. Re-running is safe. If a parameter was wrong, start another run."
COUNTED = "Further instances of this task that fail are counted in the same alert, and not told one by one."
EFFECTS = {
    "keel.maintenance": "the maintenance is not complete",
    "keel.alerts": "messages that were not accepted at once, digests and overdue checks wait until it works again",
}
"""What is missing after a failure of a DAG of all models."""


def compose_failure(
    config: ModelConfig | None,
    notice: Notice,
    *,
    dag_id: str,
    run_id: str,
    task_id: str | None,
    error: str | None,
    log_url: str | None,
    now: datetime,
    instance: int | None = None,
    run_url: str | None = None,
    report_url: str | None = None,
    decided: str | None = None,
) -> Message:
    """Compose the message about a failed run, or about one that works again (news that is resolved).

    Parameters
    ----------
    config
        None for a run that concerns no single model, such as the maintenance.
    task_id
        The task that failed; None where the run failed without one, such as by its time limit.
    error
        What was raised, without secrets.
    instance
        Which one of a mapped task's failed.
    report_url
        The check's page, where the run had published it before it failed.
    decided
        What the run had found and decided before it failed, in one sentence.

    """
    news = ranked(notice.news)
    failed = current(news)
    about = config.model if config else None
    is_ledger = any(each.alert.kind is Kind.LEDGER_BROKEN for each in failed)
    mend = MEND if about or dag_id in EFFECTS else MEND_OTHERS
    counted = () if instance is None else (COUNTED,)
    task = task_id if instance is None else f"{task_id}, instance {instance}"
    if is_ledger or not failed:
        happened = f"{started(headline(news), news[0].alert.subject)}."
    else:
        happened = _failed(dag_id, task_id, instance)
    return message(
        config,
        notice,
        topic="failure" if failed else "resolved",
        subject=worst(news).replace(f"{config.model}." if config else "\0", ""),
        happened=happened,
        hurts=_hurts(failed, None if is_ledger else _effect(dag_id, about), decided),
        done=counted if failed else tuple(resolutions(news)),
        todo=tuple(by_kind(news) if is_ledger else [mend, *answer(news)]) if failed else (f"{NOTHING}.",),
        facts=known({"Model": owner(config), "DAG": dag_id, "Run": run_id, "Task": task}),
        evidence=within([news_table(failed) if len(failed) > 1 else None, over(news)], MAX_ROWS),
        verbatim=error or "",
        links=known({"Log": log_url, "Run in Airflow": run_url, "Report": report_url}),
        now=now,
    )


def _failed(dag_id: str, task_id: str | None, instance: int | None) -> str:
    """Return what failed, in a sentence."""
    if task_id is None:
        return f"A run of {dag_id} failed."
    task = f"Task {task_id}" if instance is None else f"Instance {instance} of task {task_id}"
    return f"{task} of {dag_id} failed."


def _effect(dag_id: str, model: str | None) -> str:
    """Return what is missing after a failure."""
    default = f"{model} was not checked or changed by this run" if model else "its work is not done"
    return EFFECTS.get(dag_id, default)


def _hurts(failed: Sequence[News], effect: str | None, decided: str | None) -> tuple[str, ...]:
    """Return whether it hurts. effect: what is missing, where nothing else says so."""
    found = harm([each for each in failed if each.alert.kind is not Kind.PIPELINE_FAILURE])
    if failed and decided:
        return f"Found before it failed: {decided}", *found
    if failed and effect:
        return f"Not known: {effect}. It is not an all clear.", *found
    return tuple(found)

"""The message about a failed run: a check or a step that did not happen, which says nothing about drift."""

from __future__ import annotations

from keel.alerts.messages.layout import aligned, known
from keel.monitoring.records import Message, MessagePart


def compose_failure(
    *,
    dag_id: str,
    run_id: str,
    task_id: str | None,
    error: str | None,
    log_url: str | None,
    model: str | None,
    email: tuple[str, ...] = (),
    slack: str | None = None,
    report: str | None = None,
) -> Message:
    """Compose the message about a failed run. ``model`` is None for the maintenance of all models.

    report: address of the check's report, where the run had published it before it failed.
    """
    where = f"Task {task_id} of {dag_id}" if task_id else f"A run of {dag_id}"
    effect = f"{model} was not checked or changed by this run" if model else "the maintenance is not complete"
    sentence = f"{where} failed. As a result, {effect}. This is not an all clear."
    facts = known({"Run": run_id, "Error": error, "Log": log_url, "Report": report})
    remedy = (
        "Fix the cause, then clear the failed task. Re-running is safe. If a parameter was wrong, start another run."
    )
    lines = [sentence, "", *aligned(facts), "", remedy, ""]
    parts = (MessagePart(paragraphs=(sentence,)), MessagePart(facts=facts), MessagePart(paragraphs=(remedy,)))
    subject = f"{model}: {dag_id} failed" if model else f"{dag_id} failed"
    return Message(subject=f"[Keel] {subject}", text="\n".join(lines), email=email, slack=slack, parts=parts)

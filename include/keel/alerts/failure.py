"""The message about a run that broke: not drift, but a check that did not happen."""

from __future__ import annotations

from typing import Any


def compose_failure(
    *,
    dag_id: str,
    run_id: str,
    task_id: str | None,
    error: str | None,
    log_url: str | None,
    model: str,
    email: tuple[str, ...] = (),
    slack: str | None = None,
) -> dict[str, Any]:
    """Return subject, text and addressees for a failed run."""
    where = f"task {task_id} of {dag_id}" if task_id else dag_id
    lines = [
        f"A run of {where} failed, so {model} was not checked or changed by it. This is not an all clear.",
        "",
        f"Run      {run_id}",
    ]
    if error:
        lines += [f"Error    {error}"]
    if log_url:
        lines += [f"Log      {log_url}"]
    lines += [
        "",
        "What to do: read the error, mend its cause, then clear the failed task; a re-run changes nothing twice.",
        "",
    ]
    return {
        "subject": f"[Keel] {model}: {dag_id} failed",
        "text": "\n".join(lines),
        "email": list(email),
        "slack": slack,
    }

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
    model: str | None,
    email: tuple[str, ...] = (),
    slack: str | None = None,
) -> dict[str, Any]:
    """Return subject, text and addressees for a failed run; ``model`` is None for one that looks after all of them."""
    where = f"task {task_id} of {dag_id}" if task_id else dag_id
    left = f"{model} was not checked or changed by it" if model else "not all of Keel was looked after"
    lines = [
        f"A run of {where} failed, so {left}. This is not an all clear.",
        "",
        f"Run      {run_id}",
    ]
    if error:
        lines += [f"Error    {error}"]
    if log_url:
        lines += [f"Log      {log_url}"]
    lines += [
        "",
        "What to do: read the error, mend its cause, then clear the failed task; a re-run changes nothing twice. If it",
        "was given something wrong, start another run instead.",
        "",
    ]
    return {
        "subject": f"[Keel] {model}: {dag_id} failed" if model else f"[Keel] {dag_id} failed",
        "text": "\n".join(lines),
        "email": list(email),
        "slack": slack,
    }

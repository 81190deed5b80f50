"""Reports about predictions and labels that the scoring service could not store.

The service stores a report of kind ``spool`` for each such record. `keel.rollout.reconcile` includes them once in the
model's findings, so that its people are notified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.store import Store

REPORT_KIND = "spool"
UNDELIVERED, NOTIFIED = "undelivered", "notified"
"""The statuses of a report, before and after a run has included it in its findings."""
ALSO_UNDELIVERED, ALSO_NOTIFIED = "set_aside", "told"
"""The same as Keel 0.1.0 stored them; the run is ``told_by`` in its reports."""
MAX_SENTENCES = 5
"""Per message. The rest is given as a number."""
MAX_REPORTS = 1_000
"""Per run. The next run includes the rest."""


def undelivered_records(store: Store, model: str, *, run_id: str) -> list[str]:
    """Return a sentence for each record of a model that was not delivered, and mark the reports as notified.

    Each report is returned to one run. The same run gets the same sentences again, because its first try may have
    ended before anyone was notified.
    """
    new = store.reports.list(model, REPORT_KIND, MAX_REPORTS, statuses=(UNDELIVERED, ALSO_UNDELIVERED))
    old = store.reports.list(model, REPORT_KIND, None, statuses=(NOTIFIED, ALSO_NOTIFIED))
    found = [*new, *(each for each in old if run_id in (each["body"].get("notified_by"), each["body"].get("told_by")))]
    for each in found:
        body = {**each["body"], "notified_by": run_id}
        store.reports.put(each["report_id"], model, None, REPORT_KIND, None, None, NOTIFIED, body, each["created_at"])
    sentences = [each["body"]["sentence"] for each in found[:MAX_SENTENCES]]
    if len(found) > MAX_SENTENCES:
        sentences.append(f"{len(found) - MAX_SENTENCES} more; see the reports of kind {REPORT_KIND!r}.")
    return sentences

"""What the scoring service could not bring to the store, told to people once.

The service leaves a report of kind ``spool`` for each record that it has set aside. Whoever looks after the model next
finds it here, and says so with whatever else was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.store import Store

REPORT_KIND = "spool"
SET_ASIDE, TOLD = "set_aside", "told"
MOST_TOLD = 5
"""Sentences of one message; where there are more, how many."""
_LATEST = 1_000


def set_aside(store: Store, model: str, *, run_id: str) -> list[str]:
    """Return what was set aside of a model and not told yet, as sentences, and remember which run tells it.

    The same run again returns the same: it may have ended before anybody was told.
    """
    kept = store.reports.list(model, REPORT_KIND, limit=_LATEST)
    found = [each for each in kept if each["status"] == SET_ASIDE or each["body"].get("told_by") == run_id]
    for each in found:
        body = {**each["body"], "told_by": run_id}
        store.reports.put(each["report_id"], model, None, REPORT_KIND, None, None, TOLD, body, each["created_at"])
    sentences = [each["body"]["sentence"] for each in found[:MOST_TOLD]]
    if len(found) > MOST_TOLD:
        sentences.append(f"{len(found) - MOST_TOLD} more were set aside; see the reports of kind {REPORT_KIND!r}.")
    return sentences

"""Release quarantined data, with a ledger row that records it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.errors import UnknownQuarantine
from keel.ledger import entries as ledger
from keel.store import quarantines

if TYPE_CHECKING:
    from keel.store import Store

MAX_LISTED = 10
"""Intervals that an error lists."""


def release(
    store: Store, model: str, start: datetime, end: datetime, *, actor: str, now: datetime
) -> list[dict[str, Any]]:
    """Release the quarantined intervals within start..end, and return them; in one transaction with the ledger row.

    Raises
    ------
    UnknownQuarantine
        No quarantined interval lies within; the message lists those that exist.

    """
    existing = store.quarantines(model)
    generation = deployments.read(store, model).generation
    with store.begin() as connection:
        released = quarantines.release(connection, model, start, end)
        if not released:
            raise UnknownQuarantine(
                f"{model}: no quarantined interval lies within {format_interval(start, end)}; "
                f"quarantined: {format_intervals(existing)}"
            )
        intervals = [{name: interval[name].isoformat() for name in ("start", "end")} for interval in released]
        names = ", ".join(format_interval(interval["start"], interval["end"]) for interval in released)
        evidence = {"sentence": f"Released {names}.", "released": intervals}
        ledger.append(
            connection,
            model=model,
            at=now,
            actor=actor,
            action=ledger.Action.RELEASE_QUARANTINE,
            generation_from=generation,
            generation_to=generation,
            body={"evidence": evidence},
        )
    return released


def format_interval(start: datetime, end: datetime) -> str:
    """Return an interval as text, in a form that the command line accepts."""
    return " to ".join(time.isoformat().replace("+00:00", "Z") for time in (start, end))


def format_intervals(intervals: Sequence[Mapping[str, Any]]) -> str:
    """Return the first intervals as text, with the number of the others."""
    more = f" and {len(intervals) - MAX_LISTED} more" if len(intervals) > MAX_LISTED else ""
    names = [format_interval(interval["start"], interval["end"]) for interval in intervals[:MAX_LISTED]]
    return f"{', '.join(names) or 'nothing'}{more}"

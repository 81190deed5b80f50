"""Giving back what was set aside, with a row in the ledger."""

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

SHOWN = 10
"""As many as one looks through in an error."""


def release(
    store: Store, model: str, start: datetime, end: datetime, *, actor: str, now: datetime
) -> list[dict[str, Any]]:
    """Release the stretches that lie within start..end, and return them: all of it and its ledger row, or nothing.

    Raises
    ------
    UnknownQuarantine
        Nothing that is set aside lies within; the message lists what is.

    """
    there = store.quarantines(model)
    generation = deployments.read(store, model).generation
    with store.begin() as connection:
        released = quarantines.release(connection, model, start, end)
        if not released:
            raise UnknownQuarantine(f"{model}: nothing set aside lies within {span(start, end)}; {listed(there)}")
        spans = [span(stretch["start"], stretch["end"]) for stretch in released]
        stretches = [{name: stretch[name].isoformat() for name in ("start", "end")} for stretch in released]
        evidence = {"sentence": f"Released {', '.join(spans)}.", "released": stretches}
        ledger.append(
            connection, model=model, at=now, actor=actor, action="release_quarantine",
            generation_from=generation, generation_to=generation, body={"evidence": evidence},
        )  # fmt: skip
    return released


def span(start: datetime, end: datetime) -> str:
    """Say a stretch of time, in a form that the command line takes back."""
    return " to ".join(time.isoformat().replace("+00:00", "Z") for time in (start, end))


def listed(stretches: Sequence[Mapping[str, Any]]) -> str:
    """Say what is set aside."""
    more = f" and {len(stretches) - SHOWN} more" if len(stretches) > SHOWN else ""
    return f"set aside: {', '.join(span(s['start'], s['end']) for s in stretches[:SHOWN]) or 'nothing'}{more}"

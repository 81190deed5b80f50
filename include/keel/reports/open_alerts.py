"""Which alerts of a model are open, in one line. Their life is `keel.alerts`' business, one line above this room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keel.reports import numbers
from keel.values.texts import CELL, shown

if TYPE_CHECKING:
    from keel.store import Store

NAMED = 3
"""Alerts that the line names; further ones are counted."""
SEVERITIES = ("critical", "error", "warning", "info")


def open_alerts_sentence(store: Store, model: str) -> str:
    """Return how many alerts of a model are open, and the worst of them; empty for none. Pending ones do not count."""
    return sentence_of([each for each in store.alerts.list(model, is_open=True) if each["state"] != "pending"], model)


def sentence_of(alerts: Sequence[Mapping[str, Any]], model: str) -> str:
    """Return how many alerts these are, all open and of one model, and the worst of them; empty for none."""
    if not alerts:
        return ""
    fired = sorted(alerts, key=lambda each: (SEVERITIES.index(each["severity"]), -each["rank"], each["first_seen"]))
    names = [each["kind"].replace("_", " ") + (f" of {each['subject']}" if each["subject"] else "") for each in fired]
    more = len(fired) - NAMED
    listed = ", ".join(shown(name, CELL) for name in names[:NAMED]) + (f" and {more} more" if more > 0 else "")
    since = numbers.time(min(each["first_seen"] for each in fired))
    taken = sum(each["state"] == "acknowledged" for each in fired)
    by_people = f", {taken} of them acknowledged" if taken else ""
    return f"{numbers.count(len(fired), 'alert')} open since {since}{by_people} ({listed}): keel alerts list {model}"

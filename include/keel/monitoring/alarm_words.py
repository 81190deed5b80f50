"""Say what live alarms are about, and what a check made of them, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keel.monitoring.records import LiveAlarm

TOP_NAMES = 3
"""Alarms that a sentence names."""
MANY_TIMES = 1000
"""From here on, the size of evidence says nothing more to a reader."""
FEW_TIMES = 10
"""Below it, evidence is shown with a decimal."""


def about_time(time: datetime) -> str:
    """Return an estimated time as people read it."""
    return f"about {time:%Y-%m-%d %H:%M} UTC"


def evidence_in_words(alarm: LiveAlarm) -> str:
    """Return how far the evidence is above the bound at which the monitor alarms; empty for a fault.

    Evidence and bound are decimal logarithms. A reader sees their ratio.
    """
    if alarm.evidence is None or alarm.bound is None:
        return ""
    excess = alarm.evidence - alarm.bound
    if excess >= 3:
        return f"evidence more than {MANY_TIMES:,} times the bound at which it alarms"
    times = 10.0**excess
    shown = f"{times:.1f}" if times < FEW_TIMES else f"{times:.0f}"
    return f"evidence {shown} times the bound at which it alarms"


def name_of(alarm: LiveAlarm) -> str:
    """Return what an alarm is about, as a table or a sentence names it."""
    return {"harm": "harm", "audit": "harm in the audit sample", "fault": "the monitoring itself"}.get(
        alarm.kind, alarm.subject
    )


def names_of(alarms: Sequence[LiveAlarm]) -> str:
    """Return what several alarms are about: the first by name, the others counted."""
    names = list(dict.fromkeys(map(name_of, alarms)))
    more = len(names) - TOP_NAMES
    if more > 0:
        return f"{', '.join(names[:TOP_NAMES])} and {more} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

"""Say what live alarms are about, and what a check made of them, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from keel.values.texts import NAME, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keel.monitoring.records import LiveAlarm


class About(Protocol):
    """What an alarm or a monitor is about."""

    @property
    def kind(self) -> str:
        """What is monitored."""

    @property
    def subject(self) -> str:
        """The column, or a word of the store."""


TOP_NAMES = 3
"""Alarms that a sentence names."""
MANY_TIMES = 1000
"""From here on, the size of evidence says nothing more to a reader."""
FEW_TIMES = 10
"""Below it, evidence is shown with a decimal."""
_NAMES = {"harm": "mean loss", "audit": "mean loss of the audit sample", "fault": "the monitoring itself"}
"""What is monitored that is no column, by kind: its subject is a word of the store."""


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


def name_of(about: About) -> str:
    """Return what an alarm or a monitor is about, as a table, a sentence or the subject of a mail names it.

    A column's name is any text that a model's people chose: it is shown without line breaks, and cut where it is long.
    """
    return _NAMES.get(about.kind) or shown(about.subject, NAME)


def names_of(alarms: Sequence[About]) -> str:
    """Return what several alarms are about: the first by name, the others counted."""
    names = list(dict.fromkeys(map(name_of, alarms)))
    more = len(names) - TOP_NAMES
    if more > 0:
        return f"{', '.join(names[:TOP_NAMES])} and {more} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

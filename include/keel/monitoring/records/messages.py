"""The record of what a message shows beside its text."""

from __future__ import annotations

from keel.monitoring.records.base import JsonObject, Record


class MessagePicture(Record):
    """The one picture of a mail, as data: whoever sends the mail draws it, on whatever machine that is."""

    chart: JsonObject
    """As `keel.reports.charts.plain.to_plain` describes it."""
    sentence: str
    """What it shows; also for readers without pictures."""

"""Prometheus metrics of alerts: when checks came and are due, what is open, and what has not reached people.

A monitor outside Airflow reads them, so they also tell that Airflow does nothing at all. ``prometheus/keel.rules.yaml``
has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, get_args

from keel.config import Channel, Severity
from keel.serving.shown_series import Series, ShownSeries

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from keel.monitoring.check_times import CheckTimes

PREFIXES = ("keel_check_", "keel_alerts_")


class AlertMetrics:
    """The gauges of checks and alerts. gauge: makes one, with a name, a text and the names of its labels."""

    def __init__(self, gauge: Callable[..., Gauge]) -> None:
        def live(name: str, text: str, *labels: str) -> Gauge:
            return gauge(name, text, *labels, mode="livemostrecent")

        self._last = live("keel_check_last_timestamp_seconds", "When the last check decided, by the clock.", "model")
        self._due = live(
            "keel_check_due_timestamp_seconds", "The first time of the schedule after the last check.", "model"
        )
        self._open = live("keel_alerts_open", "Alerts that fire, acknowledged ones included.", "model", "severity")
        self._undelivered = live(
            "keel_alerts_undelivered", "Messages that the receiver has not accepted; tried again.", "channel"
        )
        self._broken = live(
            "keel_alerts_channel_broken", "Open alerts about a channel that does not take messages.", "channel"
        )
        self._shown = ShownSeries()

    def show_checks(self, model: str, times: CheckTimes) -> None:
        """Show when a model was checked last and is to be checked next; no series where there is no such time."""
        found = ((self._last, times.last), (self._due, times.due))
        self._shown.show(f"checks of {model}", {(gauge, (model,)): at.timestamp() for gauge, at in found if at})

    def show_open(self, models: Iterable[str], found: Mapping[tuple[str, str], int]) -> None:
        """Show how many alerts are open by model and severity, 0 included, so that no series means nothing known.

        models: all that are monitored; ``""`` stands for what concerns no single one. found: by model and severity.
        """
        known = {*models, *(model for model, _ in found)}
        pairs = [(model, str(severity)) for model in known for severity in Severity]
        self._shown.show("open alerts", {(self._open, pair): found.get(pair, 0) for pair in pairs})

    def show_undelivered(self, waiting: Mapping[str, int]) -> None:
        """Show how many messages wait for each channel, 0 included."""
        known = {*get_args(Channel), *waiting}
        now: dict[Series, float] = {(self._undelivered, (channel,)): waiting.get(channel, 0) for channel in known}
        self._shown.show("undelivered", now)

    def show_broken(self, broken: Mapping[str, int]) -> None:
        """Show how many alerts are open about each channel, 0 included.

        What a dead channel has finally refused waits no longer, and the alert about it may have no other way to leave.
        """
        known = {*get_args(Channel), *broken}
        now: dict[Series, float] = {(self._broken, (channel,)): broken.get(channel, 0) for channel in known}
        self._shown.show("broken", now)

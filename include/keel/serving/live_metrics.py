"""Prometheus metrics of the live monitors: evidence against its bound, open alarms, and what waits to be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

from keel.monitoring.records import MonitorKind
from keel.serving.shown_series import Series, ShownSeries

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from keel.monitoring.records import LiveStatus

MONITORS = 20
"""Monitors of a model that have series of their own: those whose evidence is nearest to its bound."""
PREFIX = "keel_live_"


class LiveMetrics:
    """The gauges of the live monitors. gauge: makes one, with a name, a text and the names of its labels."""

    def __init__(self, gauge: Callable[..., Gauge]) -> None:
        def live(name: str, text: str, *labels: str) -> Gauge:
            return gauge(PREFIX + name, text, "model", *labels, mode="livemostrecent")

        self._evidence = live("evidence", "Evidence of a live monitor, as a decimal logarithm.", "kind", "monitor")
        self._bound = live("bound", "Evidence at which it opens an alarm.", "kind", "monitor")
        self._monitors = live("monitors", "Live monitors of the model.")
        self._alarms = live("open_alarms", "Alarms that no check has judged, by what they are about.", "kind")
        self._waiting = live("waiting_rows", "Predictions that the live monitors have not read.")
        self._stalled = live("stalled", "1 while whole blocks wait and nothing reads them.")
        self._last_block = live("last_block_timestamp_seconds", "When the last block was evaluated.")
        self._shown = ShownSeries()

    def show(self, status: LiveStatus) -> None:
        """Show the monitors of a model, and remove what is no longer true."""
        model = status.model
        now: dict[Series, float] = {
            (self._monitors, (model,)): len(status.monitors),
            (self._waiting, (model,)): status.waiting,
            (self._stalled, (model,)): status.state == "stalled",
        }
        kinds: list[str] = [each.alarm.kind for each in status.alarms]
        # each kind has a series, so that one that is missing means that nothing is known
        now |= {(self._alarms, (model, kind)): kinds.count(kind) for kind in get_args(MonitorKind)}
        if status.last_block_at is not None:
            now[self._last_block, (model,)] = status.last_block_at.timestamp()
        nearest = sorted(status.monitors, key=lambda each: (each.bound - (each.evidence or 0.0), each.subject))
        for each in nearest[:MONITORS]:
            labels = model, each.kind, each.subject
            now[self._evidence, labels] = max(each.evidence or 0.0, 0.0)
            now[self._bound, labels] = each.bound
        self._shown.show(model, now)

    def hide(self, model: str) -> None:
        """Remove a model's series: its monitors are off."""
        self._shown.show(model, {})

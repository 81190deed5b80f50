"""Prometheus metrics of the live monitors: evidence against its bound, open alarms, and what waits to be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, get_args

from prometheus_client.registry import Collector

from keel.monitoring.records import MonitorKind

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge
    from prometheus_client.core import Metric

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
        self._shown: dict[str, dict[tuple[Gauge, tuple[str, ...]], float]] = {}

    def show(self, status: LiveStatus) -> None:
        """Show the monitors of a model, and remove what is no longer true."""
        now: dict[tuple[Gauge, tuple[str, ...]], float] = {
            (self._monitors, ()): len(status.monitors),
            (self._waiting, ()): status.waiting,
            (self._stalled, ()): status.state == "stalled",
        }
        kinds: list[str] = [each.alarm.kind for each in status.alarms]
        # each kind has a series, so that one that is missing means that nothing is known
        now |= {(self._alarms, (kind,)): kinds.count(kind) for kind in get_args(MonitorKind)}
        if status.last_block_at is not None:
            now[self._last_block, ()] = status.last_block_at.timestamp()
        nearest = sorted(status.monitors, key=lambda each: (each.bound - (each.evidence or 0.0), each.subject))
        for each in nearest[:MONITORS]:
            labels = each.kind, each.subject
            now[self._evidence, labels] = max(each.evidence or 0.0, 0.0)
            now[self._bound, labels] = each.bound
        self._set(status.model, now)

    def hide(self, model: str) -> None:
        """Remove a model's series: its monitors are off."""
        self._set(model, {})

    def _set(self, model: str, now: dict[tuple[Gauge, tuple[str, ...]], float]) -> None:
        shown = self._shown.get(model, {})
        for (gauge, labels), value in now.items():
            gauge.labels(model, *labels).set(value)
        for gauge, labels in shown.keys() - now.keys():
            # Not `remove`: it does not reach the files that the processes of one service share.
            gauge.labels(model, *labels).set(math.nan)
        self._shown[model] = now


class WithoutGone(Collector):
    """What a registry collects, without the live monitors' series that are gone (NaN)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for metric in self._registry.collect():
            if metric.name.startswith(PREFIX):
                metric.samples = [sample for sample in metric.samples if not math.isnan(sample.value)]
            yield metric

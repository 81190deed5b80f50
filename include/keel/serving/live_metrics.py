"""Prometheus metrics of the live monitors: evidence against its bound, open alarms, and what waits to be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from datetime import datetime

    from prometheus_client import CollectorRegistry, Gauge
    from prometheus_client.core import Metric

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
        self._last_block = live("last_block_timestamp_seconds", "When the last block was evaluated.")
        self._shown: dict[str, dict[tuple[Gauge, tuple[str, ...]], float]] = {}

    def show(
        self,
        model: str,
        monitors: Mapping[tuple[str, str], tuple[float | None, float]],
        *,
        alarms: Mapping[str, int],
        waiting: int,
        last_block_at: datetime | None,
    ) -> None:
        """Show the monitors of a model, and remove what is no longer true.

        monitors: evidence and bound, as decimal logarithms, by kind and subject.
        alarms: the number of open ones by kind.
        """
        now: dict[tuple[Gauge, tuple[str, ...]], float] = {
            (self._monitors, ()): len(monitors),
            (self._waiting, ()): waiting,
        }
        now |= {(self._alarms, (kind,)): count for kind, count in alarms.items()}
        if last_block_at is not None:
            now[self._last_block, ()] = last_block_at.timestamp()
        known = {
            key: (max(evidence or 0.0, 0.0) if evidence is None or math.isfinite(evidence) else 0.0, bound)
            for key, (evidence, bound) in monitors.items()
        }
        for key in sorted(known, key=lambda key: (known[key][1] - known[key][0], key))[:MONITORS]:
            now[self._evidence, key], now[self._bound, key] = known[key]
        self._set(model, now)

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


def by_kind(alarms: Any) -> dict[str, int]:
    """Return the number of open alarms by kind, 0 for the kinds of which none is open."""
    from typing import get_args

    from keel.monitoring.records import MonitorKind

    return {kind: sum(each["kind"] == kind for each in alarms) for kind in get_args(MonitorKind)}

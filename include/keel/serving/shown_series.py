"""Series of gauges that come and go, in a form that several processes of one service can share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge
    from prometheus_client.core import Metric

Series = tuple["Gauge", tuple[str, ...]]
"""A gauge and the values of its labels."""


class ShownSeries:
    """The series of some gauges, by what they are about, such as a model."""

    def __init__(self) -> None:
        self._shown: dict[str, Mapping[Series, float]] = {}

    def show(self, about: str, now: Mapping[Series, float]) -> None:
        """Set the series, and remove those of the same subject that are not among them any more."""
        for (gauge, labels), value in now.items():
            gauge.labels(*labels).set(value)
        for gauge, labels in self._shown.get(about, {}).keys() - now.keys():
            # Not `remove`: it does not reach the files that the processes of one service share.
            gauge.labels(*labels).set(math.nan)
        self._shown[about] = now


class WithoutGone(Collector):
    """What a registry collects, without series that are gone (NaN).

    prefixes: of the metrics whose NaN means that. Elsewhere NaN is a value that is not known.
    """

    def __init__(self, registry: CollectorRegistry, prefixes: tuple[str, ...]) -> None:
        self._registry, self._prefixes = registry, prefixes

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for metric in self._registry.collect():
            if metric.name.startswith(self._prefixes):
                metric.samples = [sample for sample in metric.samples if not math.isnan(sample.value)]
            yield metric

"""Prometheus metrics of the scoring service."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from keel.serving import alert_metrics, live_metrics
from keel.serving.shown_series import WithoutGone

if TYPE_CHECKING:
    from keel.serving.prediction_log.records import PredictionBlock
    from keel.serving.prediction_log.spool import Stats
    from keel.store import LabelResult

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of prometheus-client: the folder in which the workers of one service share their metrics."""
COMES_AND_GOES = (live_metrics.PREFIX, *alert_metrics.PREFIXES)
"""Prefixes of the metrics whose series end, as those of a model that is not monitored any more."""
LATENCY_BUCKETS = (.001, .002, .003, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1.0, 2.5, 10.0)  # fmt: skip
"""Seconds: fine around the latency of one row, coarse beyond."""
LABEL_OUTCOMES = {
    "stored": "stored",
    "duplicate": "duplicates",
    "conflict": "conflicts",
    "unmatched": "unmatched",
    "expired": "expired",
}
"""Values of the label ``outcome`` of ``keel_labels_total``, and the fields of `LabelResult` that they count."""


class WorkerRestarts(Collector):
    """The counter of worker restarts. The workers share one total, so it must not be summed over processes."""

    name, labels = "keel_worker_restarts_total", ()

    def __init__(self) -> None:
        self.total = 0

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counter with its present total."""
        yield CounterMetricFamily(self.name, "Times that a worker process ended and was restarted.", self.total)

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Yield the counter, for its name in the registry."""
        return self.collect()


class Metrics:
    """The metrics of one app, in a registry of their own; with several workers, those of all of them."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more each; several workers have none
        self.registry = own = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=own)

        def gauge(
            name: str,
            text: str,
            *labels: str,
            mode: Literal["livesum", "livemax", "livemostrecent"] = "livesum",
        ) -> Gauge:
            return Gauge(name, text, labels, registry=own, multiprocess_mode=mode)

        self._requests = counter("keel_requests", "Answers by their status.", "model", "endpoint", "status")
        self._duration = Histogram(
            "keel_request_duration_seconds",
            "From a request's first byte to the last byte of its answer.",
            ("model", "endpoint"),
            registry=own,
            buckets=LATENCY_BUCKETS,
        )
        self._predictions = counter("keel_predictions", "Rows answered.", "model", "version", "arm")
        self._reloads = counter("keel_reloads", "Loads of versions, by their outcome.", "model", "outcome")
        self._serves = gauge(
            "keel_serves_version",
            "1 for each version in memory.",
            "model",
            "version",
            "role",
            mode="livemax",
        )
        self._records = gauge("keel_spool_records", "Answered requests and labels not in the store yet.")
        self._bytes = gauge("keel_spool_bytes", "Their size on disk.")
        self._oldest = gauge("keel_spool_oldest_seconds", "Age of the oldest of them.", mode="livemax")
        self._deferred = gauge("keel_spool_deferred_records", "Those of them that the store refuses; tried again.")
        self._dead_letters = gauge(
            "keel_spool_dead_letters", "Records that could not be read or stored.", mode="livemax"
        )
        self._challenger_failures = counter(
            "keel_challenger_failures", "Requests on which a challenger or shadow failed and the champion answered."
        )
        self._restarts = WorkerRestarts()
        own.register(self._restarts)
        self._stored = counter("keel_stored", "Predictions that reached the store.", "model", "outcome")
        self._shipping_failures = counter(
            "keel_shipping_failures", "Attempts at which the store accepted no record.", "kind"
        )
        self._labels = counter("keel_labels", "Labels that reached the store, by their outcome.", "model", "outcome")
        self._performance = gauge(
            "keel_model_performance",
            "Realised performance of a version: its value, and its interval.",
            "model",
            "version",
            "window",
            "metric",
            "bound",
            mode="livemostrecent",
        )
        self._performance_rows = gauge(
            "keel_model_performance_rows",
            "Labelled predictions in the realised performance.",
            "model",
            "version",
            "window",
            mode="livemostrecent",
        )
        self.live = live_metrics.LiveMetrics(gauge)
        self.alerts = alert_metrics.AlertMetrics(gauge)
        self._performance_shown: dict[str, dict[tuple[str, ...], float]] = {}
        self._children: dict[tuple[object, ...], Any] = {}
        self._versions_shown: set[tuple[str, ...]] = set()
        self._loads_counted: dict[tuple[str, str], int] = {}
        self._failures_counted = 0

    def answered(self, model: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._child(self._requests, model, endpoint, str(status)).inc()
        self._child(self._duration, model, endpoint).observe(seconds)

    def predicted(self, block: PredictionBlock) -> None:
        """Count the rows of one answer by version and arm."""
        arms = block.arms
        if arms is None and len(set(block.versions)) == 1:
            self._child(self._predictions, block.model, str(block.versions[0]), "").inc(len(block.ids))
            return
        for row, version in enumerate(block.versions):
            self._child(self._predictions, block.model, str(version), (arms[row] if arms else "") or "").inc()

    def loaded(self, loads: Mapping[tuple[str, str], int]) -> None:
        """Count loads up to these totals, by (model, outcome); the outcome is ``loaded`` or ``failed``."""
        for key, total in dict(loads).items():
            if total > self._loads_counted.get(key, 0):
                self._child(self._reloads, *key).inc(total - self._loads_counted.get(key, 0))
                self._loads_counted[key] = total

    def serves(self, model: str, state: Mapping[str, Any]) -> None:
        """Show which versions are in memory, by role. state: the model's, of `keel.serving.models.loader`."""
        roles = {state["production"]: "production", state["challenger"]: "challenger"}
        now = {(model, str(version), roles.get(version, "standby")) for version in state["in_memory"]}
        for labels in {shown for shown in self._versions_shown if shown[0] == model} - now:
            self._serves.labels(*labels).set(0)
        for labels in now - self._versions_shown:
            self._serves.labels(*labels).set(1)
        self._versions_shown = {shown for shown in self._versions_shown if shown[0] != model} | now

    def spooled(self, stats: Stats, *, now: datetime) -> None:
        """Show what waits in the spool."""
        self._records.set(stats.records)
        self._bytes.set(stats.bytes)
        self._oldest.set(0.0 if stats.oldest_at is None else max(0.0, (now - stats.oldest_at).total_seconds()))
        self._deferred.set(stats.deferred)
        self._dead_letters.set(stats.dead_letters)

    def challenger_failed(self, total: int) -> None:
        """Count requests on which a challenger or shadow failed, up to this total."""
        if total > self._failures_counted:
            self._challenger_failures.inc(total - self._failures_counted)
            self._failures_counted = total

    def workers_restarted(self, total: int) -> None:
        """Set how often workers of this service were restarted."""
        self._restarts.total = total

    def stored(self, model: str, stored: int, duplicates: int) -> None:
        """Count predictions that reached the store."""
        self._child(self._stored, model, "stored").inc(stored)
        self._child(self._stored, model, "duplicate").inc(duplicates)

    def labelled(self, model: str, result: LabelResult) -> None:
        """Count labels that reached the store; ``unmatched`` and ``expired`` ones are among ``stored``."""
        for outcome, field in LABEL_OUTCOMES.items():
            self._child(self._labels, model, outcome).inc(getattr(result, field))

    def shipping_failed(self, kind: str) -> None:
        """Count an attempt at which the store accepted no record."""
        self._shipping_failures.labels(kind).inc()

    def show_performance(self, model: str, found: Iterable[Mapping[str, Any]]) -> None:
        """Show a model's realised performance, NaN where it is unknown.

        found: the result of `keel.monitoring.performance_history.rolling`.
        """
        shown = self._performance_shown.setdefault(model, {})
        now: dict[tuple[str, ...], float] = {labels: _number(None) if len(labels) > 3 else 0.0 for labels in shown}
        for each in found:
            series = (model, str(each["version"]), str(each["window"]))
            now[series] = each["n"]
            for metric, values in each["metrics"].items():
                now |= {(*series, metric, bound): _number(values[bound]) for bound in ("value", "lower", "upper")}
        for labels, value in now.items():
            (self._performance if len(labels) > 3 else self._performance_rows).labels(*labels).set(value)
        shown |= now

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        if os.environ.get(SHARED_FOLDER):
            shared = CollectorRegistry()
            MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
            shared.register(self._restarts)
            return generate_latest(WithoutGone(shared, COMES_AND_GOES))
        return generate_latest(WithoutGone(self.registry, COMES_AND_GOES))

    def _child(self, metric: Counter | Histogram, *labels: str) -> Any:
        """Return the metric's child from a cache, as `labels` costs several microseconds."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


def _number(value: float | None) -> float:
    return float("nan") if value is None else value

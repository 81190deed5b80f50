"""What the scoring service counts, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from keel.serving.prediction_log.records import PredictionBlock
    from keel.serving.prediction_log.spool import Stats
    from keel.store import LabelResult

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where the worker processes of one service put their numbers together; prometheus-client's own name for it."""
LATENCIES = (.001, .002, .003, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1.0, 2.5, 10.0)  # fmt: skip
"""Seconds: fine around what one row takes, coarse where something is wrong anyway."""


class Metrics:
    """The metrics of one app, in a registry of their own; those of all workers where there are several."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each; several workers have none
        self.registry = own = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=own)

        def gauge(name: str, text: str, *labels: str, over: Any = "livesum") -> Gauge:
            return Gauge(name, text, labels, registry=own, multiprocess_mode=over)

        self._requests = counter("keel_requests", "Answers by their status.", "model", "endpoint", "status")
        self._seconds = Histogram(
            "keel_request_seconds", "From a request's first byte to the last of its answer.",
            ("model", "endpoint"), registry=own, buckets=LATENCIES,
        )  # fmt: skip
        self._predictions = counter("keel_predictions", "Rows answered.", "model", "version", "arm")
        self._reloads = counter(
            "keel_reloads", "Versions that were to be loaded, by whether they were.", "model", "outcome"
        )
        self._serves = gauge(
            "keel_serves_version", "1 for the versions in memory, by what they are.", "model", "version", "role",
            over="livemax",
        )  # fmt: skip
        self._waiting = gauge("keel_spool_records", "Answered requests and labels not in the store yet.")
        self._bytes = gauge("keel_spool_bytes", "Their size on disk.")
        self._age = gauge("keel_spool_oldest_seconds", "How long the oldest of them has waited.", over="livemax")
        self._set_aside = gauge("keel_spool_set_aside", "Records that could not be read or stored.", over="livemax")
        self._trial = gauge("keel_trial_failures", "Requests on which a version on trial has failed.")
        self._ends = gauge("keel_worker_ends", "Times a worker process has ended and was started anew.", over="livemax")
        self._drained = counter("keel_stored", "Predictions brought to the store.", "model", "outcome")
        self._failures = counter("keel_drain_failures", "Times the store did not take what it was brought.", "kind")
        self._labels = counter("keel_labels", "Labels that reached the store, by what became of them.",
                               "model", "outcome")  # fmt: skip
        self._realised = gauge(
            "keel_realised", "Realised performance of a version: its value, and its interval.",
            "model", "version", "window", "metric", "bound", over="livemostrecent",
        )  # fmt: skip
        self._realised_rows = gauge(
            "keel_realised_rows", "Labelled predictions that this is of.", "model", "version", "window",
            over="livemostrecent",
        )  # fmt: skip
        self._realised_shown: dict[str, dict[tuple[str, ...], float]] = {}
        self._children: dict[tuple[object, ...], Any] = {}
        self._shown: set[tuple[str, ...]] = set()
        self._loads: dict[tuple[str, str], int] = {}

    def answered(self, model: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._child(self._requests, model, endpoint, str(status)).inc()
        self._child(self._seconds, model, endpoint).observe(seconds)

    def predicted(self, block: PredictionBlock) -> None:
        """Count the rows of one answer by version and arm."""
        arms = block.arms
        if arms is None and len(set(block.versions)) == 1:
            self._child(self._predictions, block.model, str(block.versions[0]), "").inc(len(block.ids))
            return
        for row, version in enumerate(block.versions):
            self._child(self._predictions, block.model, str(version), (arms[row] if arms else "") or "").inc()

    def loaded(self, loads: Mapping[tuple[str, str], int]) -> None:
        """Show how many loads of a model's versions have ended in ``loaded`` or ``failed``, by (model, outcome)."""
        for key, number in dict(loads).items():
            if number > self._loads.get(key, 0):
                self._child(self._reloads, *key).inc(number - self._loads.get(key, 0))
                self._loads[key] = number

    def serves(self, model: str, state: Mapping[str, Any]) -> None:
        """Show which versions are in memory and as what; state: the model's, of `keel.serving.models.loader`."""
        roles = {state["production"]: "production", state["challenger"]: "challenger"}
        now = {(model, str(version), roles.get(version, "standby")) for version in state["in_memory"]}
        for labels in {shown for shown in self._shown if shown[0] == model} - now:
            self._serves.labels(*labels).set(0)
        for labels in now - self._shown:
            self._serves.labels(*labels).set(1)
        self._shown = {shown for shown in self._shown if shown[0] != model} | now

    def spooled(self, stats: Stats, *, now: datetime) -> None:
        """Show what waits in the spool."""
        self._waiting.set(stats.records)
        self._bytes.set(stats.bytes)
        self._age.set(0.0 if stats.oldest_at is None else max(0.0, (now - stats.oldest_at).total_seconds()))
        self._set_aside.set(stats.set_aside)

    def trial_failed(self, requests: int) -> None:
        """Show how many requests a challenger or shadow has failed on so far, which no client has noticed."""
        self._trial.set(requests)

    def worker_ends(self, ends: int) -> None:
        """Show how often the service's processes have ended so far."""
        self._ends.set(ends)

    def stored(self, model: str, stored: int, duplicates: int) -> None:
        """Count predictions that the store has."""
        self._child(self._drained, model, "stored").inc(stored)
        self._child(self._drained, model, "duplicate").inc(duplicates)

    def labelled(self, model: str, result: LabelResult) -> None:
        """Count labels that the store has judged; ``unmatched`` and ``expired`` are parts of ``stored``."""
        for outcome in ("stored", "duplicate", "conflict", "unmatched", "expired"):
            number = getattr(result, f"{outcome}s" if outcome in ("duplicate", "conflict") else outcome)
            self._child(self._labels, model, outcome).inc(number)

    def not_drained(self, kind: str) -> None:
        """Count a try that brought nothing to the store."""
        self._failures.labels(kind).inc()

    def realised(self, model: str, found: Iterable[Mapping[str, Any]]) -> None:
        """Show a model's realised metrics; found: what `keel.monitoring.performance_history.rolling` gives. NaN
        where nothing is known.
        """
        shown = self._realised_shown.setdefault(model, {})
        now: dict[tuple[str, ...], float] = {labels: _number(None) if len(labels) > 3 else 0.0 for labels in shown}
        for each in found:
            place = (model, str(each["version"]), str(each["window"]))
            now[place] = each["n"]
            for metric, values in each["metrics"].items():
                now |= {(*place, metric, bound): _number(values[bound]) for bound in ("value", "lower", "upper")}
        for labels, value in now.items():
            (self._realised if len(labels) > 3 else self._realised_rows).labels(*labels).set(value)
        shown |= now

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        if os.environ.get(SHARED_FOLDER):
            shared = CollectorRegistry()
            MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
            return generate_latest(shared)
        return generate_latest(self.registry)

    def _child(self, metric: Counter | Histogram, *labels: str) -> Any:
        """Return the metric's child; looking it up by `labels` costs several microseconds."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def forget_dead(folder: str, alive: Iterable[int]) -> None:
    """Delete the gauges of processes that have ended; what they counted stays counted."""
    pids = {str(pid) for pid in alive}
    for path in Path(folder).glob("gauge_live*_*.db"):
        if path.stem.rpartition("_")[2] not in pids:
            path.unlink(missing_ok=True)

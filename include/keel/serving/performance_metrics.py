"""Realised performance for ``/metrics``: brought up to date now and then, beside what answers requests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keel.monitoring.performance_history import rolling

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.serving.metrics import Metrics
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
SHARE = 0.05
"""Of its time that this thread works at most: where the store is large, it looks less often."""


class PerformanceGauges(threading.Thread):
    """The thread that sums what labels have come for and shows it; one for all processes of the service."""

    def __init__(self, ws: Workspace, configs: Iterable[ModelConfig], metrics: Metrics) -> None:
        super().__init__(name="keel-rolling", daemon=True)
        self._ws, self._configs, self._metrics = ws, list(configs), metrics
        self._stopping = threading.Event()
        self._said: dict[str, str] = {}

    def run(self) -> None:
        """Look again and again until stopped."""
        while not self._stopping.is_set():
            began = time.monotonic()
            for config in self._configs:
                self._look(config)
            took = time.monotonic() - began
            self._stopping.wait(max(EVERY_SECONDS, took / SHARE))

    def stop(self) -> None:
        """Ask the thread to end; it is not waited for."""
        self._stopping.set()

    def look(self, config: ModelConfig, *, now: datetime) -> None:
        """Show a model's performance of the windows that end now."""
        self._metrics.realised(config.model, rolling(self._ws, config, end=now))

    def _look(self, config: ModelConfig) -> None:
        try:
            self.look(config, now=datetime.now(UTC))
            self._said.pop(config.model, None)
        except Exception as error:  # a store that does not answer is no reason to look no more
            if self._said.get(config.model) != str(error) and not self._stopping.is_set():
                log.warning("%s: realised performance is not up to date: %s", config.model, error)
            self._said[config.model] = str(error)

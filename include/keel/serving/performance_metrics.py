"""A thread that refreshes what the store knows of models, checks and alerts for ``/metrics``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.serving.metrics import Metrics
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

REFRESH_SECONDS = 30.0
MAX_SHARE = 0.05
"""Share of its time that the thread may work. With a large store it refreshes less often."""


class PerformanceGauges(threading.Thread):
    """The thread that refreshes what the store knows of the models; one for all processes of the service."""

    def __init__(self, ws: Workspace, configs: Iterable[ModelConfig], metrics: Metrics) -> None:
        super().__init__(name="keel-performance", daemon=True)
        self._ws, self._configs, self._metrics = ws, list(configs), metrics
        self._stopping = threading.Event()
        self._last_errors: dict[tuple[str, str], str] = {}

    def run(self) -> None:
        """Refresh all models again and again until stopped."""
        while not self._stopping.is_set():
            started = time.monotonic()
            for config in list(self._configs):
                self._try(config.model, "realised performance", self.refresh, config)
                self._try(config.model, "the live monitors", self.refresh_live, config)
                self._try(config.model, "the times of checks", self.refresh_checks, config)
            self._try("all models", "alerts", self.refresh_alerts)
            seconds = time.monotonic() - started
            self._stopping.wait(max(REFRESH_SECONDS, seconds / MAX_SHARE))

    def add(self, config: ModelConfig) -> None:
        """Refresh one more model."""
        self._configs.append(config)

    def stop(self) -> None:
        """Ask the thread to end, without waiting for it."""
        self._stopping.set()

    def refresh(self, config: ModelConfig, *, now: datetime) -> None:
        """Set a model's gauges to the performance of the windows that end at ``now``."""
        # imported here, as the service must not wait for it to listen
        from keel.monitoring.performance_history import rolling

        self._metrics.show_performance(config.model, rolling(self._ws, config, end=now))

    def refresh_live(self, config: ModelConfig, *, now: datetime) -> None:
        """Set a model's gauges to what its live monitors have stored."""
        from keel.monitoring.live.status import live_status

        status = live_status(self._ws, config, now=now, trajectories=False)
        if status.state in ("off", "no version"):
            self._metrics.live.hide(config.model)
        else:
            self._metrics.live.show(status)

    def refresh_checks(self, config: ModelConfig, *, now: datetime) -> None:
        """Set a model's gauges to when it was checked and is due."""
        from keel.monitoring.check_times import check_times

        self._metrics.alerts.show_checks(config.model, check_times(self._ws, config))

    def refresh_alerts(self, *, now: datetime) -> None:
        """Set the gauges of all models to the alerts that are open and the messages that wait."""
        from keel.alerts.records import ALL_MODELS

        models = [ALL_MODELS, *(config.model for config in self._configs)]
        self._metrics.alerts.show_open(models, self._ws.store.alerts.open_by_severity())
        self._metrics.alerts.show_undelivered(self._ws.store.outbox.undelivered())
        self._metrics.alerts.show_broken(self._ws.store.alerts.open_channels())

    def _try(self, about: str, what: str, refresh: Callable[..., None], *arguments: ModelConfig) -> None:
        key = about, what
        try:
            refresh(*arguments, now=datetime.now(UTC))
            self._last_errors.pop(key, None)
        except Exception as error:  # a store that does not answer must not end the thread
            if self._last_errors.get(key) != str(error) and not self._stopping.is_set():
                log.warning("%s: cannot refresh %s: %s", about, what, error)
            self._last_errors[key] = str(error)

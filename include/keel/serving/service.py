"""One serving process: its parts and their order: first the spool, then the store, the versions and the shipper."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.errors import BadRequest, ConfigError, KeelError, NoProductionVersion, SpoolFailed, StoreUnavailable
from keel.serving.api_keys import read_keys
from keel.serving.metrics import SHARED_FOLDER, Metrics
from keel.serving.models.configured import ConfiguredModels
from keel.serving.models.loader import ModelLoader, Served
from keel.serving.performance_metrics import PerformanceGauges
from keel.serving.prediction_log.backpressure import WriteGuard
from keel.serving.prediction_log.records import Block, encode
from keel.serving.prediction_log.shipper import SpoolShipper
from keel.serving.prediction_log.spool import Spool
from keel.serving.scoring.scorer import Scorer
from keel.serving.unique_clock import UniqueClock
from keel.serving.worker_status import WorkerStatus, to_dict
from keel.store.database.connections import parse_url
from keel.workspace import PROJECT, Workspace

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.serving.settings import Settings

log = logging.getLogger(__name__)

JOIN_SECONDS = 0.5
"""Time for a thread to end on which nothing depends any more."""
RETRY_SECONDS = 1.0
"""Between attempts to open a store that does not answer when the service starts."""


class Service:
    """The parts of one serving process. ``start`` and ``stop`` it once each.

    Parameters
    ----------
    settings
        How the service runs.
    configured
        All configured models by name; by default those of `read_models`, which are read again while the service runs.

    Attributes
    ----------
    configured
        The configured models. The shipper needs all of them, also those that are not served.
    workspace, loader, shipper, performance_gauges
        None until the store is open.
    problem
        Why the store is not open yet.
    unservable
        Why a model cannot be served, by model.

    """

    def __init__(self, settings: Settings, *, configured: Mapping[str, ModelConfig] | None = None) -> None:
        """Read the configuration. Raises ConfigError or UnknownModel if it cannot be served."""
        self.settings = settings
        self.configured = _configured(settings, configured)
        self._reads_again = configured is None
        self.home = Path(settings.home or PROJECT / ".keel").resolve()
        self.clock = UniqueClock()
        self.metrics = Metrics()
        self.workspace: Workspace | None = None
        self.loader: ModelLoader | None = None
        self.shipper: SpoolShipper | None = None
        self.performance_gauges: PerformanceGauges | None = None
        self.problem = "the store is not open yet"
        self.unservable: dict[str, str] = {}
        shared = os.environ.get(SHARED_FOLDER)
        self.workers = WorkerStatus(Path(shared) if shared else None, settings.worker, settings.workers)
        self.ended = True
        self._started = False
        self._metrics_lock = threading.Lock()
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._connecting = threading.Thread(target=self._connect, name="keel-connect", daemon=True)
        self._reading = threading.Thread(target=self._read_models_again, name="keel-models", daemon=True)

    @staticmethod
    def check(settings: Settings) -> None:
        """Raise the error that a service with these settings would raise, without creating one."""
        _configured(settings, None)
        if settings.keys_file is not None:
            read_keys(settings.keys_file)

    @property
    def models(self) -> Mapping[str, ModelConfig]:
        """The served models by name."""
        return self.configured.served

    def start(self) -> None:
        """Open the spool, and connect to store and registry in the background; labels are accepted meanwhile.

        Safe to repeat. Raises SpoolFailed.
        """
        if self._started:
            return
        self._started = True
        self.spool_folder = self.settings.spool_folder(self.home)
        self.spool = Spool.open(
            self.spool_folder, durability=self.settings.durability, max_bytes=self.settings.spool_bytes
        )
        try:
            self.clock = UniqueClock(self.spool_folder)
        except OSError as error:
            raise SpoolFailed(f"cannot use the spool in {self.spool_folder}: {error}") from error
        self.write_guard = WriteGuard(self.spool, self.spool_folder, self.settings.spool_bytes)
        self.scorer = Scorer(append=self.append)
        if self.settings.worker == 0:
            self.configured.log_broken()
        self._connecting.start()
        if self._reads_again:
            self._reading.start()

    def until_connected(self) -> None:
        """Wait until the store is open and the versions are being loaded, or until the service stops."""
        self._connecting.join()

    def stop(self) -> bool:
        """Ship answered rows to the store within the time of the settings; the rest stays in the spool.

        Returns whether all threads have ended. A load or a connection in progress is not waited for, and the process
        may end without them.
        """
        with self._starting:
            self._stopping.set()
        ending = [
            self._connecting,
            *([self._reading] if self._reads_again else []),
            threading.Thread(target=self._close_loader, name="keel-close", daemon=True),
        ]
        ending[-1].start()
        self.scorer.close()
        if self.performance_gauges is not None:
            self.performance_gauges.stop()
            ending.append(self.performance_gauges)
        if self.shipper is not None and not self.shipper.stop(self.settings.stop_seconds):
            log.warning("%d records stay in the spool; the next start ships them", self.spool.stats.records)
        self.spool.close()
        for thread in ending:
            thread.join(JOIN_SECONDS)
        self.ended = not any(thread.is_alive() for thread in ending)
        if self.ended and self.workspace is not None:
            self.workspace.store.close()
        return self.ended

    def config(self, model: str) -> ModelConfig:
        """Return a served model's configuration; raises UnknownModel."""
        if model not in self.models:
            raise self.configured.unknown(model)
        return self.models[model]

    def only_model(self) -> str:
        """Return the model of requests that name none; raises BadRequest (404) if there are several."""
        only = self.configured.only
        if only is None:
            names = ", ".join(sorted(self.models))
            raise BadRequest(
                f"several models are served; name one in the path: /models/<model>/… ({names})", status=404
            )
        return only

    def served(self, model: str) -> Served:
        """Return the versions that answer for a model.

        Raises UnknownModel, NoProductionVersion, or ConfigError if the model cannot be served.
        """
        self.config(model)
        if model in self.unservable:
            raise ConfigError(self.unservable[model])
        if self.loader is None:
            raise NoProductionVersion(f"{model}: no version is loaded yet: {self.problem}")
        return self.loader.for_model(model)

    def open_workspace(self) -> Workspace:
        """Return the workspace; raises StoreUnavailable while it is not open."""
        if self.workspace is None:
            raise StoreUnavailable(self.problem)
        return self.workspace

    async def store_block(self, block: Block) -> None:
        """Append a block to the spool, and return when it is durable; raises SpoolFull or SpoolFailed."""
        await asyncio.wrap_future(self.append([encode(block)]))

    def append(self, records: list[bytes], inline: bool = False) -> Future[None]:
        """Append records to the spool, all or none; the future is done when they are durable.

        inline: write in this thread if no other thread writes.
        """
        write = self.spool.append(records, inline=inline)
        write.add_done_callback(self.write_guard.record)
        return write

    @property
    def fault(self) -> str | None:
        """What is broken so that only a new process or a working disk helps; None if nothing is."""
        shipper = self.shipper
        if shipper is not None and shipper.ident is not None and not shipper.is_alive() and not self._stopping.is_set():
            return "the thread that ships predictions to the store has ended"
        if self.scorer.is_stuck:
            seconds = self.scorer.stuck_seconds
            return f"a version was called more than {seconds:.0f} s ago and has not answered; all requests wait for it"
        return self.write_guard.failed

    @property
    def missing(self) -> dict[str, str]:
        """Why the service is not ready, by model or part; empty when it is ready."""
        found = {"store": self.problem} if self.loader is None else dict(self.loader.missing)
        if self.loader is None or not self.loader.serves_any:
            found |= self.unservable  # otherwise one model's mistake would keep requests from all others
        return {**found, "spool": self.write_guard.refusal} if self.write_guard.refusal else found

    def state(self) -> dict[str, Any]:
        """Return what runs, for ``/version``."""
        from importlib.metadata import version

        stats, loader, shipper = self.spool.stats, self.loader, self.shipper
        return {
            "keel": version("keel"),
            "worker": self.settings.worker,
            "workers": [to_dict(worker) for worker in self.workers.all()],
            "models": dict(loader.state()) if loader is not None else {},
            "configuration": {**self.configured.state(), "unservable": dict(self.unservable)},
            "store": {
                "polled_at": loader.polled_at if loader is not None else None,
                "error": loader.store_error if loader is not None else self.problem,
            },
            "spool": {
                "records": stats.records,
                "bytes": stats.bytes,
                "oldest_at": stats.oldest_at,
                "deferred": stats.deferred,
                "refusal": shipper.refusal if shipper is not None else None,
                "dead_letters": stats.dead_letters,
                "error": shipper.error if shipper is not None else None,
            },
        }

    def refresh_metrics(self) -> None:
        """Refresh the metrics of spool, workers and versions."""
        self.metrics.spooled(self.spool.stats, now=datetime.now(UTC))
        self.metrics.workers_restarted(sum(worker.ends for worker in self.workers.all()))
        with self._metrics_lock:
            self.metrics.challenger_failed(self.scorer.challenger_failures)
            if self.loader is None:
                return
            self.metrics.loaded(self.loader.loads)
            for model, state in self.loader.state().items():
                self.metrics.serves(model, state)

    def _close_loader(self) -> None:
        if self.loader is not None:
            self.loader.close()

    def _open(self) -> Workspace:
        """Open store and registry, and find the models that cannot be served."""
        workspace = Workspace.open(home=self.home)
        try:
            for config in self.models.values():
                self._check_servable(workspace, config)
        except BaseException:
            workspace.store.close()
            raise
        return workspace

    def _check_servable(self, workspace: Workspace, config: ModelConfig) -> None:
        """Find out whether the store would reject the model's rows. Such a model is not served."""
        try:
            workspace.predictions(config)
        except ConfigError as error:
            self.unservable[config.model] = str(error)
            log.error("%s is not served: %s", config.model, error)

    def _read_models_again(self) -> None:
        """Serve models whose folders appear, as soon as the store is open."""
        while not self._stopping.wait(self.settings.poll_seconds):
            try:
                self.read_models_again()
            except Exception as error:  # a file or the store cannot be read now; the next look may succeed
                log.warning("cannot take up new models: %s", error)

    def read_models_again(self) -> None:
        """Serve models that were configured since the last look; until the store is open there is nothing to do."""
        workspace, loader = self.workspace, self.loader
        if workspace is None or loader is None:
            return
        for config in self.configured.read_again():
            self._check_servable(workspace, config)
            loader.add(config)
            if self.performance_gauges is not None:
                self.performance_gauges.add(config)
            self.configured.serve(config)
            log.info("%s: its folder is new, and it is served from now on", config.model)

    def _connect(self) -> None:
        """Open store and registry, with retries until they answer; then start to load and to ship."""
        while not self._stopping.is_set():
            try:
                self.workspace = self._open()
                break
            except Exception as error:  # whatever the cause, only this thread retries
                if str(error) != self.problem:
                    trace = None if isinstance(error, KeelError) else error
                    log.error("not ready: %s", error, exc_info=trace)
                self.problem = str(error)
                self._stopping.wait(RETRY_SECONDS)
        with self._starting:  # `stop` finds all of these threads, each of them started, or none
            if self.workspace is None or self._stopping.is_set():
                return
            self.shipper = SpoolShipper(
                self.workspace,
                self.configured.valid,
                self.spool,
                self.metrics,
                folder=self.spool_folder,
                after_batch=self.refresh_metrics,
            )
            self.shipper.start()
            if self.settings.worker == 0:
                self.performance_gauges = PerformanceGauges(self.workspace, self.models.values(), self.metrics)
                self.performance_gauges.start()
            loader = ModelLoader(self.workspace, self.models.values(), poll_seconds=self.settings.poll_seconds)
            loader.start()
            self.loader = loader


def _configured(settings: Settings, given: Mapping[str, ModelConfig] | None) -> ConfiguredModels:
    if url := os.environ.get("KEEL_STORE_URL"):
        parse_url(url)  # a store that is down may come up; an invalid URL stays invalid
    if given is None:
        return ConfiguredModels(settings.models)
    return ConfiguredModels(settings.models, read=lambda: (dict(given), []))

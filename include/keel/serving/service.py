"""The parts of one serving process and their order: spool first, then the store, versions and the way between them."""

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

from keel.config import ModelConfig, load_models
from keel.errors import (
    BadRequest,
    ConfigError,
    KeelError,
    NoProductionVersion,
    SpoolFailed,
    StoreUnavailable,
    UnknownModel,
)
from keel.serving.api_keys import read_keys
from keel.serving.metrics import SHARED_FOLDER, Metrics
from keel.serving.models.loader import ModelLoader, Served
from keel.serving.performance_metrics import PerformanceGauges
from keel.serving.prediction_log.backpressure import WriteGuard
from keel.serving.prediction_log.records import Block, encode
from keel.serving.prediction_log.shipper import SpoolShipper
from keel.serving.prediction_log.spool import Spool
from keel.serving.scoring.scorer import HUNG_SECONDS, Scorer
from keel.serving.unique_clock import UniqueClock
from keel.serving.worker_status import WorkerStatus, to_dict
from keel.store.database.connections import parse_url
from keel.workspace import PROJECT, Workspace

if TYPE_CHECKING:
    from keel.serving.settings import Settings

log = logging.getLogger(__name__)

LINGER_SECONDS = 0.5
"""What a thread is given to end that nothing depends on any more."""
RETRY_SECONDS = 1.0
"""Between tries to open a store that does not answer when the service starts."""


class Service:
    """What one process serves with; ``start`` and ``stop`` once each.

    models: by name, those that are served, of ``configured``, which the drain needs all of.
    """

    def __init__(self, settings: Settings, *, configured: Mapping[str, ModelConfig] | None = None) -> None:
        """Read the configuration. Raises ConfigError or UnknownModel for what cannot be served."""
        self.settings = settings
        self.configured = dict(load_models() if configured is None else configured)
        self.models = _served(settings, self.configured)
        self.home = Path(settings.home or PROJECT / ".keel").resolve()
        self.clock = UniqueClock()
        self.metrics = Metrics()
        self.workspace: Workspace | None = None
        self.deployed: ModelLoader | None = None
        self.drain: SpoolShipper | None = None
        self.rolling: PerformanceGauges | None = None
        self.problem = "the store is not open yet"
        self.unfit: dict[str, str] = {}
        shared = os.environ.get(SHARED_FOLDER)
        self.siblings = WorkerStatus(Path(shared) if shared else None, settings.worker, settings.workers)
        self.ended = True
        self._started = False
        self._showing = threading.Lock()
        self._stopping = threading.Event()
        self._connecting = threading.Thread(target=self._connect, name="keel-connect", daemon=True)

    @staticmethod
    def check(settings: Settings) -> None:
        """Raise what a service with these settings would raise, without making one."""
        _served(settings, load_models())
        if settings.keys_file is not None:
            read_keys(settings.keys_file)

    def start(self) -> None:
        """Open the spool, and connect to store and registry in the background: feedback is taken meanwhile.

        Harmless when repeated. Raises SpoolFailed.
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
            raise SpoolFailed(f"the spool in {self.spool_folder} cannot be used: {error}") from error
        self.room = WriteGuard(self.spool, self.spool_folder, self.settings.spool_bytes)
        self.scorer = Scorer(keep=self.append)
        self._connecting.start()

    def stop(self) -> bool:
        """Flush what is answered to the store, within the time the settings give; the rest waits in the spool.

        Returns whether everything has ended: a version that is being loaded, or a store that is being connected to, is
        not waited for, and the process may go without them.
        """
        self._stopping.set()
        endings = [self._connecting, threading.Thread(target=self._close_deployed, name="keel-close", daemon=True)]
        endings[1].start()
        self.scorer.close()
        if self.rolling is not None:
            self.rolling.stop()
            endings.append(self.rolling)
        if self.drain is not None and not self.drain.stop(self.settings.stop_seconds):
            log.warning("%d records stay in the spool; the next start brings them", self.spool.stats.records)
        self.spool.close()
        for ending in endings:
            ending.join(LINGER_SECONDS)
        self.ended = not any(ending.is_alive() for ending in endings)
        if self.ended and self.workspace is not None:
            self.workspace.store.close()
        return self.ended

    def _close_deployed(self) -> None:
        if self.deployed is not None:
            self.deployed.close()

    def config(self, model: str) -> ModelConfig:
        """Return a served model's configuration; raises UnknownModel."""
        if model not in self.models:
            raise UnknownModel(model, self.models)
        return self.models[model]

    def only_model(self) -> str:
        """Return the one model that is served; raises BadRequest (404) if there are several, as none was named."""
        if len(self.models) > 1:
            names = ", ".join(sorted(self.models))
            raise BadRequest(f"several models are served: name one, as in /models/<model>/… ({names})", status=404)
        return next(iter(self.models))

    def served(self, model: str) -> Served:
        """Return what answers for a model; raises UnknownModel, NoProductionVersion, or ConfigError if it is unfit."""
        self.config(model)
        if model in self.unfit:
            raise ConfigError(self.unfit[model])
        if self.deployed is None:
            raise NoProductionVersion(f"{model} cannot be answered for yet: {self.problem}")
        return self.deployed.for_model(model)

    def opened(self) -> Workspace:
        """Return the workspace; raises StoreUnavailable while it is not open."""
        if self.workspace is None:
            raise StoreUnavailable(self.problem)
        return self.workspace

    async def keep(self, block: Block) -> None:
        """Write a block down, and return when it is as durable as promised; raises SpoolFull or SpoolFailed."""
        await asyncio.wrap_future(self.append([encode(block)]))

    def append(self, records: list[bytes], here: bool = False) -> Future[None]:
        """Put records into the spool, all or none; the future is done when they are as durable as promised.

        here: write in this thread if nobody else is writing.
        """
        kept = self.spool.append(records, here=here)
        kept.add_done_callback(self.room.note)
        return kept

    @property
    def healthy(self) -> str | None:
        """What is broken, and mended best by a new process; None if nothing is."""
        drain = self.drain
        if drain is not None and drain.ident is not None and not drain.is_alive() and not self._stopping.is_set():
            return "the thread that brings predictions to the store has ended"
        if self.scorer.hangs:
            return f"a version was asked more than {HUNG_SECONDS:.0f} s ago and has not answered; all requests wait"
        return self.room.failed

    @property
    def missing(self) -> dict[str, str]:
        """Why it is not ready, by model or part; empty when it is."""
        found = {"store": self.problem} if self.deployed is None else {**self.deployed.missing, **self.unfit}
        return {**found, "spool": self.room.missing} if self.room.missing else found

    def state(self) -> dict[str, Any]:
        """Return what runs, for ``/version``."""
        from importlib.metadata import version

        stats, deployed, drain = self.spool.stats, self.deployed, self.drain
        return {
            "keel": version("keel"),
            "worker": self.settings.worker,
            "workers": [to_dict(worker) for worker in self.siblings.workers()],
            "models": dict(deployed.state()) if deployed is not None else {},
            "store": {
                "polled_at": deployed.polled_at if deployed is not None else None,
                "error": deployed.store_error if deployed is not None else self.problem,
            },
            "spool": {
                "records": stats.records, "bytes": stats.bytes, "oldest_at": stats.oldest_at,
                "set_aside": stats.set_aside, "error": drain.error if drain is not None else None,
            },
        }  # fmt: skip

    def show(self) -> None:
        """Bring the metrics of spool and versions up to date."""
        self.metrics.spooled(self.spool.stats, now=datetime.now(UTC))
        self.metrics.worker_ends(sum(worker.ends for worker in self.siblings.workers()))
        self.metrics.trial_failed(self.scorer.trial_failures)
        if self.deployed is None:
            return
        with self._showing:
            self.metrics.loaded(self.deployed.loads)
            for model, state in self.deployed.state().items():
                self.metrics.serves(model, state)

    def _open(self) -> Workspace:
        """Open store and registry, and find the models whose rows the store would refuse: they are not answered for."""
        workspace = Workspace.open(home=self.home)
        try:
            for name, config in self.models.items():
                try:
                    workspace.store.predictions(name, config.features)
                except ConfigError as error:
                    self.unfit[name] = str(error)
                    log.error("%s is not served: %s", name, error)
        except BaseException:
            workspace.store.close()
            raise
        return workspace

    def _connect(self) -> None:
        """Open store and registry, again and again until they answer, then begin to load and to drain."""
        while not self._stopping.is_set():
            try:
                self.workspace = self._open()
                break
            except Exception as error:  # whatever it is: nobody else would try again
                if str(error) != self.problem:
                    trace = None if isinstance(error, KeelError) else error
                    log.error("not ready: %s", error, exc_info=trace)
                self.problem = str(error)
                self._stopping.wait(RETRY_SECONDS)
        if self.workspace is None or self._stopping.is_set():
            return
        self.drain = SpoolShipper(
            self.workspace, self.configured, self.spool, self.metrics, folder=self.spool_folder, afterwards=self.show
        )
        self.drain.start()
        if self.settings.worker == 0:
            self.rolling = PerformanceGauges(self.workspace, self.models.values(), self.metrics)
            self.rolling.start()
        deployed = ModelLoader(self.workspace, self.models.values(), poll_seconds=self.settings.poll_seconds)
        deployed.start()
        self.deployed = deployed


def _served(settings: Settings, configured: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    for name in settings.models:
        if name not in configured:
            raise UnknownModel(name, configured)
    if url := os.environ.get("KEEL_STORE_URL"):
        parse_url(url)  # what is down may come up; what is misspelt stays so
    if not configured:
        raise ConfigError("there is no model to serve: see docs/adding-a-model.md")
    return {name: configured[name] for name in settings.models or configured}

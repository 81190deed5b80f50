"""Which versions answer: what the store says is deployed, loaded, warmed and swapped without a gap.

One thread polls, another loads. What requests see is one immutable `Served` a model, replaced as a whole; a request
goes on with the one it began with. Whatever fails leaves what is served as it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel.errors import KeelError, NoProductionVersion, UnknownModel
from keel.serving.models.desired_state import read_wanted
from keel.serving.models.input_schema import Inputs
from keel.serving.models.loaded_version import ServedVersion, preload
from keel.serving.models.slots import ModelSlots, Served
from keel.serving.models.warmup_rows import typical

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

__all__ = ["POLL_SECONDS", "ModelLoader", "Served"]

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0


class ModelLoader:
    """The versions of all configured models, kept as the store says.

    ``start`` polls and loads in threads; ``refresh`` does both once, here and now. loads: how many loads of a model
    ended in ``loaded`` or ``failed``, by (model, outcome). polled_at: when the store last answered. store_error: what
    stands in the way of it since, or None.
    """

    def __init__(
        self, workspace: Workspace, models: Iterable[ModelConfig], *, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self.workspace, self.poll_seconds = workspace, poll_seconds
        self.loads: Counter[tuple[str, str]] = Counter()
        self.polled_at: datetime | None = None
        self.store_error: str | None = None
        self._shelves = {config.model: ModelSlots(config) for config in models}
        self._closing = threading.Event()
        self._changed = threading.Condition()  # guards the shelves; notified when there may be something to load
        self._threads = [
            threading.Thread(target=run, name=f"keel-{name}", daemon=True)
            for name, run in (("poll", self._poll_for_ever), ("load", self._load_for_ever))
        ]

    def start(self) -> None:
        """Begin to poll and to load."""
        for thread in self._threads:
            thread.start()

    def refresh(self) -> None:
        """Poll once and load what is missing, here and now."""
        self._poll()
        while missing := self._next_missing():
            self._load(*missing)

    def close(self) -> None:
        """End the threads, a load that has begun being finished first; harmless when repeated."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def for_model(self, model: str) -> Served:
        """Return what answers now.

        Raises
        ------
        UnknownModel
            No such model is configured (404).
        NoProductionVersion
            It has no version in production, or none is loaded yet (503); the message says which.

        """
        shelf = self._shelves.get(model)
        if shelf is None:
            raise UnknownModel(model, self._shelves)
        if shelf.served is None:
            raise NoProductionVersion(self._why_not(shelf))
        return shelf.served

    @property
    def ready(self) -> bool:
        """Whether every model that has a version in production has one loaded, and there is one at all."""
        return not self.missing

    @property
    def missing(self) -> dict[str, str]:
        """Why it is not ready, by model; models without any version do not keep the others from being ready."""
        waiting = {name: shelf for name, shelf in self._shelves.items() if shelf.served is None}
        if len(waiting) < len(self._shelves):
            waiting = {name: shelf for name, shelf in waiting.items() if shelf.wanted.production is not None}
        return {name: self._why_not(shelf) for name, shelf in waiting.items()}

    def state(self) -> Mapping[str, Any]:
        """Return what is loaded, wanted and wrong, by model, as JSON-able values."""
        with self._changed:
            return {name: shelf.state() for name, shelf in self._shelves.items()}

    def _why_not(self, shelf: ModelSlots) -> str:
        model, version = shelf.config.model, shelf.wanted.production
        if self.polled_at is None:
            return f"{model} cannot be answered for yet: {self.store_error or 'the store was not read yet'}"
        if version is None:
            return f"{model} has no production version; train one: airflow dags trigger {model}.retrain"
        failure = shelf.failures.get(version)
        return f"{model}: version {version} {f'cannot be loaded: {failure.error}' if failure else 'is being loaded'}"

    def _poll_for_ever(self) -> None:
        while not self._closing.is_set():
            self._poll()
            self._closing.wait(self.poll_seconds)

    def _poll(self) -> None:
        try:
            wanted = read_wanted(self.workspace.store, self._shelves)
        except Exception as error:  # whatever it is, the next poll may succeed
            if str(error) != self.store_error:
                log.error("what is deployed cannot be read; what is loaded goes on answering: %s", error)
            self.store_error = str(error)
            return
        self.store_error, self.polled_at = None, datetime.now(UTC)
        with self._changed:
            for name, shelf in self._shelves.items():
                shelf.want(wanted[name])
            self._changed.notify_all()

    def _load_for_ever(self) -> None:
        preload()  # here, as a version that is there already would wait for the same
        while not self._closing.is_set():
            missing = self._next_missing()
            if missing:
                self._load(*missing)
                continue
            with self._changed:
                if not self._closing.is_set():
                    self._changed.wait(self.poll_seconds)

    def _next_missing(self) -> tuple[ModelSlots, int] | None:
        """Return the version to load next: those that are to answer first, those to fall back to last."""
        with self._changed:
            found = [
                (rank, shelf, n) for shelf in self._shelves.values() for rank, n in shelf.missing(time.monotonic())
            ]
        rank, shelf, number = min(found, key=lambda each: each[0], default=(0, None, 0))
        return None if shelf is None else (shelf, number)

    def _load(self, shelf: ModelSlots, number: int) -> None:
        config, began = shelf.config, time.monotonic()
        try:
            registry = self.workspace.registry
            # anew: what is in memory of the process stays there, and here versions are dropped when they are not needed
            model = registry.load(config, number, anew=True)
            version = ServedVersion(model, typical(registry.grid(config.model, number), Inputs.of(config, ())))
        except Exception as error:
            self.loads[config.model, "failed"] += 1
            said = str(error) if isinstance(error, KeelError) else f"{type(error).__name__}: {error}"
            with self._changed:
                if shelf.fail(number, said, time.monotonic()):
                    log.error("%s: version %d cannot be loaded: %s", config.model, number, said)
            return
        self.loads[config.model, "loaded"] += 1
        took = time.monotonic() - began
        log.info("%s: version %d loaded in %.2f s, %s way", config.model, number, took, version.way)
        with self._changed:
            shelf.put(version)

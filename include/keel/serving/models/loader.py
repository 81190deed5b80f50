"""The model loader: polls the store, loads and warms the desired versions, and swaps them without a gap.

One thread polls, another loads. Requests read one immutable `Served` per model, which is replaced as a whole; a request
keeps the one it started with. Any failure leaves the served versions unchanged.
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
from keel.serving.models.desired_state import read_desired_state
from keel.serving.models.input_schema import Inputs
from keel.serving.models.loaded_version import ServedVersion, preload
from keel.serving.models.slots import ModelSlots, Served
from keel.serving.models.warmup_rows import typical_rows

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

__all__ = ["POLL_SECONDS", "ModelLoader", "Served"]

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0


class ModelLoader:
    """Keeps the versions of all configured models as the store desires them.

    ``start`` polls and loads in threads. ``poll`` polls once; ``refresh`` also loads what is missing.

    Attributes
    ----------
    loads
        How many loads ended in ``loaded`` or ``failed``, by (model, outcome).
    polled_at
        When the store last answered.
    store_error
        Why the store has not answered since; None if it has.

    """

    def __init__(
        self, workspace: Workspace, models: Iterable[ModelConfig], *, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self.workspace, self.poll_seconds = workspace, poll_seconds
        self.loads: Counter[tuple[str, str]] = Counter()
        self.polled_at: datetime | None = None
        self.store_error: str | None = None
        self._slots = {config.model: ModelSlots(config) for config in models}
        self._closing = threading.Event()
        self._changed = threading.Condition()  # guards the slots; notified when there may be a version to load
        self._threads = [
            threading.Thread(target=run, name=f"keel-{name}", daemon=True)
            for name, run in (("poll", self._poll_loop), ("load", self._load_loop))
        ]

    def add(self, config: ModelConfig) -> None:
        """Keep the versions of one more model."""
        with self._changed:
            self._slots = {**self._slots, config.model: ModelSlots(config)}  # requests read it without the lock

    @property
    def serves_any(self) -> bool:
        """Whether any model has a version that answers."""
        return any(slots.served is not None for slots in self._slots.values())

    @property
    def running(self) -> bool:
        """Whether a thread polls or loads."""
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Start to poll and to load."""
        for thread in self._threads:
            thread.start()

    def refresh(self) -> None:
        """Poll once and load what is missing, in this thread."""
        self.poll()
        while missing := self._next_missing():
            self._load(*missing)

    def close(self) -> None:
        """End the threads, after the load that has started; safe to repeat."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def for_model(self, model: str) -> Served:
        """Return the versions that answer now.

        Raises
        ------
        UnknownModel
            No such model is configured (404).
        NoProductionVersion
            The model has no version in production, or none is loaded yet (503).

        """
        slots = self._slots.get(model)
        if slots is None:
            raise UnknownModel(model, self._slots)
        if slots.served is None:
            raise NoProductionVersion(self._why_missing(slots))
        return slots.served

    @property
    def ready(self) -> bool:
        """Whether every model with a version in production has one loaded, and there is at least one."""
        return not self.missing

    @property
    def missing(self) -> dict[str, str]:
        """Why it is not ready, by model. A model without any version does not keep the others from being ready."""
        all_slots = self._slots
        waiting = {name: slots for name, slots in all_slots.items() if slots.served is None}
        if len(waiting) < len(all_slots):
            waiting = {name: slots for name, slots in waiting.items() if slots.desired.production is not None}
        return {name: self._why_missing(slots) for name, slots in waiting.items()}

    def state(self) -> Mapping[str, Any]:
        """Return what is loaded, what is desired and which errors there are, by model, as JSON-able values."""
        with self._changed:
            return {name: slots.state() for name, slots in self._slots.items()}

    def poll(self) -> None:
        """Read the desired state once; a failure is logged and changes nothing."""
        try:
            desired = read_desired_state(self.workspace.store, list(self._slots))
        except Exception as error:  # whatever the cause, the next poll may succeed
            if str(error) != self.store_error:
                log.error("cannot read the deployments; the loaded versions go on answering: %s", error)
            self.store_error = str(error)
            return
        self.store_error, self.polled_at = None, datetime.now(UTC)
        with self._changed:
            for name, slots in self._slots.items():
                if name in desired:  # otherwise it was added meanwhile
                    slots.set_desired(desired[name])
            self._changed.notify_all()

    def _why_missing(self, slots: ModelSlots) -> str:
        model, version = slots.config.model, slots.desired.production
        if self.polled_at is None:
            return f"{model}: no version is loaded yet: {self.store_error or 'the store has not been read yet'}"
        if version is None:
            return f"{model} has no production version; train one: airflow dags trigger {model}.retrain"
        failure = slots.failures.get(version)
        return f"{model}: version {version} {f'cannot be loaded: {failure.error}' if failure else 'is being loaded'}"

    def _poll_loop(self) -> None:
        while not self._closing.is_set():
            self.poll()
            self._closing.wait(self.poll_seconds)

    def _load_loop(self) -> None:
        preload()  # in this thread, as the first load waits for the imports anyway
        while not self._closing.is_set():
            missing = self._next_missing()
            if missing:
                self._load(*missing)
                continue
            with self._changed:
                if not self._closing.is_set():
                    self._changed.wait(self.poll_seconds)

    def _next_missing(self) -> tuple[ModelSlots, int] | None:
        """Return the version to load next: production versions first, previous ones last."""
        with self._changed:
            found = [(rank, slots, n) for slots in self._slots.values() for rank, n in slots.missing(time.monotonic())]
        rank, slots, number = min(found, key=lambda each: each[0], default=(0, None, 0))
        return None if slots is None else (slots, number)

    def _load(self, slots: ModelSlots, number: int) -> None:
        config, started = slots.config, time.monotonic()
        try:
            registry = self.workspace.registry
            # anew: the registry's cache would keep versions in memory that this loader drops
            model = registry.load(config, number, anew=True)
            version = ServedVersion(model, typical_rows(registry.grid(config.model, number), Inputs.of(config, ())))
        except Exception as error:
            self.loads[config.model, "failed"] += 1
            reason = str(error) if isinstance(error, KeelError) else f"{type(error).__name__}: {error}"
            with self._changed:
                if slots.record_failure(number, reason, time.monotonic()):
                    log.error("%s: version %d cannot be loaded: %s", config.model, number, reason)
            return
        self.loads[config.model, "loaded"] += 1
        seconds = time.monotonic() - started
        log.info("%s: version %d loaded in %.2f s, scoring path %s", config.model, number, seconds, version.path)
        with self._changed:
            slots.add(version)

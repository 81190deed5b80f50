"""Model slots: the versions of one model in memory, and which of them answers requests."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel.serving.models.desired_state import DesiredState
from keel.serving.models.input_schema import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keel.config import ModelConfig
    from keel.evaluation.experiment.plan import Plan
    from keel.serving.models.loaded_version import ServedVersion

log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 2.0, 60.0
"""Seconds between attempts to load a version. The wait doubles each time; the cause may be fixed at any time."""


@dataclass(frozen=True)
class Served:
    """The versions that answer a model's requests at one moment. A request keeps the object that it started with.

    production: the version that answers. challenger, plan: of the running experiment, both or neither.
    """

    model: str
    inputs: Inputs
    production: ServedVersion
    challenger: ServedVersion | None = None
    plan: Plan | None = None

    @property
    def loaded(self) -> tuple[ServedVersion, ...]:
        """The versions that may score."""
        return (self.production,) if self.challenger is None else (self.production, self.challenger)


@dataclass(frozen=True)
class LoadFailure:
    """A version that could not be loaded. retry_at: on the clock of `ModelSlots.record_failure`."""

    error: str
    attempts: int
    retry_at: float


class ModelSlots:
    """The versions of one model. Callers that change it hold the lock of `keel.serving.models.loader.ModelLoader`.

    desired: what the store says. served: what requests get; it is read without a lock, as it is only ever replaced.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.desired = DesiredState()
        self.served: Served | None = None
        self.since: datetime | None = None
        self.failures: dict[int, LoadFailure] = {}
        self._versions: dict[int, ServedVersion] = {}

    def set_desired(self, desired: DesiredState) -> None:
        """Serve what the store says, as far as its versions are in memory."""
        if desired.problem and desired.problem != self.desired.problem:
            log.warning("%s: %s", self.config.model, desired.problem)
        if desired != self.desired:
            self.desired = desired
            self._update()

    def add(self, version: ServedVersion) -> None:
        """Add a loaded version, and serve it if it is still desired."""
        self._versions[version.number] = version
        self.failures.pop(version.number, None)
        self._update()

    def record_failure(self, number: int, error: str, now: float) -> bool:
        """Record that a version cannot be loaded; return whether the error differs from the last one."""
        known = self.failures.get(number)
        attempts = known.attempts + 1 if known else 1
        wait = min(LONGEST_RETRY, FIRST_RETRY * 2 ** (attempts - 1))
        self.failures[number] = LoadFailure(error, attempts, now + wait)
        return known is None or known.error != error

    def missing(self, now: float) -> Iterator[tuple[int, int]]:
        """Yield (rank, version) of the versions to load, the lowest rank first, except those that wait for a retry."""
        for rank, number in enumerate(self.desired.versions):
            if number not in self._versions and (number not in self.failures or self.failures[number].retry_at <= now):
                yield rank, number

    def state(self) -> dict[str, Any]:
        """Return what is loaded, what is desired and which errors there are, as JSON-able values for ``/version``."""
        served, desired = self.served, self.desired
        return {
            "production": served.production.number if served else None,
            "since": self.since.isoformat() if self.since else None,
            "wanted": desired.production,
            "generation": desired.generation,
            "in_memory": sorted(self._versions),
            "ways": {str(number): version.path for number, version in sorted(self._versions.items())},
            "experiment": served.plan.experiment_id if served and served.plan else None,
            "challenger": served.challenger.number if served and served.challenger else None,
            "problem": desired.problem,
            "errors": {str(number): failure.error for number, failure in sorted(self.failures.items())},
        }

    def _update(self) -> None:
        before, desired = self.served, self.desired
        production = self._versions.get(desired.production) if desired.production is not None else None
        if production is None and desired.production is not None and before is not None:
            production = before.production  # until the new version is loaded
        if production is None:
            self.served = None
        else:
            self._serve(production)
        in_use = {*desired.versions, *([production.number] if production else [])}
        self._versions = {number: version for number, version in self._versions.items() if number in in_use}
        self.failures = {number: failure for number, failure in self.failures.items() if number in in_use}

    def _serve(self, production: ServedVersion) -> None:
        plan = self.desired.plan
        challenger = self._versions.get(plan.challenger) if plan else None
        if plan is None or challenger is None or plan.champion != production.number:
            plan = challenger = None
        # columns that only the challenger needs are not required: no request fails because of a challenger
        inputs = Inputs.of(self.config, production.needed)
        before = self.served
        served = Served(self.config.model, inputs, production, challenger, plan)
        if before is None or before.production is not production:
            self.since = datetime.now(UTC)
            log.info("%s: version %d answers now", self.config.model, production.number)
        if before is not None and replace(before, inputs=inputs) == served:
            return
        self.served = served
